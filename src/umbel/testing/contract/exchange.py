"""What ``admit`` and the exchange promise: the fence, the sequence, the verdicts, the outcomes."""

from __future__ import annotations

import pytest

from ...broker import Settle, Verdict
from ...envelope import EXPLICIT, Receipt
from ...errors import Fenced, SequenceError
from ...outcome import Dead, Done, Dropped, Outcome, Released, Retry
from .harness import LONG, Hand, Harness, counts, envelope, ids, nowhere, several


class TestAdmit:
    def test_needs_a_worker_with_a_lease(self, harness: Harness) -> None:
        broker = harness.broker()
        with pytest.raises(Fenced):
            broker.admit("nobody", "nobody.a")
        broker.renew("w1", LONG)
        broker.admit("w1", "w1.a")
        harness.lapse(broker, "w1")
        with pytest.raises(Fenced):
            broker.admit("w1", "w1.b")

    def test_repeating_is_harmless(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(2))
        hand = Hand(broker)
        held = hand.claim_one()
        broker.admit("w1", hand.name)
        assert broker.resume(hand.name) == [held]
        assert hand.done(held) == [Verdict.WON]

    def test_the_name_of_a_retired_holder_is_used_up(self, harness: Harness) -> None:
        broker = harness.broker()
        hand = Hand(broker)
        broker.retire(hand.name)
        with pytest.raises(Fenced):
            broker.admit("w1", hand.name)


