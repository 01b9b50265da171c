"""What a server, a wire or an interruption can do to the Redis broker, and what it then says."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType

import pytest

from tests.servers import REDIS_SERVER, RedisServer
from tests.waiting import wait_for
from umbel.broker import Broker, BrokerSettings, Settle, Verdict
from umbel.brokers import make_broker
from umbel.brokers.redis.connection import Address, Line
from umbel.brokers.redis.keys import Keys
from umbel.envelope import Envelope
from umbel.errors import BrokerError, BrokerUnreachable, ConfigError, ReplyLost, SequenceError, StoreFull, StoreUnusable
from umbel.facets import require
from umbel.outcome import Done, Retry
from umbel.ticks import Firing, Planned, Shot, Ticks

if REDIS_SERVER is None and os.environ.get("CI") != "true":
    pytest.skip("redis-server is not installed", allow_module_level=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def opened(url: str, app: str = "faults") -> Broker:
    broker = make_broker(url, BrokerSettings(app=app))
    broker.open()
    return broker


def ready_of(broker: Broker) -> int:
    return sum(one.ready for one in broker.stats())


class Wire:
    """A TCP proxy that passes everything on, until it is told to swallow the server's replies."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.swallow = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with source, sink:
            try:
                while data := source.recv(65536):
                    if replies and self.swallow:
                        self.swallow = False
                        sink.shutdown(socket.SHUT_RDWR)
                        return
                    sink.sendall(data)
            except OSError:
                return


class TestLostReplies:
    @pytest.fixture
    def wire(self, redis_server: RedisServer) -> Iterator[Wire]:
        with closing(Wire(redis_server.port)) as wire:
            yield wire

    def test_is_said_and_done_once(self, wire: Wire) -> None:
        with closing(opened(f"redis://127.0.0.1:{wire.port}/0", "lost-enqueue")) as broker:
            broker.enqueue([Envelope("first", "q", b"")])  # loads the script: else it is that answer which is lost
            wire.swallow = True
            with pytest.raises(ReplyLost):
                broker.enqueue([Envelope("a", "q", b"")])
            assert ready_of(broker) == 2

    def test_no_stale_reply_is_read_afterwards(self, wire: Wire) -> None:
        with closing(opened(f"redis://127.0.0.1:{wire.port}/0", "lost-exchange")) as broker:
            broker.renew("w", 60)
            broker.admit("w", "h")
            broker.enqueue([Envelope(str(i), "q", b"") for i in range(4)])
            with pytest.raises(SequenceError):
                broker.exchange("h", 9, [], ["q"], 2)  # loads the script
            wire.swallow = True
            with pytest.raises(ReplyLost):
                broker.exchange("h", 1, [], ["q"], 2)
            again = broker.exchange("h", 1, [], ["q"], 2)
            assert [d.envelope.id for d in again.deliveries] == ["0", "1"]
            assert [d.envelope.delivery for d in again.deliveries] == [1, 1]
            assert broker.exchange("h", 2, [Settle(d.receipt, Done()) for d in again.deliveries], [], 0).verdicts == [Verdict.WON] * 2

    def test_a_connection_closed_while_idle_costs_nothing(self, redis_server: RedisServer) -> None:
        with closing(opened(redis_server.url, "idle")) as broker, closing(opened(redis_server.url, "idle-other")) as other:
            line = Line(Address(redis_server.url, "killer"))
            assert line.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 2
            line.drop()
            wait_for(lambda: broker.ping() > 0, 2)
            assert broker.enqueue([Envelope("a", "q", b"")])[0].id == "a"
            assert other.ping() > 0


