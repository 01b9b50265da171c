"""What a supervisor's verbs promise: renew, resume, give back, retire, leave, and the rescue in ``maintain``."""

from __future__ import annotations

import pytest

from ...broker import Blame, Removed, Settle, Verdict
from ...envelope import ALONE, LOST_DEAD
from ...errors import Fenced
from ...outcome import Done
from .harness import LONG, Hand, Harness, counts, crash, envelope, ids, maintain_all, nowhere, several


class TestRenew:
    def test_known_from_the_second_time_on(self, harness: Harness) -> None:
        broker = harness.broker()
        first, second = broker.renew("w1", LONG, b"about"), broker.renew("w1", LONG)
        assert (first.known, first.lost, first.commands) == (False, [], [])
        assert (second.known, second.lost, second.commands) == (True, [], [])
        assert broker.ping() >= second.now >= first.now > 0

    def test_after_a_rescue_it_is_unknown_and_has_lost_its_holders(self, harness: Harness) -> None:
        broker = harness.broker()
        Hand(broker, "w1.a")
        Hand(broker, "w1.b")
        Hand(broker, "w2.a", "w2")
        harness.lapse(broker, "w1")
        broker.maintain(rescue=True)
        answer = broker.renew("w1", LONG)
        assert not answer.known
        assert sorted(answer.lost) == ["w1.a", "w1.b"]
        assert broker.renew("w1", LONG).known
        assert broker.renew("w2", LONG).lost == []

    def test_a_late_renewal_before_any_rescue_loses_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        held = hand.claim_one()
        harness.lapse(broker, "w1")
        answer = broker.renew("w1", LONG)
        assert (answer.known, answer.lost) == (True, [])
        assert hand.done(held) == [Verdict.WON]

    def test_one_heartbeat_is_for_all_holders(self, harness: Harness) -> None:
        broker = harness.broker()
        hands = [Hand(broker, f"w1.{i}") for i in range(3)]
        harness.lapse(broker, "w1")
        broker.renew("w1", LONG)
        for hand in hands:
            hand.exchange()


