"""Flows on a Redis whose replies are lost, that has no room, or whose scripts are looked at closely."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import REDIS_SERVER, RedisServer
from tests.unit.test_redis_faults import Wire
from umbel.broker import Broker, BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.brokers.redis.connection import Address, Line
from umbel.brokers.redis.keys import Keys
from umbel.envelope import TRACKED, Envelope
from umbel.errors import ReplyLost, StoreFull
from umbel.facets import Inspects, require
from umbel.joins import Flow, Joins, NodeState, pack_place
from umbel.outcome import Dead, Done, Node, Replaced
from umbel.testing.contract.flows import CONTINUE, HELD, KEEP, RIDE, chain_of, node, states
from umbel.testing.contract.harness import Hand, maintain_all

if REDIS_SERVER is None and os.environ.get("CI") != "true":
    pytest.skip("redis-server is not installed", allow_module_level=True)


def opened(url: str, app: str) -> Broker:
    broker = make_broker(url, BrokerSettings(app=app))
    broker.open()
    broker.renew("w", 600)
    broker.admit("w", "h")
    return broker


class Life:
    """One flow from its beginning to its end, as steps of which each is one call that may be repeated."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.joins, self.seq = broker, require(broker, Joins), 0
        self.held: dict[str, Any] = {}
        self.said: list[Any] = []

    def steps(self) -> list[Callable[[], Any]]:
        joins, fail, keep = self.joins, {1: Dead("failed", b"no")}, KEEP | RIDE
        nodes = [node(9, flags=HELD | KEEP), node(4, 9, needs=1, flags=keep), node(3, 4, needs=2, flags=KEEP), node(2, 3, flags=KEEP)]
        inner = (node(21, 2, needs=1), node(20, 21))
        return [
            lambda: joins.open_flow(Flow("f", handler=Envelope("handler", "errors", b""))),
            lambda: joins.add_nodes("f", nodes),
            lambda: joins.add_nodes("f", [node(1, 3, flags=KEEP)]),
            self.turn({}),
            self.turn({2: Replaced(1, b"*", inner), **fail}),
            lambda: joins.close_flow("f", [node(9, needs=1, flags=KEEP)]),
            self.turn({}),
            self.turn({}),
            lambda: joins.retry_flow("f"),
            self.turn({}),
            self.turn({}),
            self.turn({}),
            self.turn({}),
            self.turn({}),
            self.turn({}),
        ]

    def turn(self, ends: dict[int, Any]) -> Callable[[], Any]:
        """Settle all that is held, and claim: one exchange, under the same number however often it is called."""
        box: dict[str, Any] = {}

        def exchange() -> list[str]:
            if not box:
                self.seq += 1
                box["seq"] = self.seq
                box["settles"] = [Settle(d.receipt, ends.get(int(id[2:]), Done(id.encode()))) for id, d in sorted(self.held.items())]
            answer = self.broker.exchange("h", box["seq"], box["settles"], ["q"], 10)
            self.held = {d.envelope.id: d for d in answer.deliveries}
            return [*map(str, answer.verdicts), *sorted(self.held)]

        return exchange


def keys_left(url: str, app: str) -> set[bytes]:
    line, root = Line(Address(url, app)), Keys(app).root
    with closing_line(line):
        return {key.removeprefix(root) for key in line.call("KEYS", root.replace(b"{", b"\\{") + b"*")}


class closing_line:
    def __init__(self, line: Line) -> None:
        self.line = line

    def __enter__(self) -> Line:
        return self.line

    def __exit__(self, *exc: object) -> None:
        self.line.drop()


STEPS = 15


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    with closing(Wire(redis_server.port)) as wire:
        yield wire


