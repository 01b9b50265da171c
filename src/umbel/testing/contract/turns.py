"""Whose message is next, where messages stand in lanes."""

from __future__ import annotations

import pytest

from ...envelope import LOST_DEAD
from ...facets import Limits
from .harness import Hand, Harness, envelope, ids, needs
from .lanes import few, limited


class TestTurns:
    """Whose message is next."""

    @needs(Limits)
    def test_a_full_lane_keeps_nobody_waiting(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a", priority=9), limited("b", priority=9), envelope("plain"), limited("c", "task:c", priority=1)])
        assert Hand(broker).ids(9) == ["a", "plain", "c"]

    @needs(Limits)
    def test_the_lane_that_waited_longest_gives_one_then_the_next(self, harness: Harness) -> None:
        broker = harness.broker()
        wide = few(100)
        broker.enqueue([limited(f"a{i}", "task:a", wide) for i in range(5)])
        broker.enqueue([limited(f"b{i}", "task:b", wide) for i in range(3)])
        broker.enqueue([limited("c0", "task:c", wide)])
        hand = Hand(broker)
        assert hand.ids(2) == ["a0", "b0"]
        broker.enqueue([limited("d0", "task:d", wide)])
        assert hand.ids(9) == ["c0", "a1", "b1", "d0", "a2", "b2", "a3", "a4"]

    @needs(Limits)
    def test_a_long_lane_keeps_a_short_one_no_longer_than_a_round(self, harness: Harness) -> None:
        broker = harness.broker()
        wide = few(10_000)
        broker.enqueue([limited(lane="task:long", rule=wide) for _ in range(900)])
        hand = Hand(broker)
        hand.done(*hand.claim(100))
        broker.enqueue([limited("short", "task:short", wide)])
        assert "short" in hand.ids(2)

    @needs(Limits)
    @pytest.mark.parametrize(("limit", "lanes"), [(2, 1), (3, 2), (10, 5), (11, 6)])
    def test_plain_ones_and_lanes_give_half_each(self, harness: Harness, limit: int, lanes: int) -> None:
        broker = harness.broker()
        for _ in range(20):
            broker.enqueue([envelope(), limited(rule=few(100))])
        got = Hand(broker).claim(limit)
        assert len(got) == limit
        assert sum(d.envelope.extras is not None for d in got) == lanes

    @needs(Limits)
    def test_no_more_than_asked_for(self, harness: Harness) -> None:
        """Where a list of a higher priority ends with the last one that may be given."""
        broker = harness.broker()
        broker.enqueue([envelope("first", priority=9), envelope("plain"), limited("lane")])
        hand = Hand(broker)
        assert hand.ids(1) == ["first"]
        assert sorted(hand.ids(9)) == ["lane", "plain"]

    @needs(Limits)
    def test_of_one_at_a_time_every_other(self, harness: Harness) -> None:
        broker = harness.broker()
        for _ in range(4):
            broker.enqueue([envelope(), limited(rule=few(100))])
        hand = Hand(broker)
        assert [hand.claim_one().envelope.extras is not None for _ in range(4)] == [True, False, True, False]
        hand.exchange()
        assert [hand.claim_one().envelope.extras is not None for _ in range(4)] == [False, True, False, True]

    @needs(Limits)
    def test_what_one_side_cannot_give_the_other_does(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([*(envelope() for _ in range(9)), *(limited(rule=few(1)) for _ in range(9))])
        hand = Hand(broker)
        got = hand.claim(8)
        assert len(got) == 8 and sum(d.envelope.extras is not None for d in got) == 1
        assert len(hand.claim(8)) == 2 and hand.claim(8) == [], "the lane is full"

    @needs(Limits)
    def test_handed_alone_out_of_a_lane(self, harness: Harness) -> None:
        broker = harness.broker()
        wide = few(9)
        broker.enqueue([limited("a", rule=wide), limited("alone", rule=wide, flags=LOST_DEAD), limited("b", rule=wide)])
        hand = Hand(broker)
        a = hand.claim(9)
        assert ids(a) == ["a"] and hand.claim(9) == []
        hand.done(*a)
        alone = hand.claim(9)
        assert ids(alone) == ["alone"]
        hand.done(*alone)
        assert hand.ids(9) == ["b"]

    @needs(Limits)
    def test_handed_alone_comes_before_the_other_side(self, harness: Harness) -> None:
        """Else it would never be the only one while both have something."""
        broker = harness.broker()
        broker.enqueue([envelope("plain", flags=LOST_DEAD), *(limited(rule=few(9)) for _ in range(9))])
        hand = Hand(broker)
        assert hand.ids(9) == ["plain"]

    @needs(Limits)
    def test_handed_alone_at_a_full_lane_ends_no_claim(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a"), limited("alone", flags=LOST_DEAD), envelope("plain1"), envelope("plain2")])
        hand = Hand(broker)
        assert sorted(hand.ids(2)) == ["a", "plain1"] and hand.ids(9) == ["plain2"]

    @needs(Limits)
    def test_several_given_back_keep_their_order(self, harness: Harness) -> None:
        broker = harness.broker()
        wide = few(9)
        broker.enqueue([limited(f"{lane}{i}", f"task:{lane}", wide) for i in range(3) for lane in "ab"])
        hand = Hand(broker)
        got = hand.claim(4)
        broker.give_back(hand.name, [d.receipt for d in got])
        again = hand.ids(9)
        assert [id for id in again if id[0] == "a"] == ["a0", "a1", "a2"]
        assert [id for id in again if id[0] == "b"] == ["b0", "b1", "b2"]
