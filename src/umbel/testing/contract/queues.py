"""What ``stats``, ``purge`` and the pruning of ``maintain`` promise."""

from __future__ import annotations

from ...broker import Verdict
from ...envelope import EXPLICIT
from ...outcome import Dead
from .harness import Hand, Harness, counts, envelope, ids, maintain_all, several, stats_of


class TestStats:
    def test_an_empty_store_has_no_queues(self, harness: Harness) -> None:
        assert harness.broker().stats() == []

    def test_by_name_and_by_place(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([*several(4), envelope(after=600_000), envelope(queue="b"), envelope(queue="a", after=600_000)])
        hand = Hand(broker)
        dies, _ = hand.claim(2)
        hand.settle(dies, Dead("failed"))
        assert [(s.queue, s.ready, s.scheduled, s.leased, s.dead) for s in broker.stats()] == [
            ("a", 0, 1, 0, 0),
            ("b", 1, 0, 0, 0),
            ("q", 2, 1, 1, 1),
        ]

    def test_the_age_of_the_oldest_ready_one(self, harness: Harness) -> None:
        broker = harness.broker()
        now = broker.ping()
        broker.enqueue([envelope(enqueued=now - 1_000), envelope(enqueued=now), envelope(queue="s", after=600_000, enqueued=now - 9_000)])
        oldest = stats_of(broker).oldest
        assert oldest is not None and 1_000 <= oldest < 61_000
        assert stats_of(broker, "s").oldest is None
        hand = Hand(broker)
        hand.claim(2)
        assert stats_of(broker).oldest is None


class TestPurge:
    def test_what_waits_goes_and_what_runs_stays(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([*several(3), envelope(priority=9), envelope(after=600_000), envelope("other", "r")])
        hand = Hand(broker)
        held = hand.claim_one()
        assert broker.purge("q") == 4
        assert counts(broker) == (0, 0, 1, 0)
        assert hand.done(held) == [Verdict.WON]
        assert broker.purge("q") == 0
        assert broker.purge("missing") == 0
        assert hand.ids(9, "r") == ["other"]

    def test_dead_letters_stay(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Dead("failed"))
        assert broker.purge("q") == 0
        assert counts(broker) == (0, 0, 0, 1)


class TestPruning:
    def dead(self, harness: Harness, count: int, **changes: object) -> Hand:
        broker = harness.broker(**changes)
        hand = Hand(broker)
        broker.enqueue([envelope(f"d{i}", body=b"x" * 1000) for i in range(count)])
        for delivery in hand.claim(count):
            hand.settle(delivery, Dead("failed"))
        return hand

    def test_dead_letters_are_kept_for_their_time(self, harness: Harness) -> None:
        hand = self.dead(harness, 3, dead_letter_ttl=60.0)
        maintain_all(hand.broker)
        assert counts(hand.broker) == (0, 0, 0, 3)

    def test_and_not_longer(self, harness: Harness) -> None:
        hand = self.dead(harness, 3, dead_letter_ttl=0.05)
        harness.advance(100)
        assert hand.broker.maintain().pruned >= 3
        assert counts(hand.broker) == (0, 0, 0, 0)

    def test_the_oldest_go_when_there_is_no_room(self, harness: Harness) -> None:
        hand = self.dead(harness, 10, dead_letter_bytes=4_500)
        trimmed = sum(hand.broker.maintain().trimmed for _ in range(3))
        assert 6 <= trimmed <= 7, "ten letters of 1000 bytes and their heads, and room for 4500"
        assert counts(hand.broker) == (0, 0, 0, 10 - trimmed)

    def test_remembered_ids_are_pruned(self, harness: Harness) -> None:
        broker = harness.broker(dedupe_ttl=0.05)
        broker.enqueue([envelope(flags=EXPLICIT), envelope(flags=EXPLICIT)])
        harness.advance(100)
        maintain_all(broker)
        assert broker.maintain().pruned == 0
        assert len(ids(Hand(broker).claim())) == 2
