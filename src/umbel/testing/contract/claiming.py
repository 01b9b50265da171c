"""What an exchange hands out, in which order, and what it leaves."""

from __future__ import annotations

import pytest

from ...broker import MAX_PROMOTE, Removed, Settle
from ...envelope import LOST_DEAD, pack
from ...outcome import Done, Retry
from .harness import Hand, Harness, counts, envelope, ids, several, stats_of


class TestOrder:
    def test_priorities_from_nine_to_zero_and_oldest_first_inside(self, harness: Harness) -> None:
        broker = harness.broker()
        sent = [envelope(f"{p}.{i}", priority=p) for i in range(3) for p in (3, 0, 9, 5, 1, 8, 2, 7, 4, 6)]
        broker.enqueue(sent)
        assert Hand(broker).ids() == [f"{p}.{i}" for p in range(9, -1, -1) for i in range(3)]

    def test_over_several_claims_too(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("low", priority=0), envelope("a"), envelope("b")])
        hand = Hand(broker)
        assert hand.ids(1) == ["a"]
        broker.enqueue([envelope("high", priority=9)])
        assert hand.ids(1) + hand.ids(1) + hand.ids(1) == ["high", "b", "low"]

    def test_queues_are_emptied_in_the_order_given_whatever_the_priority(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", "qa", priority=0), envelope("b", "qb", priority=9), envelope("c", "qc"), envelope("other", "qd")])
        assert Hand(broker).ids(9, "qc", "qa", "qb", "missing") == ["c", "a", "b"]

    def test_limit_is_kept_over_queues_and_priorities(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", "qa"), envelope("b", "qa", priority=1), envelope("c", "qb"), envelope("d", "qb")])
        hand = Hand(broker)
        assert hand.ids(0, "qa", "qb") == []
        assert hand.ids(3, "qa", "qb") == ["a", "b", "c"]
        assert hand.ids(3, "qa", "qb") == ["d"]

    def test_a_large_claim_is_whole(self, harness: Harness) -> None:
        broker, sent = harness.broker(), several(1000)
        broker.enqueue(sent)
        assert Hand(broker).ids(1000) == ids(sent)

    def test_nobody_gets_what_another_holds(self, harness: Harness) -> None:
        one, two, sent = harness.broker(), harness.broker(), several(10)
        one.enqueue(sent)
        first, second = Hand(one, "w1.a", "w1"), Hand(two, "w2.a", "w2")
        got = first.ids(3) + second.ids(3) + first.ids(3) + second.ids(3)
        assert got == ids(sent)

    def test_each_hand_over_counts(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        for expected in (1, 2, 3):
            held = hand.claim_one()
            assert held.envelope.delivery == expected
            broker.give_back(hand.name, [held.receipt])


class TestScheduled:
    def test_not_before_its_time(self, harness: Harness) -> None:
        broker = harness.broker()
        due = broker.ping() + 200
        broker.enqueue([envelope("a", due=due)])
        hand, answer = Hand(broker), None
        for _ in range(50):
            answer = hand.exchange((), ["q"], 1)
            if answer.deliveries:
                break
            assert answer.now < due, "it was due, and was not given"
            assert answer.next_due is not None and 0 < answer.next_due <= 200
            harness.advance(20)
        assert answer is not None and ids(answer.deliveries) == ["a"]
        assert answer.now >= due

    @pytest.mark.parametrize("late", [-1, 0, 1])
    def test_to_the_millisecond_where_the_clock_is_handed_in(self, harness: Harness, late: int) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", after=100)])
        hand = Hand(broker)
        if harness.clock is not None:
            harness.clock.advance(100 + late)
            assert hand.ids() == (["a"] if late >= 0 else [])
            return
        while not (answer := hand.exchange((), ["q"], 1)).deliveries:  # a store's own clock is asked often, around that time
            assert answer.next_due is not None and answer.next_due > 0
            harness.advance(1)

    def test_in_the_order_of_their_times_and_behind_what_waits(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("c", after=30), envelope("a", after=10), envelope("b", after=20), envelope("high", after=30, priority=9)])
        broker.enqueue([envelope("waits")])
        harness.advance(40)
        assert Hand(broker).ids() == ["high", "waits", "a", "b", "c"]

    def test_next_due_is_that_of_the_asked_queues(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        assert hand.exchange((), ["q"], 1).next_due is None
        broker.enqueue([envelope(queue="soon", after=300_000), envelope(after=900_000), envelope(after=600_000)])
        due = hand.exchange((), ["q"], 1).next_due
        assert due is not None and 500_000 < due <= 600_000
        due = hand.exchange((), ["q", "soon"], 1).next_due
        assert due is not None and 200_000 < due <= 300_000
        assert hand.exchange((), ["empty"], 1).next_due is None

    def test_at_most_a_thousand_become_ready_in_one_step(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(MAX_PROMOTE, after=1))
        broker.enqueue(several(60, after=1))
        harness.advance(5)
        hand = Hand(broker)
        answer = hand.exchange((), ["q"], 1)
        ready, scheduled, leased, _ = counts(broker)
        assert (ready, scheduled, leased) == (MAX_PROMOTE - 1, 60, 1)
        assert answer.next_due == 0, "what is due already is due in 0 ms"
        hand.exchange((), ["q"], 0)
        assert counts(broker)[1] in {0, 60}, "a claim of nothing may promote or not"
        hand.exchange((), ["q"], 1)
        assert counts(broker) == (MAX_PROMOTE + 58, 0, 2, 0)

    def test_maintenance_promotes_under_the_same_bound(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(MAX_PROMOTE, after=1))
        broker.enqueue(several(60, after=1))
        harness.advance(5)
        first = broker.maintain()
        assert (first.promoted, first.more) == (MAX_PROMOTE, True)
        assert broker.maintain().promoted == 60
        assert broker.maintain().promoted == 0
        assert counts(broker) == (MAX_PROMOTE + 60, 0, 0, 0)


class TestExpiry:
    def test_expired_ones_are_dropped_and_named(self, harness: Harness) -> None:
        broker = harness.broker()
        soon = broker.ping() + 30
        broker.enqueue(
            [envelope("a", expires=soon), envelope("b"), envelope("c", expires=soon, after=1), envelope("d", expires=soon + 600_000)]
        )
        harness.advance(40)
        answer = Hand(broker).exchange((), ["q"], 9)
        assert ids(answer.deliveries) == ["b", "d"]
        assert sorted(answer.dropped, key=lambda r: r.id) == [Removed("a", "q", "expired"), Removed("c", "q", "expired")]
        assert counts(broker) == (0, 0, 2, 0)

    def test_they_do_not_use_up_the_limit(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(5, expires=broker.ping() + 10))
        broker.enqueue([envelope("a")])
        harness.advance(20)
        assert Hand(broker).ids(1) == ["a"]

    def test_what_runs_does_not_expire_but_what_comes_back_does(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        broker.enqueue([envelope("a", expires=broker.ping() + 2_000), envelope("b", expires=broker.ping() + 2_000)])
        a, b = hand.claim(2)
        harness.advance(2_100)
        answer = hand.exchange([Settle(a.receipt, Done()), Settle(b.receipt, Retry(0))], ["q"], 9)
        assert answer.verdicts == ["won", "won"]
        assert answer.deliveries == hand.claim() == []
        assert counts(broker) == (0, 0, 0, 0)

    def test_maintenance_drops_them(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", expires=broker.ping() + 10)])
        broker.enqueue([envelope("b", after=5, expires=broker.ping() + 10)])
        harness.advance(30)
        dropped = [*broker.maintain().expired, *broker.maintain().expired]
        assert sorted(r.id for r in dropped) == ["a", "b"]
        assert {r.reason for r in dropped} == {"expired"}
        assert counts(broker) == (0, 0, 0, 0)


class TestHandedAlone:
    def test_it_is_the_only_one_of_its_exchange(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("alone", flags=LOST_DEAD), envelope("b"), envelope("c", "other")])
        hand = Hand(broker)
        [alone] = hand.claim(9, "q", "other")
        assert alone.envelope.id == "alone"
        hand.done(alone)
        assert hand.ids(9, "q", "other") == ["b", "c"]

    def test_the_claim_of_its_queue_ends_before_it(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(
            [envelope("a"), envelope("alone", flags=LOST_DEAD), envelope("b"), envelope("low", priority=0), envelope("c", "other")]
        )
        hand = Hand(broker)
        got = hand.claim(9, "q", "other")
        assert ids(got) == ["a", "c"]
        assert hand.claim(9) == [], "its holder holds something else"
        answer = hand.exchange([Settle(d.receipt, Done()) for d in got], ["q", "other"], 9)
        assert ids(answer.deliveries) == ["alone"], "the settles of the same step count first"
        assert ids(hand.exchange([Settle(answer.deliveries[0].receipt, Done())], ["q"], 9).deliveries) == ["b", "low"]

    def test_another_holder_may_have_it_at_once(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a"), envelope("alone", flags=LOST_DEAD)])
        assert Hand(broker, "w1.a").ids() == ["a"]
        assert Hand(broker, "w1.b").ids() == ["alone"]


def _garbage() -> dict[str, bytes]:
    good = pack(envelope("x"))
    return {
        "empty": b"",
        "text": b"not a message",
        "newer": b"\x63" + good[1:],
        "cut": good[:42],
        "short head": good[:1] + b"\x05" + good[2:],
    }


class TestUnreadable:
    @pytest.mark.parametrize("kind", list(_garbage()))
    def test_becomes_a_dead_letter_and_the_rest_goes_on(self, harness: Harness, kind: str) -> None:
        broker = harness.broker()
        harness.plant("q", _garbage()[kind])
        broker.enqueue([envelope("a")])
        answers = [Hand(broker).exchange((), ["q"], 9)]
        assert [i for a in answers for i in ids(a.deliveries)] == ["a"]
        assert [(r.queue, r.reason) for a in answers for r in a.dropped] == [("q", "unreadable")]
        assert counts(broker) == (0, 0, 1, 1)

    def test_stats_and_maintenance_survive_it(self, harness: Harness) -> None:
        broker = harness.broker()
        harness.plant("q", b"\x01garbage")
        assert stats_of(broker).ready == 1
        broker.maintain(rescue=True)
        assert broker.purge("q") in {0, 1}
        assert Hand(broker).claim() == []