class TestResume:
    def test_all_that_is_held_in_the_order_of_its_receipts(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(14))
        hand = Hand(broker)
        held = hand.claim(12) + hand.claim(2)
        assert harness.broker().resume(hand.name) == held
        hand.done(held[0], held[5])
        assert broker.resume(hand.name) == [*held[1:5], *held[6:]]

    def test_not_fenced_and_empty_for_whom_nobody_knows(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        held = hand.claim(1)
        harness.lapse(broker, "w1")
        assert broker.resume(hand.name) == held
        assert broker.resume("nobody") == []


class TestGiveBack:
    def test_in_front_in_their_old_order_however_they_are_named(self, harness: Harness) -> None:
        broker, sent = harness.broker(), several(15)
        broker.enqueue(sent)
        hand = Hand(broker)
        held = hand.claim(12)
        assert broker.give_back(hand.name, [held[11].receipt, held[2].receipt, held[1].receipt]) == 3
        back = hand.claim()
        assert ids(back) == [sent[1].id, sent[2].id, sent[11].id, *ids(sent[12:])]

    def test_each_to_its_own_queue_and_priority(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("hi", priority=9), envelope("lo", priority=1), envelope("other", "r")])
        hand = Hand(broker)
        held = hand.claim(9, "q", "r")
        broker.enqueue([envelope("hi2", priority=9), envelope("lo2", priority=1), envelope("other2", "r")])
        assert broker.give_back(hand.name, [d.receipt for d in held]) == 3
        assert hand.ids(9, "q", "r") == ["hi", "hi2", "lo", "lo2", "other", "other2"]

    def test_nothing_is_counted_but_the_hand_over(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", attempt=3, crashes=1, losses=1)])
        hand = Hand(broker)
        broker.give_back(hand.name, [hand.claim_one().receipt])
        e = hand.claim_one().envelope
        assert (e.attempt, e.crashes, e.losses, e.delivery, e.flags) == (3, 1, 1, 2, 0)

    def test_what_is_not_held_is_passed_over(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(3))
        hand = Hand(broker)
        a, b, c = hand.claim(3)
        hand.done(a)
        assert broker.give_back(hand.name, [a.receipt, b.receipt, b.receipt, nowhere(hand.name)]) == 1
        assert broker.give_back(hand.name, [b.receipt]) == 0
        assert broker.give_back("nobody", [c.receipt]) == 0
        assert counts(broker) == (1, 0, 1, 0)


class TestLeave:
    def test_all_goes_back_uncharged_and_the_worker_is_forgotten(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a"), envelope("b"), envelope("c"), envelope("held by another")])
        one, two, other = Hand(broker, "w1.a"), Hand(broker, "w1.b"), Hand(broker, "w2.a", "w2")
        one.claim(2)
        two.claim(1)
        other.claim(1)
        assert broker.leave("w1").returned == 3
        assert counts(broker) == (3, 0, 1, 0)
        assert broker.leave("w1").returned == 0
        assert not broker.renew("w1", LONG).known
        back = other.claim()
        assert sorted(ids(back)) == ["a", "b", "c"]
        assert ids(back).index("a") < ids(back).index("b")
        assert {(d.envelope.attempt, d.envelope.crashes, d.envelope.losses, d.envelope.flags) for d in back} == {(1, 0, 0, 0)}

    def test_lost_dead_goes_back_like_the_rest(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", flags=LOST_DEAD)])
        Hand(broker).claim_one()
        assert broker.leave("w1").returned == 1
        assert Hand(broker, "w2.a", "w2").ids() == ["a"]

    def test_whom_nobody_knows(self, harness: Harness) -> None:
        assert harness.broker().leave("nobody").returned == 0


class TestNewerFormat:
    """A newer worker may hold what this release cannot read; whoever cleans up after it must not stumble, nor touch it."""

    def test_rescued_as_it_is_and_the_round_goes_on(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([*several(2), envelope("mine", "r", expires=1)])
        Hand(broker).claim(2)
        harness.age("w1.a")
        Hand(broker, "w2.a", "w2")
        harness.lapse(broker, "w1")
        done = broker.maintain(rescue=True)
        assert done.rescued == [("w1", 2)] and done.buried == []
        assert counts(broker) == (2, 0, 0, 0)
        assert counts(broker, "r") == (0, 0, 0, 0), "the rest of the round was done too"

    @pytest.mark.parametrize("blamed", [True, False])
    def test_back_as_it_is_when_its_holder_is_retired(self, harness: Harness, blamed: bool) -> None:
        broker = harness.broker()
        broker.enqueue(several(2))
        held = Hand(broker).claim(2)
        harness.age("w1.a")
        answer = broker.retire("w1.a", [Blame(held[0].receipt)] if blamed else None, "killed")
        assert (answer.returned, answer.blamed, answer.removed) == (2, [], [])
        assert counts(broker) == (2, 0, 0, 0)

    def test_back_when_its_worker_leaves(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(2))
        Hand(broker).claim(2)
        harness.age("w1.a")
        assert broker.leave("w1").returned == 2
        assert counts(broker) == (2, 0, 0, 0)


class TestRescue:
    def test_only_when_asked(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        Hand(broker).claim_one()
        harness.lapse(broker, "w1")
        assert broker.maintain().rescued == []
        assert counts(broker) == (0, 0, 1, 0)
        assert broker.maintain(rescue=True).rescued == [("w1", 1)]
        assert counts(broker) == (1, 0, 0, 0)

    def test_an_order_that_comes_too_late_rescues_nobody(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        Hand(broker).claim_one()
        harness.lapse(broker, "w1")
        now = broker.ping()
        assert broker.maintain(rescue=True, until=now - 1).rescued == []
        assert broker.maintain(until=now + 60_000).rescued == []
        assert counts(broker) == (0, 0, 1, 0)
        assert broker.maintain(rescue=True, until=now + 60_000).rescued == [("w1", 1)]

    def test_a_live_worker_is_left_alone(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue(several(2))
        live = Hand(broker, "w1.a", "w1")
        Hand(broker, "w2.a", "w2").claim(1)
        held = live.claim_one()
        harness.lapse(broker, "w2")
        assert broker.maintain(rescue=True).rescued == [("w2", 1)]
        assert live.done(held) == [Verdict.WON]

    def test_in_front_charged_a_loss_and_alone(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", attempt=2, crashes=1), envelope("b"), envelope("c")])
        Hand(broker).claim(2)
        harness.lapse(broker, "w1")
        broker.maintain(rescue=True)
        other = Hand(broker, "w2.a", "w2")
        [a] = other.claim()
        e = a.envelope
        assert (e.id, e.losses, e.crashes, e.attempt, e.delivery) == ("a", 1, 1, 2, 2)
        assert e.flags & ALONE
        answer = other.exchange([Settle(a.receipt, Done())], ["q"], 9)
        assert ids(answer.deliveries) == ["b"]
        assert ids(other.exchange([Settle(answer.deliveries[0].receipt, Done())], ["q"], 9).deliveries) == ["c"]

    def test_the_limit_of_losses(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("limited", loss_limit=2), envelope("endless", "r", loss_limit=0, losses=200)])
        for i in range(1, 3):
            worker = f"w{i}"
            Hand(broker, f"{worker}.a", worker).claim(1)
            Hand(broker, f"{worker}.b", worker).claim(1, "r")
            harness.lapse(broker, worker)
            answer = broker.maintain(rescue=True)
            assert answer.buried == ([Removed("limited", "q", "worker_lost")] if i == 2 else [])
            assert answer.rescued == [(worker, 1 if i == 2 else 2)]
        assert counts(broker) == (0, 0, 0, 1)
        assert counts(broker, "r") == (1, 0, 0, 0)

    def test_lost_dead_is_buried_at_once(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", flags=LOST_DEAD)])
        Hand(broker).claim_one()
        harness.lapse(broker, "w1")
        assert broker.maintain(rescue=True).buried == [Removed("a", "q", "worker_lost")]
        assert counts(broker) == (0, 0, 0, 1)

    def test_the_late_one_is_superseded_by_the_fence(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        zombie, other = Hand(broker, "w1.a", "w1"), Hand(broker, "w2.a", "w2")
        late = zombie.claim_one()
        harness.lapse(broker, "w1")
        broker.maintain(rescue=True)
        held = other.claim_one()
        broker.renew("w1", LONG)
        with pytest.raises(Fenced):
            zombie.settle(late, Done(), envelope("then"))
        assert broker.resume(zombie.name) == []
        assert broker.give_back(zombie.name, [late.receipt]) == 0
        assert broker.retire(zombie.name, [crash(late)]).returned == 0
        assert counts(broker) == (0, 0, 1, 0)
        assert other.done(held) == [Verdict.WON]

    def test_any_number_of_times_from_any_handle(self, harness: Harness) -> None:
        one, two = harness.broker(), harness.broker()
        one.enqueue([envelope("a")])
        Hand(one).claim_one()
        harness.lapse(one, "w1")
        rescued = [r for b in (one, two, one, two) for r in b.maintain(rescue=True).rescued]
        assert rescued == [("w1", 1)]
        assert Hand(one, "w2.a", "w2").claim_one().envelope.losses == 1

    def test_a_thousand_messages_and_more(self, harness: Harness) -> None:
        broker, sent = harness.broker(), several(1000)
        broker.enqueue(sent)
        broker.enqueue(more := several(500))
        hand = Hand(broker)
        assert len(hand.claim(1000)) + len(hand.claim(1000)) == 1500
        harness.lapse(broker, "w1")
        maintain_all(broker, rescue=True)
        maintain_all(broker, rescue=True)
        assert counts(broker) == (len(sent) + len(more), 0, 0, 0)
