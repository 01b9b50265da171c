"""What the facet ``Remembers`` promises: a record through a whole life."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ...broker import Blame, Settle
from ...envelope import EXPLICIT, TRACKED, Envelope, Extra
from ...facets import Inspects, Record, Remembers, State, require
from ...outcome import Dead, Done, Dropped, Outcome, Released, Retry
from .harness import Hand, Harness, crash, envelope, in_thread, maintain_all, needs, nowhere, timed
from .waiting import PROMPT, SETTLE_IN


def tracked(id: str = "a", **fields: Any) -> Envelope:
    return envelope(id, flags=TRACKED | fields.pop("flags", 0), **fields)


def record(hand: Hand, id: str = "a") -> Record:
    found = require(hand.broker, Remembers).record(id)
    assert found is not None, f"there is no record of {id}"
    return found


def state(hand: Hand, id: str = "a") -> State:
    return record(hand, id).state


class TestRecords:
    @needs(Remembers)
    def test_only_what_is_tracked(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("plain")])
        assert require(broker, Remembers).record("plain") is None
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Done(b"result"))
        assert require(broker, Remembers).record("plain") is None

    @needs(Remembers)
    def test_from_pending_by_retry_to_success(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked(enqueued=123_456)])
        first = record(hand)
        assert (first.state, first.queue, first.attempt, first.enqueued) == (State.PENDING, "q", 1, 123_456)
        assert (first.started, first.finished, first.result, first.state.final) == (0, 0, None, False)
        held = hand.claim_one()
        started = record(hand)
        assert started.state == State.STARTED and 0 < started.started <= hand.broker.ping()
        hand.settle(held, Retry(10, b"error one"))
        retry = record(hand)
        assert (retry.state, retry.error, retry.finished) == (State.RETRY, b"error one", 0)
        harness.advance(20)
        held = hand.claim_one()
        assert (record(hand).state, record(hand).attempt) == (State.STARTED, 2)
        hand.settle(held, Done(b"\x00result"))
        end = record(hand)
        assert (end.state, end.result, end.attempt, end.state.final) == (State.SUCCESS, b"\x00result", 2, True)
        assert started.started <= end.finished <= hand.broker.ping()

    @needs(Remembers)
    def test_scheduled(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked(after=600_000)])
        assert state(hand) == State.SCHEDULED

    @needs(Remembers)
    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (Done(), (State.SUCCESS, "", b"")),
            (Dead("time_limit", b"trace"), (State.FAILURE, "time_limit", b"trace")),
            (Dropped("discarded", b"why"), (State.REVOKED, "discarded", b"why")),
            (Dropped("expired"), (State.EXPIRED, "expired", b"")),
        ],
        ids=repr,
    )
    def test_ends(self, harness: Harness, outcome: Outcome, expected: tuple[State, str, bytes]) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked()])
        hand.settle(hand.claim_one(), outcome)
        end = record(hand)
        assert (end.state, end.reason, end.error) == expected
        assert end.finished > 0

    @needs(Remembers)
    def test_expired_before_it_began(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked(expires=hand.broker.ping() + 5)])
        harness.advance(10)
        assert hand.claim() == []
        assert state(hand) == State.EXPIRED

    @needs(Remembers)
    def test_purged(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked(), tracked("later", after=600_000)])
        hand.broker.purge("q")
        assert (state(hand), state(hand, "later")) == (State.REVOKED, State.REVOKED)

    @needs(Remembers)
    @pytest.mark.parametrize("end", ["give_back", "release", "retire", "crash", "leave", "rescue"])
    def test_pending_again_when_it_comes_back(self, harness: Harness, end: str) -> None:
        hand = Hand(harness.broker())
        broker = hand.broker
        broker.enqueue([tracked()])
        held = hand.claim_one()
        assert state(hand) == State.STARTED
        if end == "give_back":
            broker.give_back(hand.name, [held.receipt])
        elif end == "release":
            hand.settle(held, Released())
        elif end == "retire":
            broker.retire(hand.name)
        elif end == "crash":
            broker.retire(hand.name, crash(held))
        elif end == "leave":
            broker.leave(hand.worker)
        else:
            harness.lapse(broker, hand.worker)
            broker.maintain(rescue=True)
        assert state(hand) == State.PENDING

    @needs(Remembers)
    def test_failure_when_its_holder_is_its_last(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([tracked("poison", crash_limit=1), tracked("limit"), tracked("lost", loss_limit=1)])
        for i, id in enumerate(("poison", "limit", "lost")):
            hand = Hand(broker, f"w{i}.a", f"w{i}")
            held = hand.claim_one()
            assert held.envelope.id == id
            if id == "poison":
                broker.retire(hand.name, crash(held))
            elif id == "limit":
                broker.retire(hand.name, Blame(held.receipt, Dead("time_limit", b"too long")))
            else:
                harness.lapse(broker, hand.worker)
                broker.maintain(rescue=True)
        hand = Hand(broker, "last.a", "last")
        records = [record(hand, id) for id in ("poison", "limit", "lost")]
        assert [(r.state, r.reason) for r in records] == [(State.FAILURE, r) for r in ("poison", "time_limit", "worker_lost")]

    @needs(Remembers)
    def test_a_superseded_settle_writes_nothing(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked()])
        held = hand.claim_one()
        hand.broker.give_back(hand.name, [held.receipt])
        hand.settle(held, Done(b"late"))
        assert (state(hand), record(hand).result) == (State.PENDING, None)

    @needs(Remembers)
    def test_a_duplicate_leaves_the_first_ones_alone(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked(flags=EXPLICIT)])
        hand.settle(hand.claim_one(), Done(b"result"))
        hand.broker.enqueue([tracked(flags=EXPLICIT)])
        assert record(hand).result == b"result"

    @needs(Remembers)
    def test_then_begins_records_too(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked()])
        held = hand.claim_one()
        hand.exchange([Settle(held.receipt, Done(), (tracked("b"), tracked("c", after=600_000)))])
        assert (state(hand), state(hand, "b"), state(hand, "c")) == (State.SUCCESS, State.PENDING, State.SCHEDULED)

    @needs(Remembers, Inspects)
    def test_a_redriven_one_is_pending_and_ends_anew(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked(attempt=3)])
        hand.settle(hand.claim_one(), Dead("failed", b"error"))
        assert require(hand.broker, Inspects).redrive(["a"]) == 1
        again = record(hand)
        assert (again.state, again.attempt, again.finished) == (State.PENDING, 1, 0)
        hand.settle(hand.claim_one(), Done(b"at last"))
        assert (state(hand), record(hand).result) == (State.SUCCESS, b"at last")


class TestKeeping:
    def finished(self, harness: Harness, **fields: Any) -> Hand:
        hand = Hand(harness.broker(record_ttl=0.5))
        hand.broker.enqueue([tracked(**fields)])
        hand.settle(hand.claim_one(), Done(b"result"))
        return hand

    @needs(Remembers)
    def test_for_record_ttl_from_the_end(self, harness: Harness) -> None:
        hand = Hand(harness.broker(record_ttl=0.3))
        hand.broker.enqueue([tracked()])
        harness.advance(400)
        assert state(hand) == State.PENDING, "it is not over yet"
        hand.settle(hand.claim_one(), Done())
        harness.advance(400)
        maintain_all(hand.broker)
        assert require(hand.broker, Remembers).record("a") is None

    @needs(Remembers)
    def test_a_message_may_have_a_time_of_its_own(self, harness: Harness) -> None:
        hand = self.finished(harness, extras={Extra.RECORD_TTL: b"60"})
        harness.advance(600)
        maintain_all(hand.broker)
        assert state(hand) == State.SUCCESS

    @needs(Remembers)
    def test_forget_takes_final_ones_only(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        remembers = require(hand.broker, Remembers)
        hand.broker.enqueue([tracked()])
        assert not remembers.forget("a")
        assert not remembers.forget("nowhere")
        hand.settle(hand.claim_one(), Done())
        assert remembers.forget("a")
        assert remembers.record("a") is None
        assert not remembers.forget("a")


class TestReport:
    @needs(Remembers)
    def test_only_while_it_is_held(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        remembers = require(hand.broker, Remembers)
        hand.broker.enqueue([tracked()])
        held = hand.claim_one()
        assert remembers.report(held.receipt, "a", b"half")
        assert record(hand).progress == b"half"
        assert not remembers.report(nowhere(hand.name), "a", b"wrong")
        hand.broker.give_back(hand.name, [held.receipt])
        assert not remembers.report(held.receipt, "a", b"late")
        assert record(hand).progress == b"half"


class TestAwaitRecord:
    @needs(Remembers, name="live_harness")
    def test_a_final_one_is_not_waited_for(self, live_harness: Harness) -> None:
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        hand.settle(hand.claim_one(), Done(b"result"))
        found, took = timed(lambda: require(hand.broker, Remembers).await_record("a", 5))
        assert found == record(hand) and took < PROMPT

    @needs(Remembers, name="live_harness")
    def test_woken_by_the_end(self, live_harness: Harness) -> None:
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        held = hand.claim_one()
        join = in_thread(live_harness, lambda broker: timed(lambda: require(broker, Remembers).await_record("a", 10)))
        time.sleep(SETTLE_IN)
        hand.settle(held, Done(b"result"))
        found, took = join()
        assert found is not None and (found.state, found.result) == (State.SUCCESS, b"result")
        assert took < PROMPT

    @needs(Remembers, name="live_harness")
    def test_after_its_time_the_record_as_it_is(self, live_harness: Harness) -> None:
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        found, took = timed(lambda: require(hand.broker, Remembers).await_record("a", 0.2))
        assert found is not None and found.state == State.PENDING
        assert took >= 0.19
        assert require(hand.broker, Remembers).await_record("nowhere", 0.1) is None