class TestFence:
    def fenced(self, hand: Hand) -> Fenced:
        with pytest.raises(Fenced) as caught:
            hand.exchange((), ["q"], 1)
        return caught.value

    def test_not_admitted_is_final_and_nothing_is_done(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        assert self.fenced(Hand(broker, admit=False)).final
        broker.renew("w1", LONG)
        assert self.fenced(Hand(broker, admit=False)).final
        assert counts(broker) == (1, 0, 0, 0)

    def test_a_lapsed_lease_is_not_final_and_a_renewal_lifts_it(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(2))
        hand = Hand(broker)
        held = hand.claim_one()
        harness.lapse(broker, "w1")
        with pytest.raises(Fenced) as caught:
            hand.done(held)
        assert not caught.value.final
        assert counts(broker) == (1, 0, 1, 0), "the fenced settled"
        with pytest.raises(Fenced):
            hand.repeat((), ["q"], 1)
        broker.renew("w1", LONG)
        assert hand.done(held) == [Verdict.WON]

    def test_retired_rescued_and_left_are_final(self, harness: Harness) -> None:
        broker = harness.broker()
        hands = [Hand(broker, f"{w}.a", w) for w in ("retired", "rescued", "left")]
        broker.retire("retired.a")
        harness.lapse(broker, "rescued")
        broker.maintain(rescue=True)
        broker.leave("left")
        broker.renew("rescued", LONG)
        broker.renew("left", LONG)
        assert [self.fenced(hand).final for hand in hands] == [True, True, True]

    def test_each_worker_has_its_own_lease(self, harness: Harness) -> None:
        broker = harness.broker()
        one, two = Hand(broker, "w1.a", "w1"), Hand(broker, "w2.a", "w2")
        harness.lapse(broker, "w1")
        self.fenced(one)
        two.exchange()


class TestSequence:
    def test_begins_at_one_and_rises_by_one(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(3))
        hand = Hand(broker)
        for wrong in (0, 2, -1):
            with pytest.raises(SequenceError):
                broker.claim(hand.name, wrong, ["q"], 1)
        hand.claim(1)
        hand.claim(1)
        for wrong in (0, 1, 4):
            with pytest.raises(SequenceError):
                broker.claim(hand.name, wrong, ["q"], 1)
        assert counts(broker) == (1, 0, 2, 0)

    def test_repeating_answers_the_same_and_does_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(5))
        hand = Hand(broker)
        one, two = hand.claim(2)
        settles = [
            Settle(one.receipt, Done(), (envelope("then"),)),
            Settle(nowhere(hand.name), Done()),
            Settle(two.receipt, Retry(600_000)),
        ]
        first = hand.exchange(settles, ["q"], 2)
        before = counts(broker)
        for _ in range(3):
            again = hand.repeat(settles, ["q"], 2)
            assert (again.verdicts, again.deliveries) == (first.verdicts, first.deliveries)
        assert counts(broker) == before == (2, 1, 2, 0)

    def test_by_another_handle_too(self, harness: Harness) -> None:
        broker, other = harness.broker(), harness.broker()
        broker.enqueue(several(2))
        hand = Hand(broker)
        first = hand.claim(2)
        hand.broker = other
        assert hand.repeat((), ["q"], 2).deliveries == first

    def test_a_repeat_leaves_out_what_was_given_back(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(3))
        hand = Hand(broker)
        first = hand.claim(3)
        broker.give_back(hand.name, [first[1].receipt])
        assert hand.repeat((), ["q"], 3).deliveries == [first[0], first[2]]

    def test_an_empty_one_counts_too(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        assert hand.exchange().deliveries == []
        assert hand.repeat().deliveries == []
        assert hand.exchange().verdicts == []

    def test_receipts_name_holder_exchange_and_place(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(3))
        hand = Hand(broker)
        hand.exchange()
        assert [d.receipt for d in hand.claim(3)] == [Receipt(hand.name, 2, i) for i in range(3)]


class TestVerdicts:
    def test_one_a_settle_in_order(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(3))
        hand = Hand(broker)
        a, b, c = hand.claim(3)
        broker.give_back(hand.name, [b.receipt])
        assert hand.done(a, b, c) == [Verdict.WON, Verdict.SUPERSEDED, Verdict.WON]

    def test_what_the_store_has_no_trace_of_is_absent(self, harness: Harness) -> None:
        hand = Hand(harness.broker())
        assert hand.exchange([Settle(nowhere(hand.name), Done())]).verdicts == [Verdict.ABSENT]

    def test_superseded_while_another_holds_it_and_the_other_is_not_disturbed(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        one, two = Hand(broker, "w1.a"), Hand(broker, "w1.b")
        late = one.claim_one()
        broker.give_back(one.name, [late.receipt])
        held = two.claim_one()
        assert one.settle(late, Dead("failed"), envelope("then")) == Verdict.SUPERSEDED
        assert counts(broker) == (0, 0, 1, 0)
        assert two.done(held) == [Verdict.WON]

    def test_a_settle_wins_once(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        held = hand.claim_one()
        twice = hand.exchange([Settle(held.receipt, Done(), (envelope("x"),)), Settle(held.receipt, Done(), (envelope("y"),))])
        assert twice.verdicts[0] == Verdict.WON and twice.verdicts[1] != Verdict.WON
        assert hand.settle(held, Retry(0), envelope("z")) != Verdict.WON
        assert hand.ids() == ["x"]

    def test_nobody_settles_for_another(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        one, two = Hand(broker, "w1.a"), Hand(broker, "w1.b")
        held = one.claim_one()
        assert two.done(held) != [Verdict.WON]
        assert one.done(held) == [Verdict.WON]

    @pytest.mark.parametrize("outcome", [Done(), Retry(0), Dead("failed"), Dropped("skipped"), Released(), Released(5)], ids=repr)
    def test_then_only_when_won(self, harness: Harness, outcome: Outcome) -> None:
        broker = harness.broker()
        broker.enqueue(several(2))
        hand = Hand(broker)
        won, lost = hand.claim(2)
        broker.give_back(hand.name, [lost.receipt])
        assert hand.settle(lost, outcome, envelope("no", "then")) == Verdict.SUPERSEDED
        assert hand.settle(won, outcome, envelope("yes", "then"), envelope("later", "then", after=600_000)) == Verdict.WON
        assert counts(broker, "then") == (1, 1, 0, 0)
        assert hand.ids(9, "then") == ["yes"]

    def test_then_is_claimable_in_the_same_step_and_keeps_its_order(self, harness: Harness) -> None:
        broker, then = harness.broker(), several(5)
        broker.enqueue([envelope()])
        hand = Hand(broker)
        held = hand.claim_one()
        assert ids(hand.exchange([Settle(held.receipt, Done(), tuple(then))], ["q"], 9).deliveries) == ids(then)

    def test_then_looks_for_explicit_duplicates(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope(), envelope("a", "then", flags=EXPLICIT)])
        hand = Hand(broker)
        again, new = envelope("a", "then", flags=EXPLICIT), envelope("b", "then", flags=EXPLICIT)
        assert hand.settle(hand.claim_one(), Done(), again, new, new) == Verdict.WON
        assert hand.ids(9, "then") == ["a", "b"]


class TestOutcomes:
    @pytest.mark.parametrize("outcome", [Done(), Done(b"result"), Dropped("discarded"), Dropped("expired", b"why")], ids=repr)
    def test_done_and_dropped_remove(self, harness: Harness, outcome: Outcome) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        assert hand.settle(hand.claim_one(), outcome) == Verdict.WON
        assert counts(broker) == (0, 0, 0, 0)

    def test_dead_makes_a_dead_letter(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        assert hand.settle(hand.claim_one(), Dead("failed", b"trace")) == Verdict.WON
        assert counts(broker) == (0, 0, 0, 1)
        assert hand.claim() == []

    def test_retry_costs_an_attempt_and_waits(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crashes=1, losses=2)])
        hand = Hand(broker)
        answer = hand.exchange([Settle(hand.claim_one().receipt, Retry(400, b"error"))], ["q"], 1)
        assert answer.deliveries == [] or harness.clock is None
        assert counts(broker) in {(0, 1, 0, 0), (0, 0, 1, 0)}
        if not answer.deliveries:
            harness.advance(400)
            answer = hand.exchange((), ["q"], 1)
        [held] = answer.deliveries
        e = held.envelope
        assert (e.id, e.attempt, e.delivery, e.crashes, e.losses, e.body) == ("a", 2, 2, 1, 2, b"body of a")

    def test_retry_at_once_goes_behind_what_waits(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a"), envelope("b")])
        hand = Hand(broker)
        assert hand.settle(hand.claim_one(), Retry(0)) == Verdict.WON
        assert [(d.envelope.id, d.envelope.attempt) for d in hand.claim()] == [("b", 1), ("a", 2)]

    def test_released_at_once_goes_in_front_of_its_priority_and_costs_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", crashes=1, losses=1), envelope("b"), envelope("high", priority=9)])
        hand = Hand(broker)
        high, a = hand.claim(2)
        assert hand.settle(a, Released()) == Verdict.WON
        again, b = hand.claim(2)
        assert (again.envelope.id, b.envelope.id, high.envelope.id) == ("a", "b", "high")
        e = again.envelope
        assert (e.attempt, e.crashes, e.losses, e.delivery, e.parked) == (1, 1, 1, 2, 0)

    def test_released_for_later_waits_and_costs_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a"), envelope("never")])
        hand = Hand(broker)
        a, never = hand.claim(2)
        hand.exchange([Settle(a.receipt, Released(30)), Settle(never.receipt, Released(600_000))])
        harness.advance(31)
        [again] = hand.claim(2)
        assert (again.envelope.id, again.envelope.attempt, again.envelope.delivery) == ("a", 1, 2)

    def test_parked_is_noted_once(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        hand = Hand(broker)
        before = broker.ping()
        hand.settle(hand.claim_one(), Released(parked=True))
        after = broker.ping()
        first = hand.claim_one()
        assert before <= first.envelope.parked <= after
        harness.advance(20)
        hand.settle(first, Released(1, parked=True))
        harness.advance(5)
        assert hand.claim_one().envelope.parked == first.envelope.parked

    @pytest.mark.parametrize("ran", [Retry(1), Released(1, "snoozed")])
    def test_one_that_ran_is_not_parked_any_more(self, harness: Harness, ran: Outcome) -> None:
        """Else a later release that does not know it would bury it at once, for a wait of long ago."""
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Released(parked=True))
        hand.settle(hand.claim_one(), Released(0, "unbegun"))
        parked = hand.claim_one()
        assert parked.envelope.parked > 0, "it was not run"
        hand.settle(parked, ran)
        harness.advance(5)
        assert hand.claim_one().envelope.parked == 0
