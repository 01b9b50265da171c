"""What the facet ``Inspects`` promises. Messages are looked for by id only where they are tracked, if the broker keeps records."""

from __future__ import annotations

from typing import Any

import pytest

from ...broker import Broker, Command, Removed, Settle, Verdict
from ...envelope import TRACKED, Envelope
from ...facets import Cancelled, Inspects, Page, Place, Remembers, State, require
from ...outcome import Dead, Done, Outcome, Released, Retry
from .harness import LONG, Hand, Harness, counts, crash, envelope, has, ids, needs, several, stats_of


def known(harness: Harness, id: str, **fields: Any) -> Envelope:
    """A message that can be found by its id."""
    return envelope(id, flags=TRACKED if has(harness, Remembers) else 0, **fields)


def pages(broker: Broker, queue: str | None, place: Place, limit: int) -> list[Page]:
    inspects, found, cursor = require(broker, Inspects), list[Page](), None
    for _ in range(1000):
        found.append(inspects.browse(queue, place, limit, cursor))
        cursor = found[-1].cursor
        if cursor is None:
            return found
    raise AssertionError("after 1000 pages there is still one more")


def listed(broker: Broker, queue: str | None, place: Place, limit: int = 3) -> list[str]:
    return [m.envelope.id for page in pages(broker, queue, place, limit) for m in page.messages]


class TestBrowse:
    @needs(Inspects)
    def test_ready_ones_in_the_order_of_claiming(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope(f"{p}.{i}", priority=p) for i in range(4) for p in (1, 9, 5)] + [envelope("other", "r")])
        expected = [f"{p}.{i}" for p in (9, 5, 1) for i in range(4)]
        assert listed(broker, "q", Place.READY) == expected
        assert listed(broker, "q", Place.READY, 100) == expected
        assert sorted(listed(broker, None, Place.READY)) == sorted([*expected, "other"])
        assert Hand(broker).ids() == expected

    @needs(Inspects)
    def test_a_page_has_at_most_its_limit(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(7))
        assert [len(p.messages) for p in pages(broker, "q", Place.READY, 3) if p.messages] == [3, 3, 1]

    @needs(Inspects)
    def test_scheduled_ones_by_due_time(self, harness: Harness) -> None:
        broker = harness.broker()
        now = broker.ping()
        broker.enqueue([envelope(f"{s}", due=now + s * 100_000) for s in (5, 1, 4, 2, 3)])
        assert listed(broker, "q", Place.SCHEDULED, 2) == ["1", "2", "3", "4", "5"]
        [page] = pages(broker, "q", Place.SCHEDULED, 50)
        assert [m.due for m in page.messages] == [now + s * 100_000 for s in range(1, 6)]
        assert {m.place for m in page.messages} == {Place.SCHEDULED}

    @needs(Inspects)
    def test_leased_ones_by_holder(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(4))
        two, one = Hand(broker, "w2.a", "w2"), Hand(broker, "w1.a", "w1")
        held = {"w2.a": two.claim(2), "w1.a": one.claim(2)}
        messages = [m for p in pages(broker, "q", Place.LEASED, 3) for m in p.messages]
        assert [(m.holder, m.worker) for m in messages] == [("w1.a", "w1")] * 2 + [("w2.a", "w2")] * 2
        assert sorted(m.envelope.id for m in messages) == sorted(ids(held["w1.a"] + held["w2.a"]))

    @needs(Inspects)
    def test_dead_ones_newest_first_with_what_killed_them(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope(str(i)) for i in range(5)])
        hand = Hand(broker)
        before = broker.ping()
        for i, delivery in enumerate(hand.claim(5)):
            hand.settle(delivery, Dead(f"reason{i}", b"error %d" % i))
            harness.advance(2)
        assert listed(broker, "q", Place.DEAD, 2) == ["4", "3", "2", "1", "0"]
        newest = pages(broker, None, Place.DEAD, 1)[0].messages[0]
        assert (newest.place, newest.reason, newest.error, newest.envelope.queue) == (Place.DEAD, "reason4", b"error 4", "q")
        assert newest.died is not None and before <= newest.died <= broker.ping()

    @needs(Inspects)
    def test_an_unreadable_one_is_shown_with_an_empty_id(self, harness: Harness) -> None:
        broker = harness.broker()
        harness.plant("q", b"\x01garbage")
        assert listed(broker, "q", Place.READY) == [""]
        Hand(broker).claim()
        [letter] = pages(broker, "q", Place.DEAD, 9)[0].messages
        assert (letter.envelope.id, letter.reason) == ("", "unreadable")
        assert require(broker, Inspects).forget_dead(queue="q") == 1

    @needs(Inspects)
    @pytest.mark.parametrize("place", list(Place))
    def test_nothing_is_one_empty_page(self, harness: Harness, place: Place) -> None:
        assert require(harness.broker(), Inspects).browse(None, place) == Page([], None)


