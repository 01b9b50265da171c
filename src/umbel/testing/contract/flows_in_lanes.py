"""What ``Joins`` and ``Limits`` promise together: members of flows that wait in lanes, and members that skip."""

from __future__ import annotations

from typing import Any

import pytest

from ...broker import Settle
from ...envelope import SKIPS, TRACKED, Extra
from ...facets import Inspects, Limits, Remembers, State, require
from ...joins import FlowState, Joins, NodeState, pack_place
from ...outcome import Done, Node, Retry
from .flows import begun, node, nodes_of, numbers, stand, states
from .harness import Hand, Harness, envelope, has, maintain_all, needs
from .lanes import locked, nothing_left

DONE, READY, DROPPED, ABANDONED = NodeState.DONE, NodeState.READY, NodeState.DROPPED, NodeState.ABANDONED


def member(number: int, *followers: int, needs: int = 0, **fields: Any) -> Node:
    """A node whose message stands under the lock ``k``."""
    lane = (locked("any", "k").extras or {})[Extra.LANE]
    made = node(number, *followers, needs=needs)
    message = envelope(f"f.{number}", extras={**pack_place("f", number, 0), Extra.LANE: lane}, **fields)
    return Node(number, message, made.needs, made.followers, made.flags)


class TestFlowsInLanes:
    @needs(Joins, Limits)
    def test_a_member_waits_for_its_lock(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([locked("first", "k")])
        hand = Hand(broker)
        first = hand.claim_one()
        joins = begun(broker, node(3, needs=1), member(2, 3, needs=1), node(1, 2))
        [one] = hand.claim()
        hand.done(one)
        assert states(joins) == {1: DONE, 2: READY, 3: NodeState.BLOCKED}
        assert hand.claim() == [], "its lock is held by another"
        hand.done(first)
        [two] = hand.claim()
        assert numbers([two]) == [2]
        broker.give_back(hand.name, [two.receipt])
        [two] = hand.claim()
        [three] = hand.exchange([Settle(two.receipt, Done())], ["q"], 9).deliveries
        hand.done(three)
        assert stand(joins).state is FlowState.SUCCESS
        joins.forget_flow("f")
        nothing_left(harness, broker)

    @needs(Joins, Limits)
    @pytest.mark.parametrize("after", [0, 20])
    def test_a_member_that_skips_is_an_arrival(self, harness: Harness, after: int) -> None:
        broker = harness.broker()
        tracked = TRACKED if has(harness, Remembers) else 0
        broker.enqueue([locked("first", "k")])
        hand = Hand(broker)
        first = hand.claim_one()
        joins = begun(broker, node(4, needs=2), member(3, 4, needs=1, flags=SKIPS | tracked, after=after), node(2, 4), node(1, 3))
        one, two = sorted(hand.claim(), key=lambda d: d.envelope.id)
        hand.done(one)
        if after:
            harness.advance(21)
            maintain_all(broker)
        assert states(joins) == {1: DONE, 2: READY, 3: DROPPED, 4: ABANDONED}
        assert nodes_of(joins)[3].reason == "locked"
        if tracked:
            record = require(broker, Remembers).record("f.3")
            assert record is not None and (record.state, record.reason) == (State.REVOKED, "locked")
        hand.done(two, first)
        maintain_all(broker)
        assert stand(joins).state is FlowState.FAILURE
        again = joins.retry_flow("f")
        assert again.found and again.retried == 1
        [three] = hand.claim()
        [four] = hand.exchange([Settle(three.receipt, Done())], ["q"], 9).deliveries
        hand.done(four)
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins, Limits)
    def test_a_retry_is_no_newcomer(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, member(1, flags=SKIPS))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Retry(0))
        broker.enqueue([locked("other", "k")])
        maintain_all(broker)
        ran = []
        for _ in range(4):
            for delivery in hand.claim():
                ran.append(delivery.envelope.id)
                hand.done(delivery)
        assert sorted(ran) == ["f.1", "other"]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins, Limits, Inspects)
    def test_what_is_cancelled_or_purged_in_a_lane_is_an_arrival(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([locked("first", "k", queue="other")])
        hand = Hand(broker)
        [first] = hand.exchange([], ["other"], 1).deliveries
        joins = begun(broker, node(3, needs=2), member(2, 3), member(1, 3))
        assert hand.claim() == []
        require(broker, Inspects).cancel("f.1")
        assert states(joins) == {1: DROPPED, 2: READY, 3: ABANDONED}
        assert broker.purge("q") == 1
        assert states(joins)[2] is DROPPED
        maintain_all(broker)
        assert stand(joins).state is FlowState.FAILURE
        hand.done(first)
        assert hand.claim() == []
