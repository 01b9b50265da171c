"""What retiring a dead holder promises: all it held is back, and those it was running are charged, or not, as is said."""

from __future__ import annotations

import pytest

from ...broker import Blame, Removed, Verdict
from ...envelope import ALONE, LOST_DEAD
from ...errors import Fenced
from ...outcome import Dead, Done, Outcome, Released, Retry
from .harness import Hand, Harness, counts, crash, envelope, ids, several


class TestRetire:
    def test_its_admission_is_gone_and_all_it_held_is_back_in_front_uncharged(self, harness: Harness) -> None:
        broker, sent = harness.broker(), several(14)
        broker.enqueue(sent)
        hand = Hand(broker)
        held = hand.claim(12)
        hand.done(held[3])
        answer = broker.retire(hand.name, None, "killed")
        assert (answer.returned, answer.blamed, answer.removed) == (11, [], [])
        with pytest.raises(Fenced) as caught:
            hand.repeat((), ["q"], 12)
        assert caught.value.final
        back = Hand(broker, "w1.b").claim()
        assert ids(back) == [e.id for e in sent if e.id != sent[3].id]
        assert {(d.envelope.attempt, d.envelope.crashes, d.envelope.losses, d.envelope.flags) for d in back} == {(1, 0, 0, 0)}

    def test_the_blamed_one_is_charged_and_alone_from_then_on(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a"), envelope("b"), envelope("c")])
        hand = Hand(broker)
        held = hand.claim(3)
        answer = broker.retire(hand.name, [crash(held[1])])
        assert (answer.returned, answer.blamed) == (3, [])
        other, third = Hand(broker, "w1.b"), Hand(broker, "w1.c")
        assert other.ids() == ["a"]
        [b] = third.claim()
        e = b.envelope
        assert (e.id, e.crashes, e.attempt, e.losses, e.delivery) == ("b", 1, 1, 0, 2)
        assert e.flags & ALONE
        [c] = other.claim()
        assert (c.envelope.id, c.envelope.crashes, c.envelope.flags) == ("c", 0, 0)

    @pytest.mark.parametrize("limit", [1, 3])
    def test_poison_stops_at_the_limit(self, harness: Harness, limit: int) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crash_limit=limit), envelope("b")])
        for i in range(1, limit + 1):
            hand = Hand(broker, f"w1.{i}")
            held = next(d for d in hand.claim() if d.envelope.id == "a")
            answer = broker.retire(hand.name, [crash(held)])
            assert answer.blamed == ([Removed("a", "q", "poison")] if i == limit else [])
        assert counts(broker) == (1, 0, 0, 1)
        assert Hand(broker, "w1.z").ids() == ["b"]

    def test_of_several_suspects_each_is_charged_and_none_is_poison_yet(self, harness: Harness) -> None:
        """One of them did it: it stops at the limit, since from now on each is handed out alone."""
        broker = harness.broker()
        broker.enqueue([envelope("a", crash_limit=1), envelope("b", crash_limit=3), envelope("c"), envelope("d")])
        hand = Hand(broker)
        held = hand.claim(4)
        answer = broker.retire(hand.name, [crash(held[1]), crash(held[0]), crash(held[2])])
        assert (answer.returned, answer.blamed, answer.removed) == (4, [], [])
        hands = [Hand(broker, f"w1.{i}") for i in range(4)]
        back = [one.claim()[0] for one in hands]
        assert [(d.envelope.id, d.envelope.crashes, bool(d.envelope.flags & ALONE)) for d in back] == [
            ("a", 1, True),
            ("b", 1, True),
            ("c", 1, True),
            ("d", 0, False),
        ]
        assert hands[0].done(back[0]) == [Verdict.WON], "the innocent one ends well"
        for _ in range(2):
            again = Hand(broker, f"w2.{back[1].envelope.crashes}", "w2")
            answer = broker.retire(hands[1].name, [crash(back[1])])
            hands[1], back[1] = again, next(iter(again.claim()), back[1])
        assert answer.blamed == [Removed("b", "q", "poison")], "three deaths in all"

    def test_several_are_blamed_with_an_outcome_each(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(4))
        hand = Hand(broker)
        a, b, c, d = hand.claim(4)
        blamed = [Blame(c.receipt, Dead("time_limit")), Blame(a.receipt, Retry(600_000)), Blame(d.receipt, Dead("worker_lost"))]
        answer = broker.retire(hand.name, blamed)
        assert sorted(one.reason for one in answer.blamed) == ["time_limit", "worker_lost"]
        assert counts(broker) == (1, 1, 0, 2)
        assert Hand(broker, "w1.b").ids() == [b.envelope.id]

    def test_one_suspect_beside_one_with_an_outcome_is_sure(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crash_limit=1), envelope("b")])
        hand = Hand(broker)
        a, b = hand.claim(2)
        assert broker.retire(hand.name, [crash(a), Blame(b.receipt, Released())]).blamed == [Removed("a", "q", "poison")]

    def test_nobody_to_blame_is_not_the_same_as_nobody_can_tell(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", flags=LOST_DEAD)])
        hand = Hand(broker)
        hand.claim_one()
        answer = broker.retire(hand.name, [])
        assert (answer.returned, answer.removed) == (1, [])

    def test_a_limit_of_nothing_is_none(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crash_limit=0)])
        for i in range(1, 6):
            hand = Hand(broker, f"w1.{i}")
            assert broker.retire(hand.name, [crash(hand.claim_one())]).blamed == []
        assert Hand(broker).claim_one().envelope.crashes == 5

    def test_lost_dead_is_never_run_twice(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("blamed", flags=LOST_DEAD), envelope("unblamed", flags=LOST_DEAD)])
        one, two = Hand(broker, "w1.a"), Hand(broker, "w1.b")
        assert broker.retire(one.name, [crash(one.claim_one())]).blamed == [Removed("blamed", "q", "worker_lost")]
        assert two.claim_one().envelope.id == "unblamed"
        answer = broker.retire(two.name)
        assert (answer.returned, answer.removed) == (0, [Removed("unblamed", "q", "worker_lost")])
        assert counts(broker) == (0, 0, 0, 2)

    @pytest.mark.parametrize(
        ("outcome", "where"),
        [(Retry(600_000), (1, 1, 0, 0)), (Dead("time_limit"), (1, 0, 0, 1)), (Done(), (1, 0, 0, 0)), (Released(), (2, 0, 0, 0))],
        ids=repr,
    )
    def test_a_blame_with_an_outcome_counts_no_crash(self, harness: Harness, outcome: Outcome, where: tuple[int, ...]) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crash_limit=1), envelope("b")])
        hand = Hand(broker)
        a, _ = hand.claim(2)
        answer = broker.retire(hand.name, [Blame(a.receipt, outcome)])
        assert answer.blamed == ([Removed("a", "q", "time_limit")] if isinstance(outcome, Dead) else [])
        assert counts(broker) == where
        if isinstance(outcome, Released):
            assert {(d.envelope.crashes, d.envelope.attempt) for d in Hand(broker, "w1.b").claim()} == {(0, 1)}

    def test_a_blame_that_does_not_hold_harms_nobody(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crash_limit=1), envelope("b")])
        hand, other = Hand(broker), Hand(broker, "w1.b")
        a = hand.claim_one()
        hand.done(a)
        other.claim_one()
        assert broker.retire(hand.name, [crash(a)]).blamed == []
        assert counts(broker) == (0, 0, 1, 0)

    def test_repeating_and_retiring_nobody_do_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        hand = Hand(broker)
        held = hand.claim_one()
        broker.retire(hand.name, [crash(held)])
        assert broker.retire(hand.name, [crash(held)]).returned == 0
        assert broker.retire("nobody").returned == 0
        assert Hand(broker, "w1.b").claim_one().envelope.crashes == 1

    def test_before_its_first_exchange(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        assert broker.retire(hand.name).returned == 0
        with pytest.raises(Fenced):
            hand.exchange()