class TestFind:
    @needs(Inspects)
    def test_wherever_it_stands(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        broker.enqueue([known(harness, "dead"), known(harness, "leased"), known(harness, "ready"), known(harness, "later", after=600_000)])
        hand = Hand(broker)
        dead, _ = hand.claim(2)
        hand.settle(dead, Dead("failed"))
        found = {id: inspects.find(id) for id in ("dead", "leased", "ready", "later")}
        assert {id: m.place if m else None for id, m in found.items()} == {
            "dead": Place.DEAD,
            "leased": Place.LEASED,
            "ready": Place.READY,
            "later": Place.SCHEDULED,
        }
        assert all(m is not None and m.envelope.id == id and m.envelope.body == b"body of " + id.encode() for id, m in found.items())
        assert inspects.find("nowhere") is None
        assert inspects.find("") is None


class TestCancel:
    @needs(Inspects)
    def test_what_waits_never_runs(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        broker.enqueue([known(harness, "ready"), known(harness, "stays"), known(harness, "later", after=20)])
        assert [inspects.cancel(id) for id in ("ready", "later")] == [Cancelled.WAITING] * 2
        if has(harness, Remembers):
            records = [require(broker, Remembers).record(id) for id in ("ready", "later")]
            assert [r.state if r else None for r in records] == [State.REVOKED] * 2
        harness.advance(30)
        hand = Hand(broker)
        answer = hand.exchange((), ["q"], 9)
        assert ids(answer.deliveries) == ["stays"]
        assert all(r in (Removed("ready", "q", "cancelled"), Removed("later", "q", "cancelled")) for r in answer.dropped)
        assert counts(broker) == (0, 0, 1, 0)

    @needs(Inspects)
    def test_a_plain_one_does_as_the_answer_says(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("plain")])
        answer = require(broker, Inspects).cancel("plain")
        assert Hand(broker).ids() == {Cancelled.WAITING: [], Cancelled.UNKNOWN: ["plain"]}[answer]

    @needs(Inspects)
    def test_unknown(self, harness: Harness) -> None:
        assert require(harness.broker(), Inspects).cancel("nowhere") == Cancelled.UNKNOWN

    @needs(Inspects)
    @pytest.mark.parametrize("outcome", [Retry(0), Retry(5), Released(), Released(5)], ids=repr)
    def test_what_runs_does_not_run_again(self, harness: Harness, outcome: Outcome) -> None:
        broker = harness.broker()
        broker.enqueue([known(harness, "a")])
        hand = Hand(broker)
        held = hand.claim_one()
        assert require(broker, Inspects).cancel("a") == Cancelled.RUNNING
        answer = hand.exchange([Settle(held.receipt, outcome)])
        assert answer.verdicts == [Verdict.WON]
        assert answer.dropped == [Removed("a", "q", "cancelled")]
        assert counts(broker) == (0, 0, 0, 0)

    @needs(Inspects)
    def test_what_runs_may_still_succeed_or_die(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([known(harness, "a"), known(harness, "b")])
        hand = Hand(broker)
        a, b = hand.claim(2)
        for id in ("a", "b"):
            require(broker, Inspects).cancel(id)
        assert hand.exchange([Settle(a.receipt, Done()), Settle(b.receipt, Dead("failed"))]).verdicts == [Verdict.WON] * 2
        assert counts(broker) == (0, 0, 0, 1)

    @needs(Inspects)
    @pytest.mark.parametrize("end", ["give_back", "retire", "crash", "leave", "rescue"])
    def test_nor_when_its_holder_ends(self, harness: Harness, end: str) -> None:
        broker = harness.broker()
        broker.enqueue([known(harness, "a"), known(harness, "b")])
        hand = Hand(broker)
        a, b = hand.claim(2)
        require(broker, Inspects).cancel("a")
        if end == "give_back":
            broker.give_back(hand.name, [a.receipt, b.receipt])
        elif end == "retire":
            assert broker.retire(hand.name).removed == [Removed("a", "q", "cancelled")]
        elif end == "crash":
            broker.retire(hand.name, [crash(a)])
        elif end == "leave":
            broker.leave(hand.worker)
        else:
            harness.lapse(broker, hand.worker)
            broker.maintain(rescue=True)
        assert Hand(broker, "w2.a", "w2").ids() == ["b"]
        assert counts(broker) == (0, 0, 1, 0)

    @needs(Inspects)
    def test_terminate_tells_the_worker_that_runs_it(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([known(harness, "a"), known(harness, "b")])
        hand, other = Hand(broker, "w1.a", "w1"), Hand(broker, "w2.a", "w2")
        hand.claim(2)
        require(broker, Inspects).cancel("a", terminate=True)
        require(broker, Inspects).cancel("b")
        assert broker.renew(other.worker, LONG).commands == []
        assert broker.renew(hand.worker, LONG).commands == [Command("cancel", "a")]


class TestDeadLetters:
    def dead(self, broker: Broker, *messages: Envelope) -> Hand:
        broker.enqueue(messages)
        hand = Hand(broker)
        for delivery in hand.claim(100, "q", "r"):
            hand.settle(delivery, Dead("failed"))
        return hand

    @needs(Inspects)
    def test_redriven_ones_begin_anew_behind_what_waits(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = self.dead(broker, envelope("a", attempt=4, crashes=2, losses=2), envelope("b"))
        broker.enqueue([envelope("waits")])
        assert require(broker, Inspects).redrive(["a", "nowhere"]) == 1
        got = hand.claim()
        assert ids(got) == ["waits", "a"]
        e = got[1].envelope
        assert (e.attempt, e.crashes, e.losses, e.body) == (1, 0, 0, b"body of a")
        assert e.delivery == 2, "a fencing token never falls"
        assert counts(broker) == (0, 0, 2, 1)

    @needs(Inspects)
    def test_by_queue_or_all(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        self.dead(broker, envelope("a"), envelope("b", "r"), envelope("c", "r"), envelope("d"))
        assert inspects.redrive(queue="r") == 2
        assert (counts(broker), counts(broker, "r")) == ((0, 0, 0, 2), (2, 0, 0, 0))
        assert inspects.redrive() == 2
        assert inspects.redrive() == 0
        assert counts(broker) == (2, 0, 0, 0)

    @needs(Inspects)
    def test_forgotten_by_id_by_queue_or_all(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        self.dead(broker, envelope("a"), envelope("b", "r"), envelope("c", "r"), envelope("d"), envelope("e"))
        assert inspects.forget_dead(["a", "nowhere"]) == 1
        assert inspects.forget_dead(queue="r") == 2
        assert inspects.forget_dead() == 2
        assert inspects.redrive() == 0
        assert counts(broker) == (0, 0, 0, 0)


class TestPause:
    @needs(Inspects)
    def test_nothing_is_claimed_while_all_else_goes_on(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        broker.enqueue(several(2))
        hand = Hand(broker)
        held = hand.claim_one()
        inspects.pause_queue("q")
        inspects.pause_queue("q")
        broker.enqueue([envelope(), envelope("other", "r")])
        assert hand.ids(9, "q", "r") == ["other"]
        assert hand.done(held) == [Verdict.WON]
        assert stats_of(broker).paused and not stats_of(broker, "r").paused
        assert counts(broker) == (2, 0, 0, 0)
        inspects.resume_queue("q")
        inspects.resume_queue("q")
        assert not stats_of(broker).paused
        assert len(hand.claim()) == 2

    @needs(Inspects)
    def test_it_is_kept(self, harness: Harness) -> None:
        broker = harness.broker()
        require(broker, Inspects).pause_queue("empty")
        broker.close()
        broker.open()
        assert stats_of(harness.broker(), "empty").paused
        broker.enqueue([envelope(queue="empty")])
        assert Hand(broker).claim(9, "empty") == []


class TestWorkers:
    @needs(Inspects)
    def test_every_known_one_with_its_holders(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        assert inspects.workers() == []
        Hand(broker, "w1.b")
        Hand(broker, "w1.a")
        now = broker.renew("w1", LONG, b"about w1").now
        broker.renew("w2", LONG)
        one, two = sorted(inspects.workers(), key=lambda w: w.worker)
        assert (one.worker, one.about, sorted(one.holders)) == ("w1", b"about w1", ["w1.a", "w1.b"])
        assert one.expires == now + LONG * 1000
        assert (two.worker, two.holders) == ("w2", [])
        broker.leave("w1")
        assert [w.worker for w in inspects.workers()] == ["w2"]