class TestServer:
    def test_gone_is_unreachable_and_back_is_back(self, own_server: RedisServer) -> None:
        with closing(opened(own_server.url)) as broker:
            broker.enqueue([Envelope("a", "q", b"")])
            own_server.kill()
            for _ in range(3):
                with pytest.raises(BrokerUnreachable):
                    broker.enqueue([Envelope("b", "q", b"")])
            own_server.start()  # knows no script, and holds nothing
            broker.enqueue([Envelope("c", "q", b"")])
            assert ready_of(broker) == 1

    def test_flushed_scripts_are_loaded_again(self, redis_server: RedisServer) -> None:
        with closing(opened(redis_server.url, "flushed")) as broker:
            line = Line(Address(redis_server.url, "flusher"))
            for _ in range(2):
                line.call("SCRIPT", "FLUSH")
                broker.enqueue([Envelope("a", "q", b"")])
            line.drop()
            assert ready_of(broker) == 2

    def test_read_only_is_unreachable(self, own_server: RedisServer) -> None:
        line = Line(Address(own_server.url, "boss"))
        line.call("REPLICAOF", "127.0.0.1", "1")
        line.call("CONFIG", "SET", "replica-serve-stale-data", "yes")
        line.drop()
        with closing(opened(own_server.url)) as broker, pytest.raises(BrokerUnreachable):
            broker.enqueue([Envelope("a", "q", b"")])

    def test_waiting_on_a_server_that_dies_is_unreachable(self, own_server: RedisServer) -> None:
        with closing(opened(own_server.url)) as broker:
            threading.Timer(0.2, own_server.kill).start()
            with pytest.raises(BrokerUnreachable):
                broker.wait(["q"], 5)

    def test_a_password_that_is_wrong_is_not_an_outage(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path, "--user", "someone", "on", ">secret", "~*", "&*", "+@all") as server:
            with pytest.raises(StoreUnusable) as refused:
                opened(server.url.replace("redis://", "redis://someone:hunter2@"))
            assert "hunter2" not in str(refused.value)
            with closing(opened(server.url.replace("redis://", "redis://someone:secret@"))) as broker:
                assert broker.ping() > 0