@pytest.mark.parametrize("lost", range(STEPS))
def test_a_reply_that_is_lost_at_any_step_changes_nothing(redis_server: RedisServer, wire: Wire, lost: int) -> None:
    app = f"lost-{lost}"
    with closing(opened(f"redis://127.0.0.1:{wire.port}/0", app)) as broker, closing(opened(redis_server.url, f"{app}-whole")) as other:
        for script in ("through", "again"):  # loads the scripts: else it is that answer which is lost
            warm = Life(broker)
            warm.joins.open_flow(Flow(script))
            warm.joins.add_nodes(script, [])
            warm.joins.close_flow(script)
            warm.joins.retry_flow(script)
            warm.joins.forget_flow(script)
        broker.exchange("h", 1, [], [], 0)
        life, whole = Life(broker), Life(other)
        life.seq = 1
        mine, theirs = life.steps(), whole.steps()
        assert len(mine) == STEPS
        for number, (step, same) in enumerate(zip(mine, theirs, strict=True)):
            if number == lost:
                wire.swallow = True
                with pytest.raises(ReplyLost):
                    step()
                if number in (0, 8):  # the second time it is there already; and what failed is retried already
                    step()
                    same()
                    continue
            assert step() == same(), number
        assert states(life.joins) == states(whole.joins) == dict.fromkeys((1, 2, 3, 4, 9, 20, 21), NodeState.DONE)
        numbers = [1, 2, 3, 4, 9]
        assert life.joins.inputs("f", numbers) == whole.joins.inputs("f", numbers)
        assert [(one.queue, one.ready) for one in broker.stats() if one.ready] == [("errors", 1)]
        broker.purge("errors")
        assert life.joins.forget_flow("f")
        assert not {key for key in keys_left(redis_server.url, app) if key.startswith(b"f")}


class TestNoRoom:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[RedisServer]:
        with RedisServer(tmp_path) as server:
            yield server

    def test_nodes_are_refused_whole_and_members_settle(self, server: RedisServer) -> None:
        with closing(opened(server.url, "room")) as broker, closing_line(Line(Address(server.url, "room"))) as line:
            joins, hand = require(broker, Joins), Hand(broker)
            joins.open_flow(Flow("f"))
            joins.add_nodes("f", [node(9, flags=HELD)])
            joins.add_nodes("f", [node(2, 9, needs=1), node(1, 2)])
            delivery = hand.claim_one()
            line.call("CONFIG", "SET", "maxmemory", "1mb")
            for refused in (
                lambda: joins.open_flow(Flow("g")),
                lambda: joins.add_nodes("f", [node(3, 9)]),
                lambda: joins.close_flow("f", [node(9, needs=1)]),
            ):
                with pytest.raises(StoreFull):
                    refused()
            assert joins.flow("g") is None
            [following] = hand.exchange([Settle(delivery.receipt, Done(b"1"))], ["q"], 5).deliveries
            assert following.envelope.id == "f.2", "what was accepted goes on"
            with pytest.raises(StoreFull):
                broker.exchange(hand.name, hand.seq + 1, [Settle(following.receipt, Replaced(1, b"*", (node(20, 2),)))], [], 0)
            hand.done(following)
            line.call("CONFIG", "SET", "maxmemory", "0")
            assert joins.close_flow("f", [node(9, needs=1)])
            hand.done(hand.claim_one())
            assert set(states(joins).values()) == {NodeState.DONE}


