"""What ``wait`` promises. On the machine's clock: whoever waits, waits for real."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from ...broker import WAIT_MAX, Broker, Settle
from ...envelope import LOST_DEAD, Envelope
from ...facets import Inspects, require
from ...outcome import Done, Retry
from .harness import Hand, Harness, envelope, in_thread, needs, several, timed

PROMPT = WAIT_MAX / 2
"""Seconds: a wait that is woken ends long before, one whose wake-up is lost ends at ``WAIT_MAX``."""
SETTLE_IN = 0.1
"""A pause for the waiter to have begun to wait. Too short only makes a test weaker, never red."""

Begin = Callable[[], tuple[bool, float]]


def waiting(harness: Harness, *queues: str, timeout: float = WAIT_MAX) -> Begin:
    """Somebody who waits by another handle, in another thread."""
    join = in_thread(harness, lambda broker: timed(lambda: broker.wait(queues or ("q",), timeout)))
    time.sleep(SETTLE_IN)
    return join


def assert_woken(join: Begin) -> None:
    answer, took = join()
    assert answer, "it was not told"
    assert took < PROMPT, "it was told, but only when its time was over"


class TestWait:
    def test_what_is_there_already_is_not_waited_for(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([envelope()])
        answer, took = timed(lambda: broker.wait(["other", "q"], WAIT_MAX))
        assert answer and took < PROMPT

    def test_an_enqueue_wakes(self, live_harness: Harness) -> None:
        join = waiting(live_harness, "other", "q")
        live_harness.broker().enqueue([envelope()])
        assert_woken(join)

    def test_again_and_again(self, live_harness: Harness) -> None:
        def job(broker: Broker) -> list[str]:
            hand, got = Hand(broker), list[str]()
            while len(got) < 20:
                assert broker.wait(["q"], WAIT_MAX), f"nobody woke it after {len(got)}"
                got += hand.ids(5)
            return got

        broker, sent = live_harness.broker(), several(20)
        join, begin = in_thread(live_harness, job), timed
        for item in sent:
            broker.enqueue([item])
            time.sleep(0.005)
        got, took = begin(join)
        assert sorted(got) == sorted(e.id for e in sent)
        assert took < PROMPT

    def test_each_of_several_that_wait_gets_its_share(self, live_harness: Harness) -> None:
        def job(name: str) -> Callable[[Broker], list[str]]:
            def run(broker: Broker) -> list[str]:
                hand = Hand(broker, f"{name}.a", name)
                assert broker.wait(["q"], WAIT_MAX)
                return hand.ids(1)

            return run

        joins = [in_thread(live_harness, job(f"w{i}")) for i in range(3)]
        time.sleep(SETTLE_IN)
        live_harness.broker().enqueue(sent := several(30))
        got, took = timed(lambda: [id for join in joins for id in join()])
        assert sorted(got) == sorted(e.id for e in sent[:3])
        assert took < PROMPT, "one of them was left asleep while there was work"

    def test_nothing_for_it_is_false_after_the_time(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([envelope(queue="other"), envelope(after=600_000)])
        for _ in range(5):  # True may be wrong, for instance because the schedule changed; but not for ever
            answer, took = timed(lambda: broker.wait(["q"], 0.2))
            if not answer:
                assert took >= 0.19
                return
        raise AssertionError("five times it said that something may be claimable, and there is nothing")

    def test_no_time_at_all_is_a_look(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        answer, took = timed(lambda: broker.wait(["q"], 0))
        assert not answer and took < PROMPT

    def test_what_becomes_due_meanwhile_wakes(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([envelope(after=300)])
        hand = Hand(broker)
        answer = hand.exchange((), ["q"], 1)
        if not answer.deliveries:
            assert answer.next_due is not None
            woken, took = timed(lambda: broker.wait(["q"], WAIT_MAX))
            assert woken and took < PROMPT

    def test_next_due_is_a_good_timeout(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([envelope("a", after=200)])
        hand, got = Hand(broker), list[str]()
        for _ in range(20):
            answer = hand.exchange((), ["q"], 1)
            got += [d.envelope.id for d in answer.deliveries]
            if got or answer.next_due is None:
                break
            broker.wait(["q"], answer.next_due / 1000)
        assert got == ["a"]

    def test_an_earlier_time_wakes_who_waits_for_a_later_one(self, live_harness: Harness) -> None:
        live_harness.broker().enqueue([envelope(after=600_000)])
        join = waiting(live_harness)
        live_harness.broker().enqueue([envelope(after=100)])
        assert_woken(join)

    def test_who_gets_work_leaves_each_queues_clock_to_another(self, live_harness: Harness) -> None:
        def serve_both(broker: Broker) -> list[str]:
            hand, got = Hand(broker), list[str]()
            while not got:
                broker.wait(["a", "b"], WAIT_MAX)
                got = hand.ids(1, "a", "b")
            return got

        broker = live_harness.broker()
        broker.enqueue([envelope("later", "a", after=900)])
        both = in_thread(live_harness, serve_both)  # waits longest, so it is told of what is next, and watches both clocks
        time.sleep(SETTLE_IN)
        join = waiting(live_harness, "b")
        broker.enqueue([envelope("latest", "b", after=1_200)])
        time.sleep(SETTLE_IN)
        broker.enqueue([envelope("now", "a")])
        assert both() == ["now"]
        assert_woken(join)

    def test_give_back_retire_and_leave_wake(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        for i, end in enumerate(("give_back", "retire", "leave")):
            queue = f"q{i}"
            broker.enqueue([envelope(queue=queue)])
            hand = Hand(broker, f"w{i}.a", f"w{i}")
            held = hand.claim_one(queue)
            while broker.wait([queue], 0):  # an old wake-up may be left over: True may be wrong
                hand.claim(1, queue)
            join = waiting(live_harness, queue)
            ends = {"retire": lambda h=hand: broker.retire(h.name), "leave": lambda h=hand: broker.leave(h.worker)}
            ends.get(end, lambda h=hand, r=held.receipt: broker.give_back(h.name, [r]))()
            assert_woken(join)

    def test_a_rescue_wakes(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([envelope()])
        Hand(broker).claim_one()
        join = waiting(live_harness)
        live_harness.lapse(broker, "w1")
        broker.maintain(rescue=True)
        assert_woken(join)

    def test_what_a_settle_makes_ready_wakes(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue(several(2))
        hand = Hand(broker)
        a, b = hand.claim(2)
        then, retry = waiting(live_harness, "then"), waiting(live_harness, "q")
        hand.exchange([Settle(a.receipt, Done(), (envelope(queue="then"),)), Settle(b.receipt, Retry(0))])
        assert_woken(then)
        assert_woken(retry)

    def test_ends_early_when_told_to_stop_and_reads_nothing(self, live_harness: Harness) -> None:
        ear, mouth = os.pipe()
        try:
            join = in_thread(live_harness, lambda broker: timed(lambda: broker.wait(["q"], WAIT_MAX, ear)))
            time.sleep(SETTLE_IN)
            os.write(mouth, b"stop")
            _, took = join()
            assert took < PROMPT
            assert os.read(ear, 10) == b"stop"
        finally:
            os.close(ear)
            os.close(mouth)

    def test_who_is_told_to_stop_leaves_the_clock_to_another(self, live_harness: Harness) -> None:
        ear, mouth = os.pipe()
        try:
            broker = live_harness.broker()
            stopped = in_thread(live_harness, lambda broker: [broker.wait(["q"], WAIT_MAX, ear) for _ in range(2)])
            time.sleep(SETTLE_IN)
            join = waiting(live_harness)
            broker.enqueue([envelope(after=1_000)])  # whoever waits longest is told, and waits for it again
            time.sleep(SETTLE_IN)
            os.write(mouth, b"stop")
            stopped()
            assert_woken(join)
        finally:
            os.close(ear)
            os.close(mouth)

    def test_told_before_it_began(self, live_harness: Harness) -> None:
        ear, mouth = os.pipe()
        try:
            os.write(mouth, b"stop")
            _, took = timed(lambda: live_harness.broker().wait(["q"], WAIT_MAX, ear))
            assert took < PROMPT
        finally:
            os.close(ear)
            os.close(mouth)

    @pytest.mark.timeout(30)
    def test_never_longer_than_its_most(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        _, took = timed(lambda: broker.wait(["q"], 3600))
        assert took < WAIT_MAX + PROMPT


class TestWaitAndPause:
    @needs(Inspects, name="live_harness")
    def test_a_paused_queue_has_nothing_to_wait_for_until_it_is_resumed(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        inspects = require(broker, Inspects)
        broker.enqueue([envelope()])
        inspects.pause_queue("q")
        Hand(broker).claim()
        broker.wait(["q"], 0)  # an old wake-up may be left over: True may be wrong
        join = waiting(live_harness)
        inspects.resume_queue("q")
        assert_woken(join)


class TestWaitWithFullHands:
    """One who holds deliveries does not get what is handed out alone: nobody wakes him for it, and nothing else is kept from him."""

    def holding(self, harness: Harness, *next_ones: Envelope) -> Hand:
        """One who holds a delivery, and claimed in vain while those stand there."""
        hand = Hand(harness.broker())
        hand.broker.enqueue([envelope("held"), *next_ones])
        assert [d.envelope.id for d in hand.claim(1)] == ["held"]
        assert hand.ids(1) == []
        return hand

    def test_what_goes_out_alone_is_not_for_him_and_he_does_not_spin(self, live_harness: Harness) -> None:
        hand = self.holding(live_harness, envelope("alone", flags=LOST_DEAD), envelope("behind"))
        for _ in range(3):
            answer, took = timed(lambda: hand.broker.wait(["q"], 0.15, alone=False))
            assert not answer and took >= 0.14
            assert hand.ids(1) == []
        assert hand.broker.wait(["q"], 0), "with empty hands it is"

    def test_but_for_another_one_who_waits(self, live_harness: Harness) -> None:
        hand = self.holding(live_harness)
        first = in_thread(live_harness, lambda broker: broker.wait(["q"], 0.5, alone=False))  # whoever waits longest is woken first
        time.sleep(SETTLE_IN)
        join = waiting(live_harness)
        live_harness.broker().enqueue([envelope("alone", flags=LOST_DEAD)])
        assert_woken(join)
        assert not first()
        assert hand.ids(1) == []

    def test_passed_on_to_one_who_comes_later(self, live_harness: Harness) -> None:
        hand = self.holding(live_harness, envelope("alone", flags=LOST_DEAD))
        assert not hand.broker.wait(["q"], 0.1, alone=False)
        assert_woken(waiting(live_harness))

    def test_what_stands_behind_is_his_once_somebody_took_it(self, live_harness: Harness) -> None:
        hand = self.holding(live_harness, envelope("alone", flags=LOST_DEAD), envelope("behind"))
        join = in_thread(live_harness, lambda broker: timed(lambda: broker.wait(["q"], WAIT_MAX, alone=False)))
        time.sleep(SETTLE_IN)
        assert Hand(live_harness.broker(), "w2.a", "w2").ids(5) == ["alone"]
        assert_woken(join)
        assert hand.ids(5) == ["behind"]

    @pytest.mark.parametrize("queue", ["q", "r"])
    def test_what_is_more_urgent_or_stands_elsewhere_is_his(self, live_harness: Harness, queue: str) -> None:
        hand = self.holding(live_harness, envelope("alone", flags=LOST_DEAD))
        join = in_thread(live_harness, lambda broker: timed(lambda: broker.wait(["q", "r"], WAIT_MAX, alone=False)))
        time.sleep(SETTLE_IN)
        live_harness.broker().enqueue([envelope("urgent", queue, priority=9)])
        assert_woken(join)
        assert hand.ids(5, "q", "r") == ["urgent"]

    def test_one_that_will_be_dropped_is_in_nobodys_way(self, live_harness: Harness) -> None:
        hand = self.holding(live_harness)
        hand.broker.enqueue([envelope("alone", flags=LOST_DEAD, expires=hand.broker.ping() + 1), envelope("behind")])
        live_harness.advance(2)
        assert hand.broker.wait(["q"], WAIT_MAX, alone=False)
        assert hand.ids(5) == ["behind"]
