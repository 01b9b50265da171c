"""What the facet ``Inspects`` promises of cancels and dead letters beyond single ones: what stays behind, and large numbers."""

from __future__ import annotations

import pytest

from ...broker import Settle
from ...facets import Cancelled, Inspects, Place, require
from ...outcome import Dead, Retry
from .harness import Hand, Harness, counts, envelope, ids, needs, several
from .inspects import known, listed


class TestTombstones:
    """What a cancel leaves behind touches nobody else, and goes."""

    @needs(Inspects)
    def test_one_that_was_cancelled_is_not_there_any_more(self, harness: Harness) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        broker.enqueue([known(harness, "a"), known(harness, "b"), known(harness, "c")])
        assert inspects.cancel("b") == Cancelled.WAITING
        assert inspects.cancel("b") == Cancelled.UNKNOWN
        assert inspects.find("b") is None
        assert listed(broker, "q", Place.READY, 1) == ["a", "c"]
        assert counts(broker) == (2, 0, 0, 0)
        assert Hand(broker).ids() == ["a", "c"]

    @needs(Inspects)
    @pytest.mark.parametrize("way", ["claimed", "purged", "pruned"])
    def test_a_later_message_of_the_same_id_runs(self, harness: Harness, way: str) -> None:
        broker = harness.broker()
        hand, inspects = Hand(broker), require(broker, Inspects)
        broker.enqueue([known(harness, "a", priority=3), known(harness, "b")])
        assert inspects.cancel("a") == Cancelled.WAITING
        if way == "claimed":
            assert hand.ids() == ["b"]
        elif way == "purged":
            assert broker.purge("q") == 1
        else:
            inspects.pause_queue("q")
            broker.maintain()
            inspects.resume_queue("q")
            assert hand.ids() == ["b"], "what is paused stays cancelled"
            broker.maintain()
        broker.enqueue([known(harness, "a")])
        assert hand.ids() == ["a"]

    @needs(Inspects)
    def test_only_where_it_stood(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([known(harness, "a"), envelope("same", "r"), envelope("same", "s")])
        assert require(broker, Inspects).cancel("a") == Cancelled.WAITING
        assert Hand(broker).ids(9, "q", "r", "s") == ["same", "same"]

    @needs(Inspects)
    def test_cancelled_while_it_waits_for_its_next_attempt(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([known(harness, "a"), known(harness, "b")])
        hand = Hand(broker)
        a, b = hand.claim(2)
        hand.exchange([Settle(a.receipt, Retry(600_000)), Settle(b.receipt, Retry(5))])
        harness.advance(20)
        broker.maintain()
        assert [require(broker, Inspects).cancel(id) for id in "ab"] == [Cancelled.WAITING] * 2
        assert hand.claim() == []
        assert counts(broker) == (0, 0, 0, 0)

    @needs(Inspects)
    def test_one_of_thousands(self, harness: Harness) -> None:
        broker = harness.broker()
        hand, inspects = Hand(broker), require(broker, Inspects)
        now = broker.ping()
        for begin in range(0, 3000, 1000):
            broker.enqueue([known(harness, f"r{i}") for i in range(begin, begin + 1000)])
            broker.enqueue([known(harness, f"s{i}", due=now + 600_000) for i in range(begin, begin + 1000)])
        chosen = [f"{place}{i}" for place in "rs" for i in (0, 1, 1500, 2999)]
        assert [inspects.find(id) is not None for id in chosen] == [True] * 8
        assert [inspects.cancel(id) for id in chosen] == [Cancelled.WAITING] * 8
        assert counts(broker) == (2996, 2996, 0, 0)
        left = {f"r{i}" for i in range(3000)} - set(chosen)
        assert {id for _ in range(4) for id in hand.ids(1000)} == left

    @needs(Inspects)
    def test_found_without_a_record_too(self, harness: Harness) -> None:
        """As far as the answer goes: what it says of a plain one is true."""
        broker = harness.broker()
        hand, inspects = Hand(broker), require(broker, Inspects)
        broker.enqueue([envelope("held"), *several(999)])
        broker.enqueue([*several(500), envelope("ready"), envelope("later", after=600_000)])
        broker.enqueue(several(600))
        held = hand.claim(1)
        answers = {id: inspects.cancel(id) for id in ("held", "ready", "later", "nowhere")}
        assert answers["nowhere"] == Cancelled.UNKNOWN
        assert answers["held"] in (Cancelled.RUNNING, Cancelled.UNKNOWN)
        answer = hand.exchange([Settle(held[0].receipt, Retry(0))], ["q"], 3000)
        assert ("held" in ids(answer.deliveries)) == (answers["held"] == Cancelled.UNKNOWN)
        assert ("ready" in ids(answer.deliveries)) == (answers["ready"] == Cancelled.UNKNOWN)
        assert counts(broker)[1] == (1 if answers["later"] == Cancelled.UNKNOWN else 0)


class TestManyDeadLetters:
    @needs(Inspects)
    def test_more_than_one_step_takes(self, harness: Harness) -> None:
        broker = harness.broker()
        hand, inspects = Hand(broker), require(broker, Inspects)
        for _ in range(3):
            broker.enqueue([envelope(queue="r"), *several(499)])
        for _ in range(3):
            hand.exchange([Settle(d.receipt, Dead("failed")) for d in hand.claim(500, "r", "q")])
        assert len(listed(broker, "r", Place.DEAD, 2)) == 3
        assert len(listed(broker, None, Place.DEAD, 400)) == 1500
        assert inspects.redrive(queue="q") == 1497
        assert inspects.forget_dead() == 3
        assert counts(broker) == (1497, 0, 0, 0)
