"""What ``Serves`` promises: who takes from which queue, and what nobody takes from any more."""

from __future__ import annotations

from ...facets import Inspects, Served, Serves, require
from ...outcome import Dead, Released
from .harness import LONG, Hand, Harness, envelope, maintain_all, needs

KEPT = 50
"""Ms for which the stores of some tests keep what is not served any more."""


def says(harness: Harness) -> Serves:
    return require(harness.broker(), Serves)


def names(found: list[Served], **wanted: bool) -> list[str]:
    return [one.queue for one in found if all(getattr(one, key) == value for key, value in wanted.items())]


class TestServes:
    @needs(Serves)
    def test_nobody_has_said_anything(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope(queue="q@1")])
        Hand(broker)
        assert require(broker, Serves).served() == []

    @needs(Serves)
    def test_what_a_live_worker_serves(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        broker.renew("w1", LONG)
        assert serves.serve("w1", ["q@1", "q", "q@1"])
        assert serves.served() == [Served("q", True, False, False), Served("q@1", True, False, False)]
        broker.renew("w2", LONG)
        assert serves.serve("w2", ["q@2"])
        assert names(serves.served(), alive=True) == ["q", "q@1", "q@2"]

    @needs(Serves)
    def test_the_last_word_of_a_worker_counts(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        for worker in ("w1", "w2"):
            broker.renew(worker, LONG)
            serves.serve(worker, ["a", "b"])
        serves.serve("w1", ["b", "c"])
        serves.serve("w1", ["b", "c"])
        assert names(serves.served(), alive=True) == ["a", "b", "c"]
        serves.serve("w2", [])
        assert names(serves.served(), alive=True) == ["b", "c"]
        serves.serve("w1", [])
        assert names(serves.served(), alive=True) == []

    @needs(Serves)
    def test_a_worker_that_left_serves_nothing(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        for worker in ("w1", "w2"):
            broker.renew(worker, LONG)
            serves.serve(worker, ["q"])
        broker.leave("w1")
        assert names(serves.served(), alive=True) == ["q"]
        broker.leave("w2")
        assert names(serves.served(), alive=False) == ["q"]

    @needs(Serves)
    def test_nor_does_one_whose_lease_has_ended(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        broker.renew("w1", LONG)
        serves.serve("w1", ["q"])
        harness.lapse(broker, "w1")
        assert names(serves.served(), alive=True) == []
        assert not serves.serve("w1", ["q", "r"])
        assert names(serves.served()) == ["q"], "what a worker without a lease says was noted"
        broker.renew("w1", LONG)
        assert names(serves.served(), alive=True) == ["q"]

    @needs(Serves)
    def test_nor_one_that_was_rescued(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        broker.renew("w1", LONG)
        serves.serve("w1", ["q"])
        harness.lapse(broker, "w1")
        maintain_all(broker, rescue=True)
        broker.renew("w2", LONG)
        assert not serves.serve("w1", ["q"])
        assert names(serves.served(), alive=True) == []
        broker.renew("w1", LONG)
        assert serves.serve("w1", ["q"])
        assert names(serves.served(), alive=True) == ["q"]

    @needs(Serves, Inspects)
    def test_what_stands_in_it(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        broker.renew("w", LONG)
        serves.serve("w", ["ready", "later", "running", "dead", "empty"])
        broker.enqueue([envelope(queue=queue) for queue in ("ready", "running", "dead")])
        broker.enqueue([envelope(queue="later", after=600_000)])
        hand = Hand(broker)
        hand.claim_one("running")
        hand.settle(hand.claim_one("dead"), Dead("failed"))
        require(broker, Inspects).pause_queue("empty")
        assert names(serves.served(), left=True) == [], "somebody alive serves them all"
        serves.serve("w", ["empty"])
        assert names(serves.served(), left=True) == ["later", "ready"]
        serves.serve("w", ["empty", "later"])
        assert names(serves.served(), left=True) == ["ready"]
        assert names(serves.served(), paused=True) == ["empty"]

    @needs(Serves)
    def test_a_closed_broker_and_another_one_know_the_same(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.renew("w", LONG)
        require(broker, Serves).serve("w", ["q"])
        broker.close()
        broker.open()
        assert require(broker, Serves).served() == says(harness).served() == [Served("q", True, False, False)]

    @needs(Serves)
    def test_it_takes_nothing_away(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        broker.renew("w", LONG)
        serves.serve("w", ["q"])
        broker.enqueue([envelope("m")])
        serves.served()
        assert Hand(broker).ids() == ["m"]


class TestForgottenQueues:
    @needs(Serves)
    def test_what_was_served_today_is_kept(self, harness: Harness) -> None:
        broker, serves = harness.broker(), says(harness)
        broker.renew("w", LONG)
        serves.serve("w", ["q"])
        broker.leave("w")
        maintain_all(broker)
        assert names(serves.served()) == ["q"]

    @needs(Serves)
    def test_what_is_empty_is_forgotten(self, harness: Harness) -> None:
        broker = harness.broker(served_ttl=KEPT / 1000)
        serves = require(broker, Serves)
        broker.renew("w", LONG)
        serves.serve("w", ["gone", "ready", "later", "running", "dead", "served"])
        broker.enqueue([envelope(queue=queue) for queue in ("ready", "running", "dead")])
        broker.enqueue([envelope("late", queue="later", after=600_000)])
        hand = Hand(broker, worker="w")
        running = hand.claim_one("running")
        hand.settle(hand.claim_one("dead"), Dead("failed"))
        harness.advance(2 * KEPT)
        serves.serve("w", ["served"])
        maintain_all(broker)
        assert names(serves.served()) == ["dead", "later", "ready", "running", "served"]
        hand.settle(running, Released(1))
        broker.purge("ready")
        broker.purge("later")
        harness.advance(2 * KEPT)
        serves.serve("w", ["served"])
        maintain_all(broker)
        assert names(serves.served()) == ["dead", "running", "served"]
        assert "running" in names(serves.served(), left=True), "what was in somebody's hands comes back to a queue that nobody knows"
