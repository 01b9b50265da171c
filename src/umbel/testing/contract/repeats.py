"""Every verb may be repeated after a lost reply, and one that did not arrive did nothing."""

from __future__ import annotations

import pytest

from ...broker import Broker, Settle, Verdict
from ...envelope import EXPLICIT
from ...errors import BrokerUnreachable, ReplyLost
from ...outcome import Done, Retry
from ..faults import Fault, FaultyBroker, insist
from .harness import LONG, Hand, Harness, counts, crash, envelope, ids, several

RAISES = {Fault.BEFORE: BrokerUnreachable, Fault.AFTER: ReplyLost}
both = pytest.mark.parametrize("fault", list(Fault))


def faulty(harness: Harness) -> tuple[FaultyBroker, Broker]:
    """A handle with faults, and one without to look at what happened."""
    return FaultyBroker(harness.broker()), harness.broker()


class TestRepeating:
    @both
    def test_the_wrapper_fails_as_it_says(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        broker.fail("enqueue", 2, fault)
        broker.enqueue([envelope("a")])
        with pytest.raises(RAISES[fault]):
            broker.enqueue([envelope("b")])
        broker.enqueue([envelope("c")])
        assert Hand(sound).ids() == (["a", "c"] if fault is Fault.BEFORE else ["a", "b", "c"])

    @both
    def test_enqueue_with_explicit_ids(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sent = several(5, flags=EXPLICIT)
        broker.fail_next("enqueue", fault)
        answer = insist(broker.enqueue, sent)
        assert [r.id for r in answer] == ids(sent)
        assert [r.duplicate_of for r in answer] == ([None] * 5 if fault is Fault.BEFORE else ids(sent))
        assert Hand(sound).ids() == ids(sent)

    @both
    def test_exchange_with_the_same_number(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue(several(6))
        hand = Hand(broker)
        a, b, c = hand.claim(3)
        sound.give_back(hand.name, [c.receipt])
        settles = [Settle(a.receipt, Done(), (envelope("then"),)), Settle(b.receipt, Retry(600_000)), Settle(c.receipt, Done())]
        broker.fail_next("exchange", fault)
        answer = insist(hand.exchange, settles, ["q"], 2)
        assert answer.verdicts == [Verdict.WON, Verdict.WON, Verdict.SUPERSEDED]
        assert [d.envelope.delivery for d in answer.deliveries] == [2, 1]
        assert counts(sound) == (3, 1, 2, 0), "four waited and one came with a settle, two were claimed"
        assert sound.resume(hand.name) == answer.deliveries

    @both
    def test_admit_and_renew(self, harness: Harness, fault: Fault) -> None:
        broker, _ = faulty(harness)
        broker.fail_next("renew", fault)
        broker.fail_next("admit", fault)
        insist(broker.renew, "w1", LONG)
        insist(broker.admit, "w1", "w1.a")
        Hand(broker, admit=False).exchange()

    @both
    def test_give_back(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue(sent := several(4))
        hand, other = Hand(broker), Hand(sound, "w1.b")
        held = hand.claim(3)
        broker.fail_next("give_back", fault)
        insist(broker.give_back, hand.name, [d.receipt for d in held[:2]])
        assert counts(sound) == (3, 0, 1, 0)
        assert other.ids() == [sent[0].id, sent[1].id, sent[3].id]

    @both
    def test_a_give_back_repeated_late_takes_nothing_from_the_next_holder(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue([envelope()])
        hand, other = Hand(broker), Hand(sound, "w1.b")
        late = hand.claim_one()
        broker.fail_next("give_back", fault)
        with pytest.raises(RAISES[fault]):
            broker.give_back(hand.name, [late.receipt])
        if fault is Fault.BEFORE:
            broker.give_back(hand.name, [late.receipt])
        held = other.claim_one()
        assert broker.give_back(hand.name, [late.receipt]) == 0
        assert other.done(held) == [Verdict.WON]

    @both
    def test_retire(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue(several(3))
        hand = Hand(broker)
        held = hand.claim(3)
        broker.fail_next("retire", fault)
        insist(broker.retire, hand.name, [crash(held[0])])
        assert counts(sound) == (3, 0, 0, 0)
        assert Hand(sound, "w1.b").claim_one().envelope.crashes == 1

    @both
    def test_leave(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue(several(3))
        Hand(broker).claim(2)
        broker.fail_next("leave", fault)
        insist(broker.leave, "w1")
        assert counts(sound) == (3, 0, 0, 0)
        assert {d.envelope.losses for d in Hand(sound, "w2.a", "w2").claim()} == {0}

    @both
    def test_maintain(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue([envelope("a"), envelope("b", after=5)])
        Hand(sound).claim_one()
        harness.lapse(sound, "w1")
        broker.fail_next("maintain", fault)
        insist(broker.maintain, rescue=True)
        assert counts(sound) == (2, 0, 0, 0)
        assert {d.envelope.losses for d in Hand(sound, "w2.a", "w2").claim()} == {1}

    @both
    def test_purge(self, harness: Harness, fault: Fault) -> None:
        broker, sound = faulty(harness)
        sound.enqueue([*several(3), envelope(queue="r")])
        broker.fail_next("purge", fault)
        insist(broker.purge, "q")
        assert (counts(sound), counts(sound, "r")) == ((0, 0, 0, 0), (1, 0, 0, 0))
