"""Locks: one at a time of a key, and who skips rather than waits."""

from __future__ import annotations

import pytest

from ...broker import Settle
from ...envelope import EXPLICIT, SKIPS, TRACKED, Envelope
from ...facets import Cancelled, Inspects, Limits, Remembers, State, require
from ...outcome import Done, Retry
from .harness import Hand, Harness, counts, envelope, has, ids, needs
from .lanes import locked, nothing_left


def skipping(id: str, key: str = "k", **fields: int) -> Envelope:
    return locked(id, key, flags=fields.pop("flags", 0) | SKIPS, **fields)


class TestLocks:
    @needs(Limits)
    def test_one_of_each_key(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([locked(f"{key}{i}", key) for i in range(4) for key in "xyz"])
        hands = [Hand(broker, f"w1.{i}") for i in range(3)]
        got = [hand.claim(2) for hand in hands]
        assert sorted(d.envelope.id for some in got for d in some) == ["x0", "y0", "z0"]
        seen = list[str]()
        for _ in range(20):
            for hand, some in zip(hands, got, strict=True):
                hand.done(*some)
                some[:] = hand.claim(2)
                seen += ids(some)
                running = [d.envelope.id[0] for held in got for d in held]
                assert len(running) == len(set(running)), running
        assert sorted(seen) == sorted(f"{key}{i}" for i in range(1, 4) for key in "xyz")
        nothing_left(harness, broker)

    @needs(Limits)
    def test_ten_thousand_leave_nothing_behind(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        for begin in range(0, 10_000, 1000):
            broker.enqueue([locked(f"m{i}", f"k{i // 2}") for i in range(begin, begin + 1000)])
        got = 0
        while some := hand.claim(500):
            got += len(some)
            hand.done(*some)
        assert got == 10_000 and counts(broker) == (0, 0, 0, 0)
        nothing_left(harness, broker)


class TestSkipping:
    @needs(Limits)
    def test_the_first_enters_and_the_next_is_gone(self, harness: Harness) -> None:
        broker = harness.broker()
        tracked = TRACKED if has(harness, Remembers) else 0
        answers = broker.enqueue([skipping("a", flags=tracked), skipping("b", flags=tracked), skipping("c", "other")])
        assert [(r.id, r.duplicate_of, r.dropped) for r in answers] == [("a", None, ""), ("b", None, "locked"), ("c", None, "")]
        assert counts(broker) == (2, 0, 0, 0)
        if tracked:
            record = require(broker, Remembers).record("b")
            assert record is not None and (record.state, record.reason) == (State.REVOKED, "locked")
        hand = Hand(broker)
        hand.done(*hand.claim(9))
        nothing_left(harness, broker)

    @needs(Limits)
    def test_while_another_holds_it_wherever_that_came_from(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([locked("a", queue="r")])
        hand = Hand(broker)
        a = hand.claim(1, "r")
        assert [r.dropped for r in broker.enqueue([skipping("b")])] == ["locked"]
        hand.done(*a)
        assert [r.dropped for r in broker.enqueue([skipping("c")])] == [""]
        assert hand.ids(9) == ["c"]

    @needs(Limits)
    def test_who_was_cancelled_waits_no_more(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        tracked = TRACKED if has(harness, Remembers) else 0
        broker.enqueue([locked("a", flags=tracked), locked("b", queue="r", flags=tracked)])
        for id in "ab":
            assert [r.dropped for r in broker.enqueue([skipping("c")])] == ["locked"]
            assert require(broker, Inspects).cancel(id) == Cancelled.WAITING
        assert [r.dropped for r in broker.enqueue([skipping("d")])] == [""]
        assert Hand(broker).ids(9) == ["d"]

    @needs(Limits)
    def test_when_it_is_due(self, harness: Harness) -> None:
        broker = harness.broker()
        assert [r.dropped for r in broker.enqueue([locked("a"), skipping("b", after=5)])] == ["", ""]
        harness.advance(20)
        hand = Hand(broker)
        answer = hand.exchange((), ["q"], 9)
        assert ids(answer.deliveries) == ["a"]
        assert [(r.id, r.queue, r.reason) for r in answer.dropped] == [("b", "q", "locked")]
        broker.enqueue([skipping("c", after=5)])
        harness.advance(20)
        assert [(r.id, r.reason) for r in broker.maintain().expired] == [("c", "locked")]

    @needs(Limits)
    def test_a_retry_is_no_newcomer(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([skipping("a")])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Retry(5))
        broker.enqueue([locked("b")])
        harness.advance(20)
        [b] = hand.claim(9)
        assert b.envelope.id == "b" and counts(broker) == (1, 0, 1, 0)
        hand.done(b)
        assert hand.ids(9) == ["a"]

    @needs(Limits)
    def test_one_that_a_settle_brings_along(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([locked("a"), envelope("plain")])
        hand = Hand(broker)
        got = {d.envelope.id: d for d in hand.claim(9)}
        answer = hand.exchange([Settle(got["plain"].receipt, Done(), (skipping("b"),))])
        assert [(r.id, r.reason) for r in answer.dropped] == [("b", "locked")]

    @needs(Limits)
    @pytest.mark.parametrize("again", [True, False])
    def test_its_id_was_accepted_all_the_same(self, harness: Harness, again: bool) -> None:
        broker = harness.broker()
        broker.enqueue([locked("a")])
        assert [r.dropped for r in broker.enqueue([skipping("b", flags=EXPLICIT)])] == ["locked"]
        if again:
            assert [r.duplicate_of for r in broker.enqueue([skipping("b", flags=EXPLICIT)])] == ["b"]
