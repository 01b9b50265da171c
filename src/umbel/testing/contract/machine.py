"""A random walk through the contract against a small model, for the promises that no single example shows.

The model says where each accepted message is. It does not predict which message comes next (the other tests do), but checks that
whatever is handed out was there to be handed out, that nobody else holds it, that its counters are what happened to it and
nothing else, and, at the end of each walk, that everything accepted is still there. How long it walks, ``profile.py`` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ...broker import Blame, Broker, Exchanged, Settle, Verdict
from ...envelope import EXPLICIT, LOST_DEAD, Delivery, Envelope
from ...errors import Fenced, SequenceError
from ...facets import Cancelled, Inspects, require
from ...outcome import Dead, Done, Dropped, Outcome, Released, Retry
from .chance import CHANCE, Chance, when
from .harness import LONG, Hand, Harness, counts, envelope, has, nowhere
from .model import Consumer, Known
from .profile import PROFILE, THOROUGH

QUEUES = ("qa", "qb")
WORKERS = ("w0", "w1")
CRASH_LIMIT, LOSS_LIMIT = 2, 2
ASKED = st.sampled_from([["qa", "qb"], ["qb", "qa"], ["qa"], ["qb"]])


class Walk(RuleBasedStateMachine):
    """See the module. ``fresh`` makes a harness; one walk, one store."""

    def __init__(self, fresh: Callable[[], Harness]) -> None:
        super().__init__()
        self.harness = fresh()
        self.brokers: list[Broker] = [self.harness.broker(), self.harness.broker()]
        self.known: dict[str, Known] = {}
        self.consumers: dict[str, Consumer] = {}
        self.fenced: list[Consumer] = []
        self.paused: set[str] = set()
        self.names = 0

    def teardown(self) -> None:
        try:
            self.everything_is_still_there()
        finally:
            self.harness.close()

    @property
    def broker(self) -> Broker:
        self.names += 1
        return self.brokers[self.names % 2]

    @initialize()
    def begin(self) -> None:
        for worker in WORKERS:
            self.admit(worker)
        self.store([self.message(queue, priority) for queue in QUEUES for priority in (0, 9, 5, 5)])

    # -- producing

    @rule(queue=st.sampled_from(QUEUES), priority=st.sampled_from([0, 5, 9]), count=st.integers(1, 4), lost_dead=st.booleans())
    def enqueue(self, queue: str, priority: int, count: int, lost_dead: bool) -> None:
        self.store([self.message(queue, priority, lost_dead=lost_dead and count == 1) for _ in range(count)])

    @rule(queue=st.sampled_from(QUEUES), after=st.sampled_from([1, 3, 20]))
    def schedule(self, queue: str, after: int) -> None:
        self.store([self.message(queue, after=after)])

    @rule(queue=st.sampled_from(QUEUES))
    def expire(self, queue: str) -> None:
        """One that is over already: it must never be handed out, and is nobody's loss."""
        self.broker.enqueue([envelope(f"expired{self.names}", queue, expires=1)])

    @rule(chance=CHANCE)
    @when(lambda self: self.known)
    def enqueue_again(self, chance: Chance) -> None:
        one = chance.pick(sorted(self.known))
        [answer] = self.broker.enqueue([envelope(one, "qa", flags=EXPLICIT)])
        assert answer.duplicate_of == one

    def message(self, queue: str, priority: int = 5, after: int = 0, lost_dead: bool = False) -> Envelope:
        self.names += 1
        flags = EXPLICIT | (LOST_DEAD if lost_dead else 0)
        limits = {"crash_limit": CRASH_LIMIT, "loss_limit": LOSS_LIMIT}
        return envelope(f"m{self.names}", queue, priority=priority, after=after, flags=flags, **limits)

    def store(self, messages: list[Envelope]) -> None:
        before = self.brokers[0].ping()
        assert all(r.duplicate_of is None for r in self.broker.enqueue(messages))
        self.note(messages, before)

    def note(self, messages: list[Envelope], before: int) -> None:
        for e in messages:
            lost_dead = bool(e.flags & LOST_DEAD)
            self.known[e.id] = Known(e.id, e.queue, lost_dead=lost_dead, not_before=before + e.after if e.after else 0)

    # -- consuming

    @rule(worker=st.sampled_from(WORKERS))
    def admit(self, worker: str) -> None:
        if sum(c.hand.worker == worker for c in self.consumers.values()) < 2:
            self.names += 1
            name = f"{worker}.{self.names}"
            self.consumers[name] = Consumer(Hand(self.broker, name, worker))

    @rule(chance=CHANCE, queues=ASKED, limit=st.integers(1, 4))
    @when(lambda self: self.consumers)
    def claim(self, chance: Chance, queues: list[str], limit: int) -> None:
        self.step(self.one(chance), [], queues, limit)

    @rule(chance=CHANCE, queues=ASKED, limit=st.integers(0, 4))
    @when(lambda self: self.busy())
    def exchange(self, chance: Chance, queues: list[str], limit: int) -> None:
        consumer = chance.pick(self.busy())
        ending = chance.some(range(len(consumer.held)))
        settles = [self.settle(chance, consumer.held[i]) for i in ending]
        self.step(consumer, settles, queues, limit)

    def step(self, consumer: Consumer, settles: list[Settle], queues: list[str], limit: int) -> None:
        """One exchange. Each time the holder also settles, late, what it has no more."""
        late = [Settle(d.receipt, Done(), (envelope(queue="never"),)) for d in consumer.past[-2:]]
        before = self.brokers[0].ping()
        asked = ([*settles, *late], queues, limit)
        answer = consumer.hand.exchange(*asked)
        assert answer.verdicts[: len(settles)] == [Verdict.WON] * len(settles)
        assert Verdict.WON not in answer.verdicts[len(settles) :], "a late settle won"
        for settle in settles:
            self.apply(consumer, settle, before)
        self.hand_out(consumer, answer, queues, limit)
        consumer.last, consumer.answer = asked, answer

    def settle(self, chance: Chance, delivery: Delivery) -> Settle:
        outcomes: list[Outcome] = [
            Done(),
            Retry(0),
            Retry(3),
            Dead("failed"),
            Dropped("skipped"),
            Released(),
            Released(3),
            Released(0, "", True),
        ]
        outcome = chance.pick(outcomes)
        then = (self.message("qa"),) if chance.flip() else ()
        return Settle(delivery.receipt, outcome, then)

    def apply(self, consumer: Consumer, settle: Settle, before: int) -> None:
        [delivery] = [d for d in consumer.held if d.receipt == settle.receipt]
        consumer.held.remove(delivery)
        consumer.past.append(delivery)
        one = self.known[delivery.envelope.id]
        match settle.outcome:
            case Done() | Dropped():
                one.place = "gone"
            case Dead():
                one.place = "dead"
            case Retry(after):
                one.attempt += 1
                self.back(one, before + after if after else 0)
            case Released(after):
                self.back(one, before + after if after else 0)
        self.note(list(settle.then), before)

    def back(self, one: Known, not_before: int = 0) -> None:
        one.place, one.holder, one.not_before = ("gone" if one.cancelled else "waiting"), "", not_before

    def hand_out(self, consumer: Consumer, answer: Exchanged, queues: list[str], limit: int) -> None:
        assert len(answer.deliveries) <= limit
        already = bool(consumer.held)
        places = [(queues.index(d.envelope.queue), -d.envelope.priority) for d in answer.deliveries]
        assert places == sorted(places), "the queues in the order asked for, the highest priority first"
        for delivery in answer.deliveries:
            e = delivery.envelope
            one = self.known.get(e.id)
            assert one is not None, f"{e.id} was handed out, and was never accepted or is expired"
            assert one.place == "waiting", f"{e.id} is {one.place} (held by {one.holder or 'nobody'}) and was handed out"
            assert e.queue == one.queue and e.queue in queues and e.queue not in self.paused
            assert one.not_before <= answer.now, f"{e.id} came {one.not_before - answer.now} ms early"
            one.delivery += 1
            assert (e.attempt, e.delivery, e.crashes, e.losses) == one.counters
            assert e.handed_alone == (one.lost_dead or one.crashes + one.losses > 0)
            assert not e.handed_alone or (not already and len(answer.deliveries) == 1), f"{e.id} shall be handed out alone"
            one.place, one.holder = "leased", consumer.hand.name
        consumer.held += answer.deliveries

    @rule(chance=CHANCE)
    @when(lambda self: any(c.last for c in self.consumers.values()))
    def repeat(self, chance: Chance) -> None:
        consumer = chance.pick([c for c in self.consumers.values() if c.last])
        assert consumer.last is not None and consumer.answer is not None
        again = consumer.hand.repeat(*consumer.last)
        assert again.verdicts == consumer.answer.verdicts
        held = {d.receipt for d in consumer.held}
        # by receipt and counters: a cancel in between shows in the flags
        first = [(d.receipt, d.envelope.id, d.envelope.delivery) for d in consumer.answer.deliveries if d.receipt in held]
        assert [(d.receipt, d.envelope.id, d.envelope.delivery) for d in again.deliveries] == first

    @rule(chance=CHANCE, jump=st.sampled_from([-2, 2, 7]))
    @when(lambda self: self.consumers)
    def jump(self, chance: Chance, jump: int) -> None:
        consumer = self.one(chance)
        with pytest.raises(SequenceError):
            consumer.hand.broker.exchange(consumer.hand.name, consumer.hand.seq + jump, [], ["qa"], 5)

    @rule(chance=CHANCE)
    @when(lambda self: self.fenced)
    def act_though_fenced(self, chance: Chance) -> None:
        ghost = chance.pick(self.fenced)
        settles = [Settle(d.receipt, Done(), (envelope(queue="never"),)) for d in ghost.past]
        with pytest.raises(Fenced) as caught:
            ghost.hand.exchange(settles, list(QUEUES), 5)
        assert caught.value.final
        assert self.broker.give_back(ghost.hand.name, [d.receipt for d in ghost.past]) == 0
        assert (
            self.broker.retire(ghost.hand.name, [Blame(ghost.past[-1].receipt if ghost.past else nowhere(ghost.hand.name))]).returned == 0
        )

    # -- supervising

    @rule(chance=CHANCE)
    @when(lambda self: self.busy())
    def give_back(self, chance: Chance) -> None:
        consumer = chance.pick(self.busy())
        some = chance.some(range(len(consumer.held)))
        back = [consumer.held[i] for i in some]
        stays = [d for d in back if not self.known[d.envelope.id].cancelled]
        assert self.broker.give_back(consumer.hand.name, [d.receipt for d in back]) in {len(stays), len(back)}
        for d in back:
            consumer.held.remove(d)
            consumer.past.append(d)
            self.back(self.known[d.envelope.id])

    @rule(chance=CHANCE, blame=st.booleans())
    @when(lambda self: self.busy())
    def retire(self, chance: Chance, blame: bool) -> None:
        consumer = chance.pick(self.busy())
        guilty = chance.some(range(len(consumer.held))) if consumer.held and blame else []
        held = self.lose(consumer)
        self.broker.retire(consumer.hand.name, [Blame(held[i].receipt) for i in guilty] or None, "killed")
        for i, d in enumerate(held):
            one = self.known[d.envelope.id]
            one.crashes += i in guilty
            self.fall(one, (one.lost_dead and (not guilty or i in guilty)) or (guilty == [i] and one.crashes >= CRASH_LIMIT))
        self.admit(consumer.hand.worker)

    @rule(worker=st.sampled_from(WORKERS))
    @when(lambda self: self.busy())
    def worker_leaves(self, worker: str) -> None:
        self.leave(worker)
        self.admit(worker)

    def leave(self, worker: str) -> None:
        self.broker.leave(worker)
        for consumer in self.of(worker):
            for d in self.lose(consumer):
                self.back(self.known[d.envelope.id])

    @rule(worker=st.sampled_from(WORKERS))
    @when(lambda self: self.busy())
    def lose_the_lease(self, worker: str) -> None:
        """And get it back in time: fenced meanwhile, and nothing else."""
        if mine := self.of(worker):
            self.harness.lapse(self.broker, worker)
            self.broker.maintain()
            for consumer in mine:
                with pytest.raises(Fenced) as caught:
                    consumer.hand.exchange([Settle(d.receipt, Done()) for d in consumer.held], list(QUEUES), 5)
                assert not caught.value.final
            self.broker.renew(worker, LONG)

    @rule(worker=st.sampled_from(WORKERS))
    @when(lambda self: self.busy())
    def rescue(self, worker: str) -> None:
        mine = self.of(worker)
        if not mine:
            return
        self.harness.lapse(self.broker, worker)
        self.broker.maintain(rescue=True)
        for consumer in mine:
            for d in self.lose(consumer):
                one = self.known[d.envelope.id]
                one.losses += 1
                self.fall(one, one.lost_dead or one.losses >= LOSS_LIMIT)
        answer = self.broker.renew(worker, LONG)
        assert not answer.known
        assert {c.hand.name for c in mine} <= set(answer.lost)
        self.admit(worker)

    def fall(self, one: Known, deadly: bool) -> None:
        """Its holder died. One that was cancelled and is deadly may be buried or dropped: it does not run again either way."""
        if deadly and not one.cancelled:
            one.place = "dead"
        elif deadly:
            one.place = "ended"
        else:
            self.back(one)

    @rule(rescue=st.booleans())
    def maintain(self, rescue: bool) -> None:
        done = self.broker.maintain(rescue=rescue)
        assert (done.rescued, done.buried) == ([], []), "every worker's lease is live"

    @rule(ms=st.sampled_from([1, 5]))
    def pass_time(self, ms: int) -> None:
        self.harness.advance(ms)

    # -- operating

    @rule(queue=st.sampled_from(QUEUES))
    @when(lambda self: has(self.harness, Inspects))
    def pause_or_resume(self, queue: str) -> None:
        inspects = require(self.broker, Inspects)
        (inspects.resume_queue if queue in self.paused else inspects.pause_queue)(queue)
        self.paused ^= {queue}

    @rule(chance=CHANCE, terminate=st.booleans())
    @when(lambda self: has(self.harness, Inspects) and self.alive())
    def cancel(self, chance: Chance, terminate: bool) -> None:
        one = self.known[chance.pick(self.alive())]
        answer = require(self.broker, Inspects).cancel(one.id, terminate)
        if one.place == "leased":
            assert answer == Cancelled.RUNNING
            one.cancelled = True
        elif answer == Cancelled.WAITING:
            assert one.place == "waiting"
            one.place = "gone"

    @rule(chance=CHANCE)
    @when(lambda self: has(self.harness, Inspects) and self.busy())
    def cancel_what_runs(self, chance: Chance) -> None:
        one = self.known[chance.pick(chance.pick(self.busy()).held).envelope.id]
        assert require(self.broker, Inspects).cancel(one.id) == Cancelled.RUNNING
        one.cancelled = True

    def alive(self) -> list[str]:
        return sorted(one.id for one in self.known.values() if one.place in ("waiting", "leased"))

    # -- looking

    @invariant()
    def each_holder_holds_what_the_model_says(self) -> None:
        for consumer in self.consumers.values():
            expected = sorted(consumer.held, key=lambda d: d.receipt)
            found = self.brokers[0].resume(consumer.hand.name)
            assert [(d.receipt, d.envelope.id) for d in found] == [(d.receipt, d.envelope.id) for d in expected]

    @invariant()
    def as_many_are_leased_and_dead_as_the_model_says(self) -> None:
        for queue in QUEUES:
            _, _, leased, dead = counts(self.brokers[0], queue)
            mine = [one.place for one in self.known.values() if one.queue == queue]
            assert leased == mine.count("leased")
            assert mine.count("dead") <= dead <= mine.count("dead") + mine.count("ended")
        assert counts(self.brokers[0], "never") == (0, 0, 0, 0), "the fenced enqueued"

    def everything_is_still_there(self) -> None:
        """The end of each walk: time passes, whoever is left leaves, and one holder gets all that waits."""
        if has(self.harness, Inspects):
            for queue in QUEUES:
                require(self.broker, Inspects).resume_queue(queue)
        for worker in WORKERS:
            self.leave(worker)
        self.harness.advance(30)
        hand, got = Hand(self.broker, "last.a", "last"), list[str]()
        for _ in range(len(self.known) + 1):  # one at a time at worst, since some are handed alone; never for ever
            answer = hand.claim(100, *QUEUES)
            got += [d.envelope.id for d in answer]
            for e in (d.envelope for d in answer):
                one = self.known[e.id]
                assert (e.attempt, e.delivery - 1, e.crashes, e.losses) == one.counters
                assert e.handed_alone == (one.lost_dead or one.crashes + one.losses > 0)
            hand.done(*answer)
        assert sorted(got) == sorted(one.id for one in self.known.values() if one.place == "waiting"), "lost, or handed out twice"

    def busy(self) -> list[Consumer]:
        return [self.consumers[name] for name in sorted(self.consumers) if self.consumers[name].held]

    def one(self, chance: Chance) -> Consumer:
        return self.consumers[chance.pick(sorted(self.consumers))]

    def of(self, worker: str) -> list[Consumer]:
        return [c for c in self.consumers.values() if c.hand.worker == worker]

    def lose(self, consumer: Consumer) -> list[Delivery]:  # it is admitted no longer: what it held
        del self.consumers[consumer.hand.name]
        self.fenced.append(consumer)
        held, consumer.held = consumer.held, []
        consumer.past += held
        return held


class TestMachine:
    @pytest.mark.timeout(3600 if THOROUGH else 120)
    def test_the_promises_hold_on_any_walk(self, make_harness: Callable[[], Harness]) -> None:
        walk: Any = lambda: Walk(make_harness)  # noqa: E731 - hypothesis wants a factory, and calls it by no name
        run_state_machine_as_test(walk, settings=PROFILE)
