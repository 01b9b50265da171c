"""What the records, the waiting and the steering of the Redis broker leave behind on the server: nothing that stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import REDIS_SERVER, RedisServer
from tests.unit.test_redis_faults import Wire
from tests.waiting import wait_for
from umbel.broker import Broker, BrokerSettings, Command, Settle
from umbel.brokers import make_broker
from umbel.brokers.redis import scripts
from umbel.brokers.redis.connection import Address, Line
from umbel.brokers.redis.keys import Keys
from umbel.envelope import TRACKED, Delivery, Envelope
from umbel.errors import ReplyLost
from umbel.facets import Cancelled, Inspects, Record, Remembers, State, require
from umbel.outcome import Dead, Done, Outcome

if REDIS_SERVER is None and os.environ.get("CI") != "true":
    pytest.skip("redis-server is not installed", allow_module_level=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def line(server: RedisServer) -> Iterator[Line]:
    line = Line(Address(server.url, "look"))
    yield line
    line.drop()


@pytest.fixture
def broker(server: RedisServer) -> Iterator[Broker]:
    with closing(opened(server.url)) as broker:
        broker.renew("w", 600)
        broker.admit("w", "h")
        yield broker


def opened(url: str, **settings: Any) -> Broker:
    broker = make_broker(url, BrokerSettings(app="facets", **settings))
    broker.open()
    return broker


def tracked(id: str, queue: str = "q") -> Envelope:
    return Envelope(id, queue, b"body", flags=TRACKED)


def settle(broker: Broker, seq: int, deliveries: list[Delivery], outcome: Outcome) -> None:
    broker.settle("h", seq, [Settle(d.receipt, outcome) for d in deliveries])


def keys_like(line: Line, kind: str) -> list[bytes]:
    root = Keys("facets").root
    return [key for key in line.call("KEYS", "*") if key.startswith(root + kind.encode())]


def blocked(line: Line) -> int:
    return int(dict(row.split(b":") for row in line.call("INFO", "clients").splitlines() if b":" in row)[b"blocked_clients"])


def clients(line: Line) -> int:
    return len(line.call("CLIENT", "LIST").splitlines())


def await_one(broker: Broker, id: str, seconds: float = 20) -> Record | None:
    return require(broker, Remembers).await_record(id, seconds)


class TestWaitingForResults:
    def test_ten_thousand_waited_for_and_dropped_leave_nothing(self, server: RedisServer, broker: Broker, line: Line) -> None:
        """One waits for each; another said that it would, and died."""
        ids, found = [f"m{i}" for i in range(10_000)], list[Record | None]()
        thread = threading.Thread(target=lambda: _await_all(server.url, ids, found))
        for begin in range(0, 10_000, 1000):
            broker.enqueue([tracked(id) for id in ids[begin : begin + 1000]])
        keys, dead = Keys("facets"), Line(Address(server.url, "dead"))
        for id in ids:
            dead.run(scripts.LOOK, 2, keys.root, keys.record(b"t" + id.encode()), 1000)
        dead.drop()
        thread.start()
        wait_for(lambda: blocked(line) == 1)
        before = clients(line)
        for seq in range(1, 201, 2):
            settle(broker, seq + 1, broker.claim("h", seq, ["q"], 100).deliveries, Done(b"result"))
        assert clients(line) == before
        thread.join(180)
        assert [one.result if one else None for one in found] == [b"result"] * 10_000
        kept = {kind: keys_like(line, kind) for kind in ("m:", "n:")}
        assert (len(kept["m:"]), len(kept["n:"])) == (10_000, 10_000)
        assert all(0 < int(line.call("PTTL", key)) <= 86_400_000 for key in kept["m:"])
        assert all(0 < int(line.call("PTTL", key)) <= 60_000 for key in kept["n:"])
        assert line.call("PUBSUB", "CHANNELS") == [] and blocked(line) == 0
        wait_for(lambda: clients(line) == before - 2)

    def test_one_blocking_call_and_nothing_else(self, broker: Broker, server: RedisServer, line: Line) -> None:
        broker.enqueue([tracked("a")])
        held = broker.claim("h", 1, ["q"], 1).deliveries
        answers: list[Record | None] = []
        thread = threading.Thread(target=_await_in_thread, args=(server.url, "a", answers))
        thread.start()
        wait_for(lambda: blocked(line) == 1)
        line.call("CONFIG", "RESETSTAT")
        for _ in range(20):
            broker.ping()
        assert _calls(line, "xread") == _calls(line, "evalsha") == 0, "it polls"
        settle(broker, 2, held, Done(b"result"))
        thread.join(180)
        assert answers[0] is not None and answers[0].result == b"result"
        assert _calls(line, "xread") <= 1 and _calls(line, "evalsha") <= 2, "the settle, and one look"

    def test_an_end_that_nobody_waits_for_writes_no_news(self, broker: Broker, line: Line) -> None:
        broker.enqueue([tracked("a")])
        settle(broker, 2, broker.claim("h", 1, ["q"], 1).deliveries, Done(b"result"))
        assert keys_like(line, "n:") == []
        assert await_one(broker, "a") is not None
        assert keys_like(line, "n:") == []

    def test_a_waiter_that_is_killed_leaves_nothing_and_the_others_are_served(
        self, broker: Broker, server: RedisServer, line: Line
    ) -> None:
        broker.enqueue([tracked("a")])
        held = broker.claim("h", 1, ["q"], 1).deliveries
        spawn = multiprocessing.get_context("spawn")
        victim = spawn.Process(target=_await_in_process, args=(server.url, "a"))
        victim.start()
        wait_for(lambda: blocked(line) == 1, 20)
        answers: list[Record | None] = []
        threads = [threading.Thread(target=_await_in_thread, args=(server.url, "a", answers)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: blocked(line) == 4)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(180)
        wait_for(lambda: blocked(line) == 3)
        settle(broker, 2, held, Done(b"result"))
        for thread in threads:
            thread.join(180)
        assert [one.result if one else None for one in answers] == [b"result"] * 3
        assert all(0 < int(line.call("PTTL", key)) <= 60_000 for key in keys_like(line, "n:"))

    def test_an_id_that_never_comes_leaves_nothing(self, broker: Broker, line: Line) -> None:
        assert await_one(broker, "nowhere", 0.05) is None
        [key] = keys_like(line, "m:")
        assert 0 < int(line.call("PTTL", key)) <= 60_100
        assert require(broker, Remembers).record("nowhere") is None

    def test_waiting_for_work_and_for_a_result_take_turns_on_one_connection(self, broker: Broker, line: Line) -> None:
        broker.wait(["q"], 0.5)  # long enough that it does block, on a busy machine too: this makes the connection
        before = clients(line)
        broker.enqueue([tracked("a")])
        assert await_one(broker, "a", 0.01) is not None
        assert broker.wait(["q"], 1)
        assert clients(line) == before


def _calls(line: Line, command: str) -> int:
    for row in line.call("INFO", "commandstats").splitlines():
        if row.startswith(f"cmdstat_{command}:".encode()):
            return int(row.split(b"calls=")[1].split(b",")[0])
    return 0


def _await_in_thread(url: str, id: str, answers: list[Record | None]) -> None:
    with closing(opened(url)) as broker:
        answers.append(await_one(broker, id))


def _await_all(url: str, ids: list[str], found: list[Record | None]) -> None:
    with closing(opened(url)) as broker:
        found += [await_one(broker, id) for id in ids]


def _await_in_process(url: str, id: str) -> None:
    with closing(opened(url)) as broker:
        await_one(broker, id, 60)


class TestCommands:
    @pytest.fixture
    def wire(self, server: RedisServer) -> Iterator[Wire]:
        with closing(Wire(server.port)) as wire:
            yield wire

    def test_told_again_when_the_reply_was_lost_and_not_when_it_came(self, wire: Wire, broker: Broker, line: Line) -> None:
        with closing(opened(f"redis://127.0.0.1:{wire.port}/0")) as supervisor:
            supervisor.renew("w", 600)
            broker.enqueue([tracked("a"), tracked("b"), tracked("c")])
            broker.claim("h", 1, ["q"], 3)
            assert require(broker, Inspects).cancel("a", terminate=True) == Cancelled.RUNNING
            wire.swallow = True
            with pytest.raises(ReplyLost):
                supervisor.renew("w", 600)
            require(broker, Inspects).cancel("b", terminate=True)
            assert supervisor.renew("w", 600).commands == [Command("cancel", "a"), Command("cancel", "b")]
            assert supervisor.renew("w", 600).commands == []
            require(broker, Inspects).cancel("c", terminate=True)
            require(broker, Inspects).cancel("c", terminate=True)
            assert supervisor.renew("w", 600).commands == [Command("cancel", "c")]
            supervisor.renew("w", 600)
        assert keys_like(line, "c:") == []

    def test_told_too_after_a_server_lost_its_data_and_counts_anew(self, server: RedisServer, broker: Broker) -> None:
        broker.enqueue([tracked("a"), *(Envelope(f"later{n}", "q", b"", after=600_000) for n in range(5))])  # numbers are used up
        broker.claim("h", 1, ["q"], 1)
        require(broker, Inspects).cancel("a", terminate=True)
        assert broker.renew("w", 600).commands == [Command("cancel", "a")]
        assert broker.renew("w", 600).commands == []
        server.command("FLUSHALL")
        assert not broker.renew("w", 600).known
        broker.admit("w", "h2")
        broker.enqueue([tracked("b")])
        broker.claim("h2", 1, ["q"], 1)
        assert require(broker, Inspects).cancel("b", terminate=True) == Cancelled.RUNNING
        assert broker.renew("w", 600).commands == [Command("cancel", "b")]


class TestTombstones:
    def test_all_are_gone_when_their_messages_are(self, broker: Broker, line: Line) -> None:
        inspects = require(broker, Inspects)
        broker.enqueue(
            [tracked(f"a{i}", "qa") for i in range(3)] + [tracked("b", "qb")] + [Envelope("c", "qc", b"")] + [tracked("d", "qd")]
        )
        for id in ("a0", "a1", "a2", "b", "c", "d"):
            assert inspects.cancel(id) == Cancelled.WAITING
        assert len(keys_like(line, "z:")) == 4 and line.call("SCARD", Keys("facets").root + b"tombs") == 4
        broker.claim("h", 1, ["qa", "qb"], 10)
        broker.purge("qc")
        line.call("DEL", Keys("facets").root + b"r:5:qd")  # as if somebody had cleared the list by hand
        broker.maintain()
        assert keys_like(line, "z:") == keys_like(line, "tombs") == []

    def test_a_plain_queue_is_purged_in_one_step(self, broker: Broker, line: Line) -> None:
        for _ in range(20):
            broker.enqueue([Envelope(f"p{i}", "q", b"") for i in range(1000)])
        line.call("CONFIG", "RESETSTAT")
        assert broker.purge("q") == 20_000
        assert _calls(line, "evalsha") + _calls(line, "eval") <= 2


class TestPlainPath:
    def test_nothing_is_kept_of_a_plain_message(self, broker: Broker, line: Line) -> None:
        broker.enqueue([Envelope(f"p{i}", "q", b"") for i in range(100)])
        settle(broker, 2, broker.claim("h", 1, ["q"], 100).deliveries, Done())
        assert [key for kind in ("m:", "n:", "z:", "tombs", "paused", "recorded") for key in keys_like(line, kind)] == []
        assert line.call("HLEN", Keys("facets").held("h")) == 3


class TestDeadRecords:
    def test_a_dead_letter_outlives_its_record_and_is_found(self, server: RedisServer, line: Line) -> None:
        with closing(opened(server.url, record_ttl=0.05)) as broker:
            broker.renew("w", 600)
            broker.admit("w", "h")
            broker.enqueue([tracked("a")])
            settle(broker, 2, broker.claim("h", 1, ["q"], 1).deliveries, Dead("failed", b"why"))
            wait_for(lambda: require(broker, Remembers).record("a") is None)
            found = require(broker, Inspects).find("a")
            assert found is not None and found.error == b"why"
            assert require(broker, Inspects).redrive(["a"]) == 1
            again = require(broker, Remembers).record("a")
            assert again is not None and again.state == State.PENDING
            assert line.call("PTTL", keys_like(line, "m:")[0]) == -1
