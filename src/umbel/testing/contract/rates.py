"""Rates, and the rules that say them."""

from __future__ import annotations

import math

import pytest

from ...broker import Blame, Settle
from ...facets import Limits, Waits, require
from ...lane import Mark, Rule
from ...outcome import Done, Released, Retry
from .harness import Hand, Harness, envelope, ids, needs
from .lanes import HOUR, few, limited, nothing_left

SLOW = Rule(1, HOUR)


class TestRates:
    @needs(Limits)
    def test_a_burst_then_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(f"m{i}", rule=Rule(1, HOUR, 3)) for i in range(9)])
        hand = Hand(broker)
        got = hand.claim(9)
        assert ids(got) == ["m0", "m1", "m2"]
        hand.done(*got)
        assert hand.claim(9) == [], "a place is free, and a token is not"

    @needs(Limits)
    def test_next_due_says_when_there_is_a_token(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(rule=Rule(10, HOUR)) for _ in range(3)])
        broker.enqueue([envelope(after=HOUR * 2), limited(queue="r", lane="task:b", rule=SLOW)])
        hand = Hand(broker)
        answer = hand.exchange((), ["q"], 9)
        assert len(answer.deliveries) == 1
        assert answer.next_due is not None and HOUR / 10 - 101 <= answer.next_due <= HOUR / 10
        hand.claim(9, "r")
        assert hand.exchange((), ["r"], 9).next_due is None, "nothing waits there any more"

    @needs(Limits)
    def test_of_a_group_too(self, harness: Harness) -> None:
        broker = harness.broker()
        group = Mark("task:g", "task:g", Rule(10, HOUR))
        broker.enqueue([limited(lane=f"lock:{i}", group=group) for i in range(3)])
        answer = Hand(broker).exchange((), ["q"], 9)
        assert len(answer.deliveries) == 1
        assert answer.next_due is not None and HOUR / 10 - 101 <= answer.next_due <= HOUR / 10

    @needs(Limits)
    @pytest.mark.parametrize(("count", "period"), [(1000, 10_000), (5000, 10_000), (50_000, 10_000)])
    def test_as_many_as_the_rate_says_over_time(self, harness: Harness, count: int, period: int) -> None:
        if harness.clock is None:
            return  # exact only on a clock that is moved by hand; what a real one does is measured by the bench
        broker = harness.broker()
        rule, hand, got = Rule(count, period, 5), Hand(broker), 0
        for _ in range(6):
            broker.enqueue([limited(rule=rule) for _ in range(1000)])
        for ms in range(1001):
            some = hand.claim(500)
            hand.done(*some)
            got += len(some)
            if ms < 1000:
                harness.clock.advance(1)
        least = count * 1000 / period
        assert least <= got <= least + 5 + count / period * 100 + 1

    @needs(Limits)
    @pytest.mark.parametrize("way", ["give_back", "leave", "retire", "released"])
    def test_what_was_not_begun_gives_its_token_back(self, harness: Harness, way: str) -> None:
        broker = harness.broker()
        broker.enqueue([limited(id, rule=SLOW) for id in "ab"])
        hand = Hand(broker, "w2.a", "w2")
        a = hand.claim_one()
        if way == "give_back":
            broker.give_back("w2.a", [a.receipt])
        elif way == "leave":
            broker.leave("w2")
        elif way == "retire":
            broker.retire("w2.a", [])
        else:
            hand.settle(a, Released(0, "unbegun"))
        other = Hand(broker)
        assert other.ids(9) == ["a"] and other.ids(9) == []

    @needs(Limits)
    @pytest.mark.parametrize("way", ["retry", "shutdown", "blamed", "unknown", "rescue"])
    def test_what_ran_does_not(self, harness: Harness, way: str) -> None:
        broker = harness.broker()
        broker.enqueue([limited(id, rule=SLOW) for id in "ab"])
        hand = Hand(broker, "w2.a", "w2")
        a = hand.claim_one()
        if way == "retry":
            hand.settle(a, Retry(0))
        elif way == "shutdown":
            hand.settle(a, Released(0, "shutdown"))
        elif way == "rescue":
            harness.lapse(broker, "w2")
            broker.maintain(rescue=True)
        else:
            broker.retire("w2.a", [Blame(a.receipt)] if way == "blamed" else None)
        assert Hand(broker).ids(9) == []

    @needs(Limits)
    @pytest.mark.parametrize("step", [HOUR, -HOUR])
    def test_the_stores_clock_is_set(self, harness: Harness, step: int) -> None:
        if harness.clock is None:
            return  # nobody can set it
        broker = harness.broker()
        rule, hand = Rule(10, 1000, 2), Hand(broker)
        broker.enqueue([limited(rule=rule) for _ in range(50)])
        assert len(hand.claim(9)) == 3
        assert hand.claim(9) == []
        harness.clock.step(step)
        broker.renew("w1", 600)
        got = len(hand.claim(9))
        harness.clock.advance(200)
        assert 1 <= got + len(hand.claim(9)) <= 5, "within one burst's time"
        harness.clock.advance(1000)
        assert len(hand.claim(9)) == 3

    @needs(Limits)
    def test_its_state_goes_when_it_is_full_again(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([limited(rule=Rule(100, 1000)) for _ in range(3)])
        hand = Hand(broker)
        hand.done(*hand.claim(9))
        harness.advance(200)
        nothing_left(harness, broker)

    @needs(Limits, name="live_harness")
    def test_a_wait_ends_when_there_is_a_token(self, live_harness: Harness) -> None:
        broker = live_harness.broker()
        broker.enqueue([limited(rule=Rule(5, 1000)) for _ in range(2)])
        hand = Hand(broker)
        answer = hand.exchange((), ["q"], 9)
        assert len(answer.deliveries) == 1
        for _ in range(100):
            broker.wait(["q"], 5.0 if (due := answer.next_due) is None else due / 1000)
            answer = hand.exchange((), ["q"], 9)
            if answer.deliveries:
                break
        assert len(answer.deliveries) == 1


class TestRules:
    @needs(Limits)
    def test_a_message_makes_its_rule_known_and_no_more(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        broker.enqueue([limited("a", rule=few(1)), limited("b", rule=few(5)), limited("c", rule=few(5))])
        assert limits.rules()["task:a"].numbers == few(1)
        assert Hand(broker).ids(9) == ["a"]

    @needs(Limits)
    def test_what_is_declared_counts_instead(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        broker.enqueue([limited(id) for id in "abcdef"])
        hand = Hand(broker)
        assert hand.ids(9) == ["a"]
        limits.declare({"task:a": few(3), "task:other": SLOW})
        assert hand.ids(9) == ["b", "c"], "in force at once"
        assert limits.rules()["task:a"].numbers == few(3) and limits.rules()["task:other"].numbers == SLOW
        limits.declare({"task:a": few(1)})
        assert hand.claim(9) == []

    @needs(Limits)
    def test_an_operators_word_counts_until_it_is_cleared(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        limits.declare({"task:a": Rule(1, HOUR, 1, 2)})
        limits.override("task:a", Rule(100, 1, 100))
        broker.enqueue([limited(id) for id in "abcdef"])
        hand = Hand(broker)
        got = hand.claim(9)
        assert ids(got) == ["a", "b"], "the concurrency is the declared one"
        limits.override("task:a", few(3))
        limits.declare({"task:a": Rule(2, HOUR, 1, 2)})
        assert hand.ids(9) == ["c"]
        assert limits.rules()["task:a"].numbers == Rule(100, 1, 100, 3)
        assert limits.clear("task:a", rate=False)
        assert limits.rules()["task:a"].numbers == Rule(100, 1, 100, 2)
        assert limits.clear("task:a") and not limits.clear("task:a")
        assert limits.rules()["task:a"].numbers == Rule(2, HOUR, 1, 2)

    @needs(Limits)
    def test_none_at_all_and_no_limit(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        broker.enqueue([limited(id, rule=Rule(1, HOUR, 1, 1)) for id in "abc"])
        hand = Hand(broker)
        limits.override("task:a", Rule(0))
        answer = hand.exchange((), ["q"], 9)
        assert (answer.deliveries, answer.next_due) == ([], None), "no time makes room"
        assert [s.waits for s in limits.lanes().lanes] == [Waits.RATE]
        limits.override("task:a", Rule(-1, concurrency=-1))
        assert hand.ids(9) == ["a", "b", "c"]

    @needs(Limits)
    def test_one_rule_of_many_limits(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        broker.enqueue([envelope(f"{key}{i}", extras={1: Mark(f"key:{key}", "key", few(1)).pack()}) for key in "xy" for i in range(3)])
        hand = Hand(broker)
        assert hand.ids(9) == ["x0", "y0"]
        limits.override("key", few(2))
        assert hand.ids(9) == ["x1", "y1"]

    @needs(Limits, name="live_harness")
    def test_a_change_wakes_who_waits(self, live_harness: Harness) -> None:
        from .harness import in_thread

        broker = live_harness.broker()
        broker.enqueue([limited(id) for id in "ab"])
        Hand(broker).claim_one()
        join = in_thread(live_harness, lambda other: other.wait(["q"], 5.0))
        require(broker, Limits).override("task:a", few(2))
        assert join()

    @needs(Limits)
    def test_a_rate_that_was_slow_owes_nothing_under_a_faster_one(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        broker.enqueue([limited(rule=SLOW) for _ in range(9)])
        hand = Hand(broker)
        [one] = hand.claim(9)
        hand.exchange([Settle(one.receipt, Done())])
        limits.override("task:a", Rule(100, 1000))
        answer = hand.exchange((), ["q"], 9)
        # one ms more: now and the token's time are whole ms, each rounded
        assert answer.deliveries or (answer.next_due is not None and answer.next_due <= math.ceil(1000 / 100) + 1)
        if not answer.deliveries:
            harness.advance(20)
            assert hand.claim(9), "what was brought near must stay near, and not be worked out anew at each look"
