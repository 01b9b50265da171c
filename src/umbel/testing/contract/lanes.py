"""What the facet ``Limits`` promises of lanes: who gets a place, whose turn it is, and what of it can be seen."""

from __future__ import annotations

from typing import Any

import pytest

from ...broker import Blame, Broker, Settle
from ...envelope import LOST_DEAD, TRACKED, Envelope, Extra
from ...facets import Cancelled, Inspects, Limits, Place, Remembers, require
from ...lane import LOCK, Mark, Rule
from ...outcome import Dead, Done, Dropped, Outcome, Released, Retry
from .harness import Hand, Harness, counts, envelope, has, ids, maintain_all, needs, stats_of

HOUR = 3_600_000


def few(concurrency: int) -> Rule:
    """So many in hands at a time."""
    return Rule(concurrency=concurrency)


def limited(id: str | None = None, lane: str = "task:a", rule: Rule | None = None, *, group: Mark | None = None, **fields: Any) -> Envelope:
    """A message of a lane; one at a time if nothing else is said."""
    extras = {int(Extra.LANE): Mark(lane, lane, rule or few(1)).pack(), **fields.pop("extras", {})}
    if group is not None:
        extras[int(Extra.GROUP)] = group.pack()
    return envelope(id, extras=extras, **fields)


def locked(id: str | None = None, key: str = "k", **fields: Any) -> Envelope:
    """A message with a lock."""
    return envelope(id, extras={int(Extra.LANE): Mark(f"lock:{key}", LOCK, few(1)).pack(), **fields.pop("extras", {})}, **fields)


def nothing_left(harness: Harness, broker: Broker) -> None:
    """All has ended: the store keeps nothing of it."""
    maintain_all(broker)
    assert list(harness.remains()) == []