@pytest.mark.parametrize("version", [(6, 2), (7, 0)], ids=["without header", "with header"])
class TestFull:
    """Redis 6.2 is imitated by leaving out the line that it does not know: this server then applies the older rules."""

    @pytest.fixture
    def broker(self, own_server: RedisServer, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
        monkeypatch.setattr("umbel.brokers.redis.connection._version", lambda info: version)
        with closing(opened(own_server.url)) as broker:
            broker.renew("w", 60)
            broker.admit("w", "h")
            broker.enqueue([Envelope(str(i), "q", b"x" * 100) for i in range(10)])
            yield broker

    @staticmethod
    def limit(server: RedisServer, size: str) -> None:
        line = Line(Address(server.url, "limiter"))
        line.call("CONFIG", "SET", "maxmemory", size)
        line.drop()

    def test_new_work_is_refused_whole_and_old_work_finishes(self, own_server: RedisServer, broker: Broker) -> None:
        held = broker.exchange("h", 1, [], ["q"], 5).deliveries
        self.limit(own_server, "100kb")
        with pytest.raises(StoreFull):
            broker.enqueue([Envelope("new", "q", b"", after=i) for i in range(3)])
        with pytest.raises(StoreFull):
            broker.exchange("h", 2, [Settle(held[0].receipt, Done(), (Envelope("then", "other", b""),))], ["q"], 5)
        assert len(broker.resume("h")) == 5
        settles = [Settle(held[0].receipt, Done()), Settle(held[1].receipt, Retry(60_000)), Settle(held[2].receipt, Done())]
        answer = broker.exchange("h", 2, settles, ["q"], 5)
        assert answer.verdicts == [Verdict.WON] * 3
        assert [d.envelope.id for d in answer.deliveries] == ["5", "6", "7", "8", "9"]
        assert broker.exchange("h", 3, [], [], 0).verdicts == []  # writes nothing but its number
        assert broker.renew("w", 60).known
        broker.admit("w", "h2")
        assert broker.give_back("h", [answer.deliveries[0].receipt]) == 1
        assert broker.retire("h").returned == 6
        broker.maintain(rescue=True)
        assert [(one.queue, one.ready, one.scheduled) for one in broker.stats()] == [("q", 7, 1)]

    def test_a_tick_waits_until_there_is_room(self, own_server: RedisServer, broker: Broker) -> None:
        ticks = require(broker, Ticks)
        for name in ("a", "b"):
            assert ticks.add_schedule(Planned(name, "rule", b"definition"))
        before = ticks.timetable().entries
        firings = [Firing(one.name, one.revision, one.done + 1, Envelope(f"tick of {one.name}", "q", b"")) for one in before]
        wait_for(lambda: broker.ping() > before[-1].done)
        self.limit(own_server, "1mb")
        with pytest.raises(StoreFull):
            ticks.fire(firings)
        with pytest.raises(StoreFull):
            ticks.add_schedule(Planned("c", "rule", b"definition"))
        assert ticks.timetable().entries == before
        assert ticks.pause_schedule("b", True), "an operator can always stop one"
        assert ticks.remove_schedule("b")
        self.limit(own_server, "0")
        assert [one.shot for one in ticks.fire(firings)[1]] == [Shot.FIRED, Shot.CHANGED]
        assert ready_of(broker) == 11

    def test_service_resumes_when_there_is_room(self, own_server: RedisServer, broker: Broker) -> None:
        self.limit(own_server, "100kb")
        with pytest.raises(StoreFull):
            broker.enqueue([Envelope("new", "q", b"")])
        self.limit(own_server, "0")
        broker.enqueue([Envelope("new", "q", b"")])
        assert ready_of(broker) == 11


class Interrupted(BaseException):
    pass


def test_an_interrupted_call_leaves_no_reply_behind(redis_server: RedisServer) -> None:
    def raise_it(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, raise_it)
    try:
        with closing(opened(redis_server.url, "interrupted")) as broker:
            pauser = Line(Address(redis_server.url, "pauser"))
            pauser.call("CLIENT", "PAUSE", "400", "ALL")
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                broker.ping()
            pauser.drop()
            assert broker.enqueue([Envelope("a", "q", b"")])[0].id == "a"  # and not the time that was asked for before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_nor_does_one_that_is_interrupted_before_it_began_to_read(redis_server: RedisServer) -> None:
    """A signal's handler runs between any two lines of ours; here, between asking and reading."""

    def strike(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is Line.read.__code__:
            raise Interrupted

    line = Line(Address(redis_server.url, "interrupted"))
    try:
        line.call("PING")
        before = sys.gettrace()
        sys.settrace(strike)
        try:
            with pytest.raises(Interrupted):
                line.call("BLPOP", "nothing", "0.3")
        finally:
            sys.settrace(before)
        assert line.call("ECHO", "mine") == b"mine"
    finally:
        line.drop()


class TestIdle:
    def test_a_waiting_broker_asks_almost_nothing(self, own_server: RedisServer) -> None:
        line = Line(Address(own_server.url, "counter"))

        def commands() -> int:
            rows: list[bytes] = line.call("INFO", "stats").splitlines()
            return next(int(row.partition(b":")[2]) for row in rows if row.startswith(b"total_commands_processed"))

        with closing(opened(own_server.url)) as broker:
            broker.wait(["q"], 0.05)  # connections are made, scripts loaded
            before = commands()
            assert broker.wait(["q"], 1.0) is False
            # two scripts that run two commands each for the one queue, BLPOP, and these counts
            assert commands() - before <= 15
        line.drop()

    def test_a_stopped_wait_loses_nobody_elses_token(self, redis_server: RedisServer) -> None:
        read_end, write_end = os.pipe()
        with closing(opened(redis_server.url, "stopped")) as broker, closing(opened(redis_server.url, "stopped")) as other:
            threading.Timer(0.1, os.write, (write_end, b"x")).start()
            assert broker.wait(["q"], 5, stop=read_end) is False
            other.enqueue([Envelope("a", "q", b"")])
            assert other.wait(["q"], 5) is True
            assert broker.wait(["q"], 0) is True
        os.close(read_end)
        os.close(write_end)


class TestAddress:
    def test_unknown_option_is_named(self) -> None:
        with pytest.raises(ConfigError, match="retry_on_timeout"):
            make_broker("redis://127.0.0.1/0?retry_on_timeout=yes")

    def test_bad_value_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="socket_timeout"):
            make_broker("redis://127.0.0.1/0?socket_timeout=soon")

    def test_no_verb_before_open(self) -> None:
        with pytest.raises(BrokerError, match="open"):
            make_broker("redis://127.0.0.1:1/0").ping()

    def test_nobody_there(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1"):
                opened(f"redis://127.0.0.1:{probe.getsockname()[1]}/0")


class TestKeys:
    @pytest.mark.parametrize("app", ["plain", "a}b", "{", "}{", "%7D", "ü{1}"])
    def test_the_hash_tag_is_the_whole_app(self, app: str) -> None:
        root = Keys(app).root
        tag = root[root.index(b"{") + 1 : root.index(b"}")]
        assert root == b"{" + tag + b"}:"

    def test_different_apps_never_share_a_root(self) -> None:
        apps = ["a", "a}", "a{", "a%7D", "a%257D", "%", "a:"]
        assert len({Keys(app).root for app in apps}) == len(apps)
