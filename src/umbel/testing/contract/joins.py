"""What ``Joins`` promises of building a flow, and of values."""

from __future__ import annotations

import msgspec
import pytest

from ...broker import Settle
from ...envelope import Extra
from ...facets import require
from ...joins import RIDE_MAX, Flow, FlowState, Joins, NodeState, pack_error, pack_value
from ...outcome import Dead, Done, Outcome, Replaced, Retry
from .flows import (
    CONTINUE,
    FAILED,
    GATE,
    HELD,
    KEEP,
    RIDE,
    begun,
    chain_of,
    gate,
    node,
    nodes_of,
    run,
    stand,
    states,
)
from .harness import Hand, Harness, counts, envelope, in_thread, needs, timed

DONE, ABANDONED, BLOCKED = NodeState.DONE, NodeState.ABANDONED, NodeState.BLOCKED


class TestFlowBuilding:
    @needs(Joins)
    def test_an_empty_flow_has_succeeded(self, harness: Harness) -> None:
        joins = begun(harness.broker(), label="nothing", result=b"[]", on_error="continue")
        seen = stand(joins)
        assert (seen.state, seen.label, seen.result, seen.on_error, seen.total) == (FlowState.SUCCESS, "nothing", b"[]", "continue", 0)
        assert 0 < seen.created <= seen.finished

    @needs(Joins)
    def test_what_nobody_opened_is_not_there(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = require(broker, Joins)
        assert joins.flow("f") is None
        assert joins.flow_nodes("f").nodes == []
        assert joins.inputs("f", [1, 2]) == [None, None]
        assert joins.await_flow("f", 0) is None
        assert not joins.add_nodes("f", [node(1)])
        assert not joins.close_flow("f")
        assert not joins.cancel_flow("f").found
        assert not joins.retry_flow("f").found
        assert not joins.forget_flow("f")
        assert counts(broker) == (0, 0, 0, 0)

    @needs(Joins)
    def test_members_run_while_the_flow_is_open(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(9, needs=2, flags=HELD), node(1, 9), close=False)
        hand = Hand(broker)
        assert run(hand) == [1]
        assert stand(joins).state is FlowState.OPEN
        assert joins.add_nodes("f", [node(2, 9)])
        assert run(hand) == [2]
        assert states(joins) == {1: DONE, 2: DONE, 9: BLOCKED}
        assert joins.close_flow("f", [node(9, needs=2, body=b"now it is known")])
        [delivery] = hand.claim()
        assert delivery.envelope.body == b"now it is known"
        hand.done(delivery)
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_a_held_node_waits_for_those_that_come_after_the_close_too(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(9, flags=HELD), node(1, 9), node(2, 9), close=False)
        assert joins.close_flow("f", [node(9, needs=2)])
        assert run(Hand(broker)) == [1, 2, 9]

    @needs(Joins)
    def test_each_verb_may_be_repeated(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = require(broker, Joins)
        nodes = [node(9, flags=HELD), node(1, 9), node(2, 9)]
        assert joins.open_flow(Flow("f"))
        assert not joins.open_flow(Flow("f", label="another"))
        assert joins.add_nodes("f", nodes)
        hand = Hand(broker)
        hand.done(hand.claim_one())
        assert joins.add_nodes("f", nodes)
        assert joins.add_nodes("f", [*nodes, node(3, 9)])
        assert joins.close_flow("f", [node(9, needs=3)])
        assert joins.close_flow("f", [node(9, needs=3)])
        assert run(hand) == [2, 3, 9]
        seen = stand(joins)
        assert (seen.state, seen.total, seen.done, seen.label) == (FlowState.SUCCESS, 4, 4, "")
        assert not joins.add_nodes("f", [node(4)]), "a closed flow takes nothing more"
        assert joins.close_flow("f")

    @needs(Joins)
    def test_what_cannot_be_is_refused_whole(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, close=False)
        other = node(2)
        for wrong in (
            [node(n) for n in range(1_001)],
            [node(1), node(2**53)],
            [node(1), node(2, (5, 4))],
            [node(1), msgspec.structs.replace(other, number=3)],
            [node(1), msgspec.structs.replace(other, envelope=envelope())],
            [node(1), node(2, flags=0, priority=10)],
        ):
            with pytest.raises(ValueError):
                joins.add_nodes("f", wrong)
        unique = node(5)
        assert unique.envelope is not None and unique.envelope.extras is not None
        unique.envelope.extras[Extra.UNIQUE] = b"key"
        with pytest.raises(Exception, match=r"unique|limits"):
            joins.add_nodes("f", [unique])
        assert counts(broker) == (0, 0, 0, 0)
        assert stand(joins).total == 0

    @needs(Joins)
    def test_a_thousand_nodes_in_one_step(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *[node(n) for n in range(1_000)])
        assert counts(broker) == (1_000, 0, 0, 0)
        assert stand(joins).total == 1_000
        found = nodes_of(joins, limit=333)
        assert sorted(found) == list(range(1_000))

    @needs(Joins)
    def test_large_numbers_are_exact(self, harness: Harness) -> None:
        broker = harness.broker()
        last = 2**53 - 1
        joins = begun(broker, node(last, needs=1, flags=KEEP), node(last - 1, last, flags=KEEP))
        assert run(Hand(broker), lambda number: Done(b"%d" % number)) == [last - 1, last]
        assert joins.inputs("f", [last, last - 1]) == [pack_value(b"%d" % last), pack_value(b"%d" % (last - 1))]

    @needs(Joins)
    def test_hostile_ids_and_labels(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = require(broker, Joins)
        for id in ("a b", "{x}:f", "flow/../..", "'; drop table", "ö" * 40, "00000000-0000-7000-8000-000000000000"):
            joins.open_flow(Flow(id, label=f"<{id}>\x00\n", result=bytes(range(256))))
            joins.add_nodes(id, [node(2, needs=1, flow=id, label=f"{id}\x1b"), node(1, 2, flow=id)])
            joins.close_flow(id)
            seen = joins.flow(id)
            assert seen is not None
            assert (seen.id, seen.label, seen.result, seen.state) == (id, f"<{id}>\x00\n", bytes(range(256)), FlowState.RUNNING)
            assert nodes_of(joins, id)[2].label == f"{id}\x1b"
        assert sorted(run(Hand(broker))) == [1] * 6 + [2] * 6
        assert {each.state for each in joins.flows().flows} == {FlowState.SUCCESS}

    @needs(Joins)
    def test_flows_are_listed_newest_first(self, harness: Harness) -> None:
        joins = require(harness.broker(), Joins)
        for n in range(5):
            begun(harness.broker(), node(1, flow=f"f{n}"), flow=f"f{n}")
            harness.advance(2)
        page = joins.flows(2)
        assert [each.id for each in page.flows] == ["f4", "f3"]
        rest = joins.flows(3, page.cursor)
        assert [each.id for each in rest.flows] == ["f2", "f1", "f0"]
        assert rest.cursor is None

    @needs(Joins)
    def test_how_a_flow_stands(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(5, needs=1), gate(4, 5, needs=2), node(1, 4, label="first"), node(2, 4, label="ü"))
        hand = Hand(broker)
        hand.done(hand.claim_one())
        seen = stand(joins)
        assert (seen.state, seen.total, seen.done, seen.failed, seen.abandoned, seen.ready) == (FlowState.RUNNING, 3, 1, 0, 0, 1)
        found = nodes_of(joins)
        assert {n: (one.state, one.id, one.label, one.needs, one.followers) for n, one in found.items()} == {
            1: (DONE, "f.1", "first", 0, ((4, 4),)),
            2: (NodeState.READY, "f.2", "ü", 0, ((4, 4),)),
            4: (BLOCKED, "", "", 1, ((5, 5),)),
            5: (BLOCKED, "f.5", "", 1, ()),
        }
        assert found[4].flags & GATE


class TestFlowValues:
    @needs(Joins)
    def test_values_are_kept_where_they_are_wanted(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(4, needs=3, flags=KEEP), node(3, 4, flags=KEEP | CONTINUE), node(2, 4, flags=KEEP), node(1, 4))
        assert joins.inputs("f", [2]) == [None]
        ends: dict[int, Outcome] = {1: Done(b"1"), 2: Done(b'"two"'), 3: Dead("poison", b"dead\x00"), 4: Done(None)}
        assert run(Hand(broker), lambda number: ends[number]) == [3, 2, 1, 4]
        assert joins.inputs("f", [4, 3, 2, 1, 77]) == [
            pack_value(None),
            pack_error("poison", b"dead\x00"),
            pack_value(b'"two"'),
            None,
            None,
        ]
        with pytest.raises(ValueError):
            joins.inputs("f", range(1_001))

    @needs(Joins)
    def test_the_input_of_a_chain_is_at_hand(self, harness: Harness) -> None:
        """In the message or in the store; what rides along is what the store has."""
        broker = harness.broker()
        joins = begun(broker, *chain_of(3, flags=KEEP | RIDE))
        hand = Hand(broker)
        delivery, values = hand.claim_one(), [b"7" * 10, b"8" * (RIDE_MAX + 1)]
        for n, value in enumerate(values, 1):
            [delivery] = hand.exchange([Settle(delivery.receipt, Done(value))], ["q"], 1).deliveries
            rides = (delivery.envelope.extras or {}).get(Extra.INPUT)
            assert rides is None or (rides == pack_value(value) and len(rides) <= RIDE_MAX)
            assert joins.inputs("f", [n]) == [pack_value(value)]
            assert delivery.envelope.body == b"body of f.%d" % (n + 1)

    @needs(Joins)
    def test_what_rides_along_stays_over_retries(self, harness: Harness) -> None:
        broker = harness.broker()
        begun(broker, *chain_of(2, flags=KEEP | RIDE))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Done(b"7"))
        first = hand.claim_one()
        hand.settle(first, Retry(0))
        second = hand.claim_one()
        assert first.envelope.extras == second.envelope.extras
        assert second.envelope.attempt == 2

    @needs(Joins)
    def test_many_inputs_in_the_order_asked(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(5_000, needs=2_000), *[node(n, 5_000, flags=KEEP) for n in range(2_000)])
        run(Hand(broker))
        assert joins.inputs("f", range(1_999, 999, -1)) == [pack_value(b"%d" % n) for n in range(1_999, 999, -1)]


class TestReplaced:
    @needs(Joins)
    def test_a_member_goes_on_as_others(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1, flags=KEEP), node(1, 2, flags=KEEP))
        hand = Hand(broker)
        inner = (node(102, 1, needs=1, flags=KEEP), node(101, 102))
        assert hand.settle(hand.claim_one(), Replaced(1, b"*102", inner)) == "won"
        assert joins.inputs("f", [1]) == [None]
        assert run(hand) == [101, 102, 2]
        assert joins.inputs("f", [1, 102]) == [b"*102", pack_value(b"102")]
        seen = stand(joins)
        assert (seen.state, seen.total, seen.done) == (FlowState.SUCCESS, 4, 4)

    @needs(Joins)
    def test_by_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), node(1, 2, flags=KEEP))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Replaced(0, b"*", ()))
        assert run(hand) == [2]
        assert joins.inputs("f", [1]) == [b"*"]

    @needs(Joins)
    def test_its_failure_is_the_members(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), node(1, 2))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Replaced(1, b"*", (node(101, 1),)))
        run(hand, lambda n: FAILED)
        assert states(joins) == {1: ABANDONED, 2: ABANDONED, 101: NodeState.FAILED}
        assert joins.retry_flow("f").retried == 1
        assert run(hand) == [101, 2]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_after_its_flow_was_cancelled(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), node(1, 2))
        hand = Hand(broker)
        delivery = hand.claim_one()
        joins.cancel_flow("f")
        hand.settle(delivery, Replaced(1, b"*", (node(101, 1),)))
        assert run(hand) == []
        seen = stand(joins)
        assert (seen.state, seen.finished > 0) == (FlowState.REVOKED, True)


class TestAwaitFlow:
    @needs(Joins, name="live_harness")
    def test_whoever_waits_is_woken(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        begun(broker, *chain_of(2))
        waiter = in_thread(live_harness, lambda other: require(other, Joins).await_flow("f", 20))
        run(Hand(broker))
        seen = waiter()
        assert seen is not None
        assert seen.state is FlowState.SUCCESS

    @needs(Joins, name="live_harness")
    def test_a_failure_wakes_too(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        begun(broker, node(2, queue="later"), node(1))
        waiter = in_thread(live_harness, lambda other: require(other, Joins).await_flow("f", 20))
        run(Hand(broker), lambda n: FAILED)
        seen = waiter()
        assert seen is not None
        assert (seen.state, seen.finished) == (FlowState.FAILURE, 0)

    @needs(Joins, name="live_harness")
    def test_the_time_is_over(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        joins = begun(broker, node(1))
        seen, span = timed(lambda: joins.await_flow("f", 0.05))
        assert seen is not None
        assert seen.state is FlowState.RUNNING
        assert span >= 0.05