class TestPlaces:
    """The concurrency of a limit is the set of deliveries that stand on it."""

    @needs(Limits)
    def test_no_more_than_there_are_places(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(id, rule=few(2)) for id in "abcde"])
        hand, other = Hand(broker), Hand(broker, "w1.b")
        first = hand.claim(9)
        assert ids(first) == ["a", "b"]
        assert other.ids(9) == [] and counts(broker) == (3, 0, 2, 0)
        hand.done(first[0])
        assert other.ids(9) == ["c"]

    @needs(Limits)
    def test_the_place_is_free_in_the_very_exchange_that_settles(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(id) for id in "ab"])
        hand = Hand(broker)
        a = hand.claim_one()
        assert ids(hand.exchange([Settle(a.receipt, Done())], ["q"], 5).deliveries) == ["b"]

    @needs(Limits)
    @pytest.mark.parametrize(
        "outcome",
        [
            Done(),
            Dead("failed"),
            Dropped("discarded"),
            Retry(HOUR),
            Released(HOUR, "snoozed"),
            Released(0),
            Released(0, "unbegun"),
            Retry(0),
        ],
        ids=repr,
    )
    def test_every_outcome_gives_it_back(self, harness: Harness, outcome: Outcome) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a"), limited("b")])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), outcome)
        [next_one] = hand.claim(9)
        assert next_one.envelope.id == ("a" if isinstance(outcome, Released) and not outcome.after else "b")

    @needs(Limits)
    @pytest.mark.parametrize("way", ["give_back", "retire", "retire_blamed", "retire_unknown", "leave", "rescue"])
    def test_so_does_every_other_way_out_of_a_hand(self, harness: Harness, way: str) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a", crash_limit=0, loss_limit=0), limited("b")])
        hand = Hand(broker, "w2.a", "w2")
        a = hand.claim_one()
        if way == "give_back":
            broker.give_back("w2.a", [a.receipt])
        elif way == "leave":
            broker.leave("w2")
        elif way == "rescue":
            harness.lapse(broker, "w2")
            broker.maintain(rescue=True)
        else:
            blamed = {"retire": [], "retire_blamed": [Blame(a.receipt)], "retire_unknown": None}
            broker.retire("w2.a", blamed[way])
        other = Hand(broker)
        assert other.ids(9) == ["a"], "in front of its lane"

    @needs(Limits)
    def test_cancelled_in_hand_and_given_back(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return  # nobody can cancel
        broker = harness.broker()
        flags = TRACKED if has(harness, Remembers) else 0
        broker.enqueue([limited("a", flags=flags), limited("b", flags=flags)])
        hand = Hand(broker)
        a = hand.claim_one()
        assert require(broker, Inspects).cancel("a") == Cancelled.RUNNING
        broker.give_back(hand.name, [a.receipt])
        assert hand.ids(9) == ["b"]

    @needs(Limits)
    def test_buried_by_its_holders_death(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a", flags=LOST_DEAD), limited("b")])
        hand = Hand(broker)
        a = hand.claim_one()
        broker.retire(hand.name, [Blame(a.receipt)])
        assert Hand(broker, "w1.b").ids(9) == ["b"]

    @needs(Limits)
    def test_a_late_settle_gives_nothing_back(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(id) for id in "abc"])
        hand, other = Hand(broker), Hand(broker, "w1.b")
        a = hand.claim_one()
        broker.give_back(hand.name, [a.receipt])
        assert other.ids(9) == ["a"]
        hand.done(a)
        assert hand.ids(9) == [], "the place is another delivery's"

    @needs(Limits)
    def test_a_repeated_exchange_takes_no_second_place(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(id, rule=few(2)) for id in "abc"])
        hand = Hand(broker)
        [a] = hand.claim(1)
        assert ids(hand.repeat([], ["q"], 1).deliveries) == ["a"]
        assert Hand(broker, "w1.b").ids(9) == ["b"]
        hand.done(a)
        hand.repeat([Settle(a.receipt, Done())], [], 0)
        assert hand.ids(9) == ["c"]

    @needs(Limits)
    def test_a_limit_has_one_state_whatever_the_queue_and_the_priority(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a"), limited("b", queue="r"), limited("c", priority=9)])
        hand, other = Hand(broker), Hand(broker, "w1.b")
        [first] = hand.claim(9, "r")
        assert first.envelope.id == "b" and other.ids(9, "q", "r") == []
        hand.done(first)
        assert other.ids(9, "q", "r") == ["c"], "the highest priority first, as ever"

    @needs(Limits)
    def test_a_group_is_over_all_its_lanes(self, harness: Harness) -> None:
        broker = harness.broker()
        group = Mark("task:a", "task:a", few(2))
        broker.enqueue([limited(id, f"lock:{id[0]}", group=group) for id in ("x1", "x2", "y1", "z1")])
        hand = Hand(broker)
        first = hand.claim(9)
        assert sorted(ids(first)) == ["x1", "y1"], "x2 waits for x1, z1 for the group"
        hand.done(first[1])
        assert hand.ids(9) == ["z1"]

    @needs(Limits)
    def test_nothing_is_left_over(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        for round in range(5):
            broker.enqueue([locked(f"{round}.{i}", f"k{i}") for i in range(100)])
            hand.done(*hand.claim(60))
            broker.enqueue([locked(f"{round}.later", "later", after=1)])
            broker.purge("q")
        assert counts(broker) == (0, 0, 0, 0)
        nothing_left(harness, broker)


class TestLanes:
    """Messages in lanes are waiting messages as others are."""

    @needs(Limits)
    def test_counted_browsed_found_and_cancelled(self, harness: Harness) -> None:
        broker = harness.broker()
        flags = TRACKED if has(harness, Remembers) else 0
        now = broker.ping()
        broker.enqueue([limited(id, flags=flags, enqueued=now - 5_000) for id in "ab"])
        assert counts(broker) == (2, 0, 0, 0) and (stats_of(broker).oldest or 0) >= 5_000
        if not has(harness, Inspects):
            return
        inspects = require(broker, Inspects)
        assert [m.envelope.id for m in inspects.browse("q", Place.READY).messages] == ["a", "b"]
        found = inspects.find("b")
        if flags:
            assert found is not None and found.place == Place.READY
            assert inspects.cancel("a") == Cancelled.WAITING
            assert counts(broker) == (1, 0, 0, 0)
            assert Hand(broker).ids(9) == ["b"]

    @needs(Limits)
    def test_browsed_by_pages(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        sent = [*(limited(f"a{i}", "task:a") for i in range(5)), *(limited(f"b{i}", "task:b", priority=7) for i in range(5)), envelope("p")]
        broker.enqueue(sent)
        seen, cursor = list[str](), None
        for _ in range(20):
            page = require(broker, Inspects).browse("q", Place.READY, 3, cursor)
            seen += [m.envelope.id for m in page.messages]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == sorted(ids(sent))
        assert [id for id in seen if id[0] == "a"] == [f"a{i}" for i in range(5)]

    @needs(Limits)
    def test_expired_in_a_lane(self, harness: Harness) -> None:
        broker = harness.broker()
        now = broker.ping()
        broker.enqueue([limited("a", expires=now + 30), limited("b", expires=now + 30), limited("c")])
        hand = Hand(broker)
        held = hand.claim_one()
        harness.advance(40)
        if held.envelope.id == "a":
            assert [r.reason for r in broker.maintain().expired] == ["expired"]
        hand.done(held)
        assert hand.ids(9) == ["c"]

    @needs(Limits)
    def test_purged(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a"), limited("b"), limited("c", after=HOUR), limited("other", "task:b", queue="r")])
        hand = Hand(broker)
        a = hand.claim_one()
        assert broker.purge("q") == 2
        hand.done(a)
        assert hand.ids(9, "q", "r") == ["other"]
        assert counts(broker) == (0, 0, 0, 0)

    @needs(Limits)
    def test_a_paused_queue_gives_nothing_and_keeps_no_place(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        broker.enqueue([locked("a"), locked("b", queue="r")])
        require(broker, Inspects).pause_queue("q")
        assert Hand(broker).ids(9, "q", "r") == ["b"]

    @needs(Limits)
    def test_due_at_last_it_joins_its_lane(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a"), limited("b")])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Retry(5))
        harness.advance(20)
        broker.maintain()
        [b] = hand.claim(9)
        assert b.envelope.id == "b"
        hand.done(b)
        [a] = hand.claim(9)
        assert (a.envelope.id, a.envelope.attempt) == ("a", 2)

    @needs(Limits)
    def test_what_a_settle_brings_along(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited("a")])
        hand = Hand(broker)
        a = hand.claim_one()
        answer = hand.exchange([Settle(a.receipt, Done(), (limited("b"), limited("c")))], ["q"], 9)
        assert ids(answer.deliveries) == ["b"] and counts(broker) == (1, 0, 1, 0)

    @needs(Limits)
    def test_redriven_into_its_lane(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        broker.enqueue([limited("a"), limited("b")])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Dead("failed"))
        assert require(broker, Inspects).redrive() == 1
        assert hand.ids(9) == ["b"] and hand.ids(9) == []

    @needs(Limits)
    @pytest.mark.parametrize("name", ["a\0b", "{x}:y", "é" * 100, "a,b\n", "l:5:q:x", "%s%z", "\x1f"], ids=ascii)
    def test_hostile_names(self, harness: Harness, name: str) -> None:
        broker = harness.broker()
        mark = Mark(name, "key:t", few(1))
        extras = {int(Extra.LANE): mark.pack(), int(Extra.GROUP): Mark("task:" + name, "task:t", few(5)).pack()}
        broker.enqueue([envelope("a", extras=extras), envelope("b", extras=extras)])
        hand = Hand(broker)
        assert [s.limit for s in require(broker, Limits).lanes().lanes] == [name]
        [a] = hand.claim(9)
        assert a.envelope.extras == extras
        hand.done(a)
        assert hand.ids(9) == ["b"]

    @needs(Limits, name="live_harness")
    def test_room_wakes_who_waits(self, live_harness: Harness) -> None:
        from .harness import in_thread

        broker = live_harness.broker()
        broker.enqueue([limited("a"), limited("b")])
        hand = Hand(broker)
        a = hand.claim_one()
        assert not broker.wait(["q"], 0.01), "its lane is full"
        join = in_thread(live_harness, lambda other: other.wait(["q"], 5.0))
        hand.done(a)
        assert join()
