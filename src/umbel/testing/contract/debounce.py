"""Debounce and throttle: of many calls, the last, or the first of a span."""

from __future__ import annotations

from typing import Any

import pytest

from ...broker import Settle
from ...envelope import EXPLICIT, TRACKED, Envelope, Extra
from ...facets import Cancelled, Inspects, Limits, Place, Remembers, State, require
from ...lane import Debounce, Throttle
from ...outcome import Dead, Done, Retry
from .harness import Hand, Harness, counts, envelope, has, needs
from .lanes import limited, nothing_left


def bounced(id: str, key: str = "k", span: int = 600_000, most: int = 6_000_000, **fields: Any) -> Envelope:
    return envelope(id, extras={int(Extra.DEBOUNCE): Debounce(key, span, most).pack()}, **fields)


def throttled(id: str, key: str = "k", span: int = 600_000, **fields: Any) -> Envelope:
    return envelope(id, extras={int(Extra.THROTTLE): Throttle(key, span).pack()}, **fields)


class TestDebounce:
    @needs(Limits)
    def test_the_first_waits_and_later_ones_stand_behind_it(self, harness: Harness) -> None:
        broker = harness.broker()
        answers = [broker.enqueue([bounced(id)])[0] for id in "abc"] + broker.enqueue([bounced("x", "other")])
        assert [r.duplicate_of for r in answers] == [None, "a", "a", None]
        assert counts(broker) == (0, 2, 0, 0)
        assert Hand(broker).claim(9) == []

    @needs(Limits)
    def test_it_runs_with_the_last_ones_body(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([bounced(id, span=20, most=200, body=b"of " + id.encode(), enqueued=7) for id in "abc"])
        harness.advance(30)
        hand = Hand(broker)
        [got] = hand.claim(9)
        assert (got.envelope.id, got.envelope.body, got.envelope.attempt) == ("a", b"of c", 1)
        hand.done(got)
        nothing_left(harness, broker)

    @needs(Limits)
    def test_each_call_puts_it_off(self, harness: Harness) -> None:
        if harness.clock is None:
            return  # exact only on a clock that is moved by hand
        broker = harness.broker()
        hand = Hand(broker)
        broker.enqueue([bounced("a", span=100, most=1000)])
        for _ in range(5):
            harness.clock.advance(90)
            broker.enqueue([bounced("b", span=100, most=1000)])
            assert hand.claim(9) == []
        answer = hand.exchange((), ["q"], 9)
        assert answer.next_due == 100
        harness.clock.advance(100)
        assert hand.ids(9) == ["a"]

    @needs(Limits)
    def test_but_not_for_ever(self, harness: Harness) -> None:
        if harness.clock is None:
            return  # exact only on a clock that is moved by hand
        broker = harness.broker()
        hand, ran = Hand(broker), list[int]()
        for ms in range(0, 3000, 20):
            broker.enqueue([bounced(f"m{ms}", span=100, most=1000, body=b"%d" % ms)])
            ran += [int(d.envelope.body) for d in hand.claim(9)]
            harness.clock.advance(20)
        assert ran == [1000, 2020], "what was called at 1000 ms came before it was handed out"

    @needs(Limits)
    def test_free_when_it_is_handed_out(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([bounced("a", span=5, most=50)])
        harness.advance(20)
        hand = Hand(broker)
        [a] = hand.claim(9)
        assert [r.duplicate_of for r in broker.enqueue([bounced("b"), bounced("c")])] == [None, "b"]
        hand.settle(a, Retry(0))
        assert [r.duplicate_of for r in broker.enqueue([bounced("d")])] == ["b"]
        [again] = hand.claim(9)
        assert (again.envelope.id, again.envelope.attempt) == ("a", 2)
        hand.done(again)
        assert [r.duplicate_of for r in broker.enqueue([bounced("e")])] == ["b"], "its end frees nothing that is b's"

    @needs(Limits)
    def test_ready_and_not_yet_handed_out(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([bounced("a", span=5, most=50), envelope("first")])
        harness.advance(20)
        broker.maintain()
        assert counts(broker) == (2, 0, 0, 0)
        assert [r.duplicate_of for r in broker.enqueue([bounced("b", body=b"last")])] == ["a"]
        assert counts(broker) == (2, 0, 0, 0), "it stays ready"
        got = {d.envelope.id: d.envelope.body for d in Hand(broker).claim(9)}
        assert got["a"] == b"last"

    @needs(Limits)
    def test_in_a_lane(self, harness: Harness) -> None:
        broker = harness.broker()
        mark = {int(Extra.DEBOUNCE): Debounce("k", 5, 50).pack()}
        broker.enqueue([limited("a", extras=mark), limited("other")])
        harness.advance(20)
        hand = Hand(broker)
        [other] = hand.claim(1)
        broker.enqueue([limited("b", extras=mark, body=b"last")])
        assert counts(broker) == (1, 0, 1, 0)
        hand.done(other)
        [a] = hand.claim(9)
        assert (a.envelope.id, a.envelope.body) == ("a", b"last")

    @needs(Limits)
    def test_its_expiry_is_the_last_ones(self, harness: Harness) -> None:
        broker = harness.broker()
        now = broker.ping()
        broker.enqueue([bounced("a", span=20, most=200, expires=now + 10), bounced("b", span=20, most=200, expires=now + 600_000)])
        harness.advance(40)
        assert Hand(broker).ids(9) == ["a"]

    @needs(Limits)
    @pytest.mark.parametrize("way", ["purge", "cancel", "expire"])
    def test_free_after_every_end(self, harness: Harness, way: str) -> None:
        broker = harness.broker()
        broker.enqueue([bounced("a", span=20, most=200, expires=broker.ping() + 10 if way == "expire" else 0)])
        if way == "purge":
            assert broker.purge("q") == 1
        elif way == "expire":
            harness.advance(40)
            broker.maintain()
        elif has(harness, Inspects):
            assert require(broker, Inspects).cancel("a") == Cancelled.WAITING
        else:
            return
        nothing_left(harness, broker)
        assert [r.duplicate_of for r in broker.enqueue([bounced("b")])] == [None]

    @needs(Limits)
    def test_what_is_seen_of_it(self, harness: Harness) -> None:
        broker = harness.broker()
        tracked = TRACKED if has(harness, Remembers) else 0
        now = broker.ping()
        broker.enqueue([bounced("a", flags=tracked)])
        broker.enqueue([bounced("b", flags=tracked, body=b"last")])
        if tracked:
            records = require(broker, Remembers)
            record = records.record("a")
            assert record is not None and record.state == State.SCHEDULED
            assert records.record("b") is None
        if has(harness, Inspects):
            [seen] = require(broker, Inspects).browse("q", Place.SCHEDULED).messages
            assert (seen.envelope.id, seen.envelope.body) == ("a", b"last")
            assert seen.due is not None and seen.due >= now + 600_000

    @needs(Limits)
    def test_what_a_settle_brings_along(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("x"), bounced("a", span=20, most=200)])
        hand = Hand(broker)
        x = hand.claim_one()
        hand.exchange([Settle(x.receipt, Done(), (bounced("b", span=20, most=200, body=b"last"),))])
        harness.advance(40)
        [a] = hand.claim(9)
        assert (a.envelope.id, a.envelope.body) == ("a", b"last")

    @needs(Limits)
    def test_with_an_explicit_id(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([bounced("a", flags=EXPLICIT)])
        answers = broker.enqueue([bounced("a", flags=EXPLICIT, body=b"again"), bounced("b", flags=EXPLICIT)])
        assert [r.duplicate_of for r in answers] == ["a", "a"]

    @needs(Limits)
    def test_redriven_it_stands_for_nobody(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        broker.enqueue([bounced("a", span=5, most=50)])
        harness.advance(20)
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Dead("failed"))
        assert require(broker, Inspects).redrive() == 1
        assert [r.duplicate_of for r in broker.enqueue([bounced("b")])] == [None]
        assert hand.ids(9) == ["a"]


class TestThrottle:
    @needs(Limits)
    def test_one_in_a_span_even_when_it_has_ended(self, harness: Harness) -> None:
        broker = harness.broker()
        assert [r.duplicate_of for r in broker.enqueue([throttled("a"), throttled("b"), throttled("x", "other")])] == [None, "a", None]
        hand = Hand(broker)
        hand.done(*hand.claim(9))
        assert [r.duplicate_of for r in broker.enqueue([throttled("c")])] == ["a"]
        assert counts(broker) == (0, 0, 0, 0)

    @needs(Limits)
    def test_the_span_ends(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([throttled("a", span=20)])
        harness.advance(30)
        assert [r.duplicate_of for r in broker.enqueue([throttled("b", span=20)])] == [None]
        hand = Hand(broker)
        hand.done(*hand.claim(9))
        harness.advance(30)
        nothing_left(harness, broker)
