"""What the facet ``Remembers`` promises: a record through a whole life."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ...broker import Blame, Settle, Verdict
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
            broker.retire(hand.name, [crash(held)])
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
                broker.retire(hand.name, [crash(held)])
            elif id == "limit":
                broker.retire(hand.name, [Blame(held.receipt, Dead("time_limit", b"too long"))])
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


ENDS = ["done", "dead", "dropped", "cancelled", "expired", "purged", "poison", "worker_lost"]


class TestWhoWaits:
    """However it ends, and whoever waits."""

    @needs(Remembers, Inspects, name="live_harness")
    @pytest.mark.parametrize("end", ENDS)
    def test_is_woken_by_every_end(self, live_harness: Harness, end: str) -> None:
        hand = Hand(live_harness.broker())
        broker = hand.broker
        broker.enqueue([tracked(expires=broker.ping() + 400 if end == "expired" else 0, crash_limit=1, loss_limit=1)])
        held = hand.claim_one() if end not in ("cancelled", "expired", "purged") else None
        join = in_thread(live_harness, lambda other: timed(lambda: require(other, Remembers).await_record("a", 10)))
        time.sleep(SETTLE_IN)
        if end in ("done", "dead", "dropped"):
            assert held is not None
            outcomes: dict[str, Outcome] = {"done": Done(), "dead": Dead("failed"), "dropped": Dropped("discarded")}
            hand.settle(held, outcomes[end])
        elif end == "cancelled":
            require(broker, Inspects).cancel("a")
        elif end == "purged":
            broker.purge("q")
        elif end == "expired":
            live_harness.advance(400)
            assert hand.claim() == []
        elif end == "poison":
            assert held is not None
            broker.retire(hand.name, [crash(held)])
        else:
            live_harness.lapse(broker, hand.worker)
            broker.maintain(rescue=True)
        found, took = join()
        assert found is not None and found.state.final
        assert took < PROMPT

    @needs(Remembers, name="live_harness")
    def test_each_of_several(self, live_harness: Harness) -> None:
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        held = hand.claim_one()
        joins = [in_thread(live_harness, lambda broker: timed(lambda: require(broker, Remembers).await_record("a", 10))) for _ in range(4)]
        time.sleep(SETTLE_IN)
        hand.settle(held, Done(b"result"))
        for found, took in [join() for join in joins]:
            assert found is not None and found.result == b"result"
            assert took < PROMPT

    @needs(Remembers, name="live_harness")
    def test_one_who_gave_up_is_in_nobodys_way(self, live_harness: Harness) -> None:
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        held = hand.claim_one()
        for _ in range(3):
            waited = require(hand.broker, Remembers).await_record("a", 0.05)
            assert waited is not None and waited.state == State.STARTED
        join = in_thread(live_harness, lambda broker: timed(lambda: require(broker, Remembers).await_record("a", 10)))
        time.sleep(SETTLE_IN)
        hand.settle(held, Done(b"result"))
        found, took = join()
        assert found is not None and found.result == b"result" and took < PROMPT

    @needs(Remembers, name="live_harness")
    def test_one_who_began_before_the_message_was_there(self, live_harness: Harness) -> None:
        join = in_thread(live_harness, lambda broker: timed(lambda: require(broker, Remembers).await_record("a", 10)))
        time.sleep(SETTLE_IN)
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        assert hand.settle(hand.claim_one(), Done(b"result")) == Verdict.WON
        found, took = join()
        assert found is not None and found.result == b"result" and took < PROMPT

    @needs(Remembers, Inspects, name="live_harness")
    def test_the_end_of_a_redriven_one_and_not_the_old_one(self, live_harness: Harness) -> None:
        hand = Hand(live_harness.broker())
        hand.broker.enqueue([tracked()])
        for outcome in (Dead("failed"), Done(b"at last")):
            held = hand.claim_one()
            join = in_thread(live_harness, lambda broker: timed(lambda: require(broker, Remembers).await_record("a", 10)))
            time.sleep(SETTLE_IN)
            assert state(hand) == State.STARTED
            hand.settle(held, outcome)
            found, took = join()
            assert found is not None and found.state == (State.FAILURE if isinstance(outcome, Dead) else State.SUCCESS)
            assert took < PROMPT
            require(hand.broker, Inspects).redrive(["a"])

    @needs(Remembers, name="live_harness")
    def test_no_time_at_all_is_a_look(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([tracked()])
        found, took = timed(lambda: require(broker, Remembers).await_record("a", 0))
        assert found is not None and found.state == State.PENDING and took < PROMPT
        assert require(broker, Remembers).await_record("nowhere", 0) is None


class TestManyRecords:
    @needs(Remembers)
    def test_a_purge_tells_each_and_none_of_another_queue(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        broker = hand.broker
        for begin in (0, 1000):
            broker.enqueue([tracked(f"t{i}") if i % 2 else envelope(f"p{i}") for i in range(begin, begin + 1000)])
        broker.enqueue([tracked("later", after=600_000), tracked("other", queue="r")])
        assert broker.purge("q") == 2001
        assert {state(hand, id) for id in ("t1", "t999", "t1001", "t1999", "later")} == {State.REVOKED}
        assert state(hand, "other") == State.PENDING

    @needs(Remembers)
    @pytest.mark.parametrize("size", [0, 100, 262_144])
    def test_results_and_errors_of_any_size_come_back_as_they_were(self, harness: Harness, size: int) -> None:
        hand = Hand(harness.broker())
        hand.broker.enqueue([tracked("a"), tracked("b"), tracked("c")])
        a, b, c = hand.claim(3)
        hand.exchange(
            [Settle(a.receipt, Done(b"\xff" * size)), Settle(b.receipt, Dead("failed", b"\x00" * size)), Settle(c.receipt, Done())]
        )
        assert (record(hand, "a").result, record(hand, "b").error) == (b"\xff" * size, b"\x00" * size)
        assert record(hand, "c").result is None

    @needs(Remembers)
    @pytest.mark.parametrize("id", ["x" * 255, "{id}", "a:b", "\x00", "🌱", "0190B5A2-7C1E-7D30-8A44-0123456789AB", "*"], ids=ascii)
    def test_ids_are_inert(self, harness: Harness, id: str) -> None:
        hand = Hand(harness.broker())
        remembers = require(hand.broker, Remembers)
        hand.broker.enqueue([tracked(id), tracked("other")])
        held = hand.claim(2)
        assert remembers.report(held[0].receipt, id, b"half")
        hand.settle(held[0], Done(b"result"))
        assert (record(hand, id).result, record(hand, id).progress, state(hand, "other")) == (b"result", b"half", State.STARTED)
        assert remembers.forget(id) and remembers.record(id) is None
        assert remembers.record("") is None and remembers.record("x" * 256) is None
