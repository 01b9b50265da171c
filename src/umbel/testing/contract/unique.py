"""Unique keys: one message has them, and every end of it frees them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ...broker import Blame, Broker, Settle
from ...envelope import EXPLICIT, LOST_DEAD, TRACKED, Envelope, Extra
from ...facets import Cancelled, Inspects, Limits, Remembers, require
from ...outcome import Dead, Done, Dropped, Outcome, Released, Retry
from .harness import Hand, Harness, counts, envelope, has, ids, in_thread, needs
from .lanes import HOUR, nothing_left


def unique(id: str, key: str = "k", *, until_start: bool = False, **fields: Any) -> Envelope:
    until = {int(Extra.UNIQUE_UNTIL): b"start"} if until_start else {}
    return envelope(id, extras={int(Extra.UNIQUE): key.encode(), **until}, **fields)


def is_free(broker: Broker, key: str = "k") -> bool:
    """May another message have the key? Takes it."""
    [answer] = broker.enqueue([unique("probe", key, queue="probes")])
    return answer.duplicate_of is None


class TestUnique:
    @needs(Limits)
    def test_the_second_is_a_duplicate_of_the_first(self, harness: Harness) -> None:
        broker = harness.broker()
        answers = broker.enqueue([unique("a"), unique("b"), unique("c", "other"), unique("d", queue="r")])
        assert [r.duplicate_of for r in answers] == [None, "a", None, "a"]
        assert counts(broker) == (2, 0, 0, 0)
        hand = Hand(broker)
        got = hand.claim(9)
        assert ids(got) == ["a", "c"] and [r.duplicate_of for r in broker.enqueue([unique("e")])] == ["a"], "it runs"
        hand.done(*got)
        assert is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("outcome", [Done(), Done(b"1"), Dead("failed"), Dropped("discarded"), Dropped("expired")], ids=repr)
    @pytest.mark.parametrize("tracked", [True, False])
    def test_free_after_an_end(self, harness: Harness, outcome: Outcome, tracked: bool) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", flags=TRACKED if tracked and has(harness, Remembers) else 0)])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), outcome)
        assert is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("outcome", [Retry(0), Retry(HOUR), Released(0), Released(HOUR, "snoozed")], ids=repr)
    def test_kept_while_it_goes_on(self, harness: Harness, outcome: Outcome) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a")])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), outcome)
        assert not is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("deadly", [True, False])
    @pytest.mark.parametrize("way", ["retire", "retire_blamed", "retire_unknown", "leave", "rescue", "give_back"])
    def test_its_holder_goes(self, harness: Harness, way: str, deadly: bool) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", flags=LOST_DEAD if deadly else 0)])
        hand = Hand(broker, "w2.a", "w2")
        a = hand.claim_one()
        if way == "leave":
            broker.leave("w2")
        elif way == "give_back":
            broker.give_back("w2.a", [a.receipt])
        elif way == "rescue":
            harness.lapse(broker, "w2")
            broker.maintain(rescue=True)
        else:
            broker.retire("w2.a", {"retire": [], "retire_blamed": [Blame(a.receipt)], "retire_unknown": None}[way])
        buried = deadly and way in ("retire_blamed", "retire_unknown", "rescue")
        assert counts(broker)[3] == (1 if buried else 0)
        assert is_free(broker) == buried

    @needs(Limits)
    def test_by_an_outcome_that_its_supervisor_says(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a")])
        hand = Hand(broker)
        a = hand.claim_one()
        broker.retire(hand.name, [Blame(a.receipt, Dead("time_limit"))])
        assert is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("after", [0, HOUR])
    @pytest.mark.parametrize("tracked", [True, False])
    def test_cancelled_while_it_waits(self, harness: Harness, after: int, tracked: bool) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        broker.enqueue([envelope("other"), unique("a", after=after, flags=TRACKED if tracked and has(harness, Remembers) else 0)])
        assert require(broker, Inspects).cancel("a") == Cancelled.WAITING, "found, tracked or not"
        assert is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("back", ["retry", "give_back", "retire"])
    def test_cancelled_while_it_runs(self, harness: Harness, back: str) -> None:
        if not has(harness, Inspects) or not has(harness, Remembers):
            return
        broker = harness.broker()
        broker.enqueue([unique("a", flags=TRACKED)])
        hand = Hand(broker)
        a = hand.claim_one()
        require(broker, Inspects).cancel("a")
        assert not is_free(broker), "it runs still"
        if back == "retry":
            hand.settle(a, Retry(5))
        elif back == "give_back":
            broker.give_back(hand.name, [a.receipt])
        else:
            broker.retire(hand.name, [])
        assert is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("after", [0, HOUR])
    def test_purged(self, harness: Harness, after: int) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", after=after)])
        assert broker.purge("q") == 1
        assert is_free(broker)

    @needs(Limits)
    @pytest.mark.parametrize("after", [0, 40])
    @pytest.mark.parametrize("found_by", ["claim", "maintain"])
    def test_expired(self, harness: Harness, after: int, found_by: str) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", after=after, expires=broker.ping() + 20)])
        harness.advance(60)
        if found_by == "claim":
            assert Hand(broker).claim(9) == []
        else:
            broker.maintain()
        assert is_free(broker)

    @needs(Limits)
    def test_redriven_it_has_the_key_again(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        inspects = require(broker, Inspects)
        broker.enqueue([unique("a"), unique("x", "other")])
        hand = Hand(broker)
        hand.exchange([Settle(d.receipt, Dead("failed")) for d in hand.claim(2)])
        assert inspects.redrive(["a"]) == 1 and not is_free(broker)
        hand.done(*hand.claim(9))
        broker.enqueue([unique("y", "other")])
        assert inspects.redrive() == 0, "another does what it was to do"
        assert counts(broker) == (1, 0, 0, 1)
        hand.done(*hand.claim(9))
        assert inspects.redrive() == 1 and hand.ids(9) == ["x"]

    @needs(Limits)
    def test_an_explicit_id_is_looked_at_first(self, harness: Harness) -> None:
        broker = harness.broker()
        explicit = EXPLICIT
        broker.enqueue([unique("a", flags=explicit)])
        assert [r.duplicate_of for r in broker.enqueue([unique("a", flags=explicit), unique("b", flags=explicit)])] == ["a", "a"]
        hand = Hand(broker)
        hand.done(*hand.claim(9))
        assert [r.duplicate_of for r in broker.enqueue([unique("a", flags=explicit), unique("b", flags=explicit)])] == ["a", None]

    @needs(Limits)
    def test_what_a_settle_brings_along(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a")])
        hand = Hand(broker)
        a = hand.claim_one()
        hand.exchange([Settle(a.receipt, Done(), (unique("b"), unique("c")))])
        assert counts(broker) == (1, 0, 0, 0), "the key was free, and then b's"
        assert hand.ids(9) == ["b"]

    @needs(Limits)
    def test_nothing_is_left_over(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        broker.enqueue([unique(f"m{i}", f"k{i}") for i in range(900)])
        hand.done(*hand.claim(300))
        hand.exchange([Settle(d.receipt, Dead("failed")) for d in hand.claim(300)])
        broker.purge("q")
        nothing_left(harness, broker)

    @needs(Limits, name="live_harness")
    def test_exactly_one_of_many_at_once(self, live_harness: Harness) -> None:
        begin = threading.Barrier(8)

        def send(broker: Broker) -> list[str | None]:
            begin.wait(30)
            answers = [broker.enqueue([unique(f"{threading.get_ident()}.{i}", f"k{i}")])[0] for i in range(20)]
            return [answer.duplicate_of for answer in answers]

        joins = [in_thread(live_harness, send) for _ in range(8)]
        answers = [join() for join in joins]
        assert [sum(of[i] is None for of in answers) for i in range(20)] == [1] * 20
        assert counts(live_harness.broker())[0] == 20


class TestUniqueUntilStart:
    @needs(Limits)
    def test_free_when_it_is_handed_out(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", until_start=True)])
        assert [r.duplicate_of for r in broker.enqueue([unique("b", until_start=True)])] == ["a"]
        hand = Hand(broker)
        [a] = hand.claim(9)
        assert [r.duplicate_of for r in broker.enqueue([unique("c", until_start=True), unique("d", until_start=True)])] == [None, "c"]
        hand.done(a)
        assert not is_free(broker), "it is c's, and not a's to free"
        hand.done(*hand.claim(9))
        assert is_free(broker)

    @needs(Limits)
    def test_it_does_not_take_it_again(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", until_start=True)])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Retry(0))
        assert is_free(broker)

    @needs(Limits)
    def test_cancelled_and_purged_before(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([unique("a", until_start=True)])
        broker.purge("q")
        assert is_free(broker)