class TestBounds:
    @pytest.fixture
    def broker(self, redis_server: RedisServer) -> Iterator[Broker]:
        with closing(opened(redis_server.url, "flow-bounds")) as broker:
            yield broker
            for key in keys_left(redis_server.url, "flow-bounds"):
                with closing_line(Line(Address(redis_server.url, "x"))) as line:
                    line.call("DEL", Keys("flow-bounds").root + key)

    def test_a_node_of_a_long_chain_weighs_less_than_a_kibibyte(self, broker: Broker, redis_server: RedisServer) -> None:
        count, joins = 2_000, require(broker, Joins)
        with closing_line(Line(Address(redis_server.url, "flow-bounds"))) as line:

            def used() -> int:
                return int(dict(row.split(b":", 1) for row in line.call("INFO", "memory").splitlines() if b":" in row)[b"used_memory"])

            before = used()
            joins.open_flow(Flow("f"))
            nodes = chain_of(count, flags=KEEP | RIDE, body=b'{"t":"bench.noop","a":[1]}')
            for at in range(0, count, 1_000):
                joins.add_nodes("f", nodes[at : at + 1_000])
            joins.close_flow("f")
            assert (used() - before) / count < 1024

    def test_a_member_that_is_cancelled_in_a_list_tells_its_flow(self, broker: Broker) -> None:
        """Tracked or not: a tombstone alone would leave the flow waiting for it."""
        joins, inspects = require(broker, Joins), require(broker, Inspects)
        joins.open_flow(Flow("f"))
        first = node(1, 2, flags=CONTINUE)
        assert first.envelope is not None
        first.envelope.flags |= TRACKED
        joins.add_nodes("f", [node(2, needs=1), first])
        joins.close_flow("f")
        assert inspects.cancel("f.1") == "waiting"
        assert states(joins) == {1: NodeState.DROPPED, 2: NodeState.READY}
        assert inspects.cancel("f.1") == "unknown"

    def test_dead_letters_that_an_unfinished_flow_needs_are_in_nobodys_way(self, redis_server: RedisServer) -> None:
        app = "flow-letters"
        with closing(make_broker(redis_server.url, BrokerSettings(app=app, dead_letter_bytes=1))) as broker:
            broker.open()
            joins, hand = require(broker, Joins), Hand(broker)
            joins.open_flow(Flow("f"))
            joins.add_nodes("f", [node(n, queue="fails") for n in range(20)] + [node(99, queue="later")])
            joins.close_flow("f")
            dead = hand.claim(20, "fails")
            hand.exchange([Settle(d.receipt, Dead("failed")) for d in dead])
            broker.enqueue([Envelope("plain", "fails", b"")])
            hand.settle(hand.claim_one("fails"), Dead("failed"))
            maintain_all(broker)
            assert {one.queue: one.dead for one in broker.stats()}["fails"] == 20
            hand.done(hand.claim_one("later"))
            maintain_all(broker)
            assert {one.queue: one.dead for one in broker.stats()}["fails"] == 0
            assert joins.retry_flow("f").retried == 20, "what is trimmed is the letter, not the node"

    def test_who_uses_no_flow_makes_no_call_more(self, redis_server: RedisServer) -> None:
        """A message with an extra of another kind asks nothing of flows."""
        with closing(opened(redis_server.url, "no-flow")) as broker, closing_line(Line(Address(redis_server.url, "no-flow"))) as line:
            line.call("CONFIG", "RESETSTAT")
            broker.enqueue([Envelope(f"m{n}", "q", b"") for n in range(3)])
            got = broker.exchange("h", 1, [], ["q"], 3).deliveries
            broker.exchange("h", 2, [Settle(d.receipt, Done()) for d in got], ["q"], 3)
            calls = line.call("INFO", "commandstats").decode()
            assert "cmdstat_hget:" not in calls
            assert not {key for key in keys_left(redis_server.url, "no-flow") if key.startswith(b"f")}


def test_a_place_that_is_none_is_no_member(redis_server: RedisServer) -> None:
    """Bytes of another release, or of nobody's."""
    with closing(opened(redis_server.url, "strange")) as broker:
        joins, hand = require(broker, Joins), Hand(broker)
        joins.open_flow(Flow("f"))
        joins.add_nodes("f", [node(1, queue="other")])
        broker.enqueue([Envelope("a", "q", b"", extras={3: b"f"}), Envelope("b", "q", b"", extras={3: b"f", 4: b"\0"})])
        broker.enqueue([Envelope("c", "q", b"", extras=pack_place("f", 1)), Envelope("d", "q", b"", extras=pack_place("\xff" * 9, 7))])
        got = hand.claim(10)
        assert [d.envelope.id for d in got] == ["a", "b", "c", "d"]
        hand.done(*got)
        assert states(joins) == {1: NodeState.READY}, "another message's end is not the node's"


def test_a_node_whose_follower_is_not_there_hinders_nobody(redis_server: RedisServer) -> None:
    with closing(opened(redis_server.url, "no-follower")) as broker:
        joins, hand = require(broker, Joins), Hand(broker)
        joins.open_flow(Flow("f"))
        joins.add_nodes("f", [Node(1, node(1).envelope, 0, ((5, 7),))])
        joins.close_flow("f")
        assert hand.settle(hand.claim_one(), Done()) == "won"
