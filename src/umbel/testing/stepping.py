"""A worker without processes: it runs in the test's thread, one task at a time, when it is told to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, TypeVar

from ..broker import Broker, Removed
from ..clock import Clock
from ..envelope import Delivery
from ..errors import RetryLater, WireError
from ..facets import Remembers
from ..message import decode_body
from ..outcome import Dead, Dropped, Outcome, Released, Retry
from ..worker.declaring import declare, declared_rules
from ..worker.executor import Executor, Prepared
from ..worker.settler import Settler
from ..worker.teller import Teller
from .frozen import FrozenClock
from .inline import InlineGuard
from .run import Run, SandboxError

if TYPE_CHECKING:
    from ..app import Umbel

T = TypeVar("T")

WORKER = "umbel.testing"
_LEASE = 86_400.0
"""Seconds; renewed before each exchange, so that no hand-moved clock outruns it."""
LIMIT = 1000
"""Runs of one call, after which it is an endless loop rather than a test."""

stepping: ContextVar[bool] = ContextVar("umbel_testing_stepping", default=False)
"""Is this code part of a task that a stepped worker runs?"""
_names = itertools.count(1)


class SteppedWorker:
    """Takes messages from the sandbox's broker as a worker's child does, through the same executor: arguments are decoded by
    annotation, middleware and hooks run, retries are scheduled, records written, events told.

    Each task runs in a context of its own, as in a real worker: it sees no context variables of the test. The first error of a
    task that will not be retried comes out of the call that ran it, unless that says ``propagate=False``.
    """

    def __init__(self, app: Umbel, broker: Broker, clock: Clock, queues: set[str], name_of: Callable[[str], str | None]) -> None:
        """``queues``: all that calls named so far, and that they will name. ``name_of``: the task of an id that the store dropped."""
        self._app = app
        self._broker = broker
        self._clock = clock
        self._queues = queues
        self._name_of = name_of
        self._guard = InlineGuard()
        self._teller = Teller(app.events, clock)
        self._holder = f"{WORKER}/{next(_names)}"
        self._settler = Settler(broker, self._holder, clock, sent=app.producer.stored)
        self._executor: Executor | None = None
        self._dropped: list[Removed] = []
        self.tick: Callable[[Broker], None] = lambda _: None
        """Has schedules make their calls, if they are due."""
        self.skips_waits = False
        """Does a retry follow at once, whatever its policy says of waiting?"""
        self.retries = True
        """False: what would be retried fails instead."""

    # -- steps

    def run_one(self, *, queue: str | None = None, propagate: bool = True) -> Run | None:
        """Run the next task that is ready (in ``queue``, if one is named); None if none is."""
        self._maintain()
        run = self._step(queue)
        if run is not None and propagate:
            _raise_first([run])
        return run

    def run_until_idle(self, *, queue: str | None = None, propagate: bool = True, limit: int = LIMIT) -> list[Run]:
        """Run all that is ready, and all that becomes ready meanwhile; what is due later waits (see ``clock.advance``).

        All of it is run, then the first final error is raised. ``SandboxError`` after ``limit`` runs.
        """
        self._maintain()
        runs: list[Run] = []
        while (run := self._step(queue)) is not None:
            runs.append(run)
            self._check_limit(runs, limit)
        if propagate:
            _raise_first(runs)
        return runs

    def drain(self, *, queue: str | None = None, propagate: bool = True, limit: int = LIMIT) -> list[Run]:
        """Run everything, also what is due later: the clock is moved to each due time in turn. See ``run_until_idle``. Schedules,
        which have no end, do not move it; they fire when it passes a tick."""
        runs: list[Run] = []
        while True:
            runs += self.run_until_idle(queue=queue, propagate=False, limit=limit - len(runs))
            due = self._settler.exchange(self._serves(queue), 0).next_due
            if due is None:
                break
            if not isinstance(self._clock, FrozenClock):
                raise SandboxError("drain() moves the clock, and this sandbox has no FrozenClock: wait, or move time yourself")
            self._clock.advance(due / 1000)
        if propagate:
            _raise_first(runs)
        return runs

    async def arun_one(self, *, queue: str | None = None, propagate: bool = True) -> Run | None:
        """:meth:`run_one` from a coroutine: an ``async def`` task runs on the test's own loop, another one on a thread."""
        return await self._at_home(lambda: self.run_one(queue=queue, propagate=propagate))

    async def arun_until_idle(self, *, queue: str | None = None, propagate: bool = True, limit: int = LIMIT) -> list[Run]:
        """:meth:`run_until_idle` from a coroutine, as :meth:`arun_one`."""
        return await self._at_home(lambda: self.run_until_idle(queue=queue, propagate=propagate, limit=limit))

    async def adrain(self, *, queue: str | None = None, propagate: bool = True, limit: int = LIMIT) -> list[Run]:
        """:meth:`drain` from a coroutine, as :meth:`arun_one`."""
        return await self._at_home(lambda: self.drain(queue=queue, propagate=propagate, limit=limit))

    async def _at_home(self, job: Callable[[], T]) -> T:
        self._guard.home = asyncio.get_running_loop()
        try:
            return await asyncio.to_thread(job)
        finally:
            self._guard.home = None

    def close(self) -> None:
        """Let go of the event loop, if there is one. What is not run stays where it is."""
        self._guard.close()

    # -- one step

    def _maintain(self) -> None:
        """As every worker does now and then: fire schedules, drop what expired, forget what was kept long enough."""
        self.tick(self._broker)
        self._drop(self._broker.maintain().expired)

    def _drop(self, removed: list[Removed]) -> None:
        self._dropped += removed
        self._teller.removed(removed)

    def _serves(self, queue: str | None) -> list[str]:
        """The queue that was asked for, or all: those that tasks declare first, then those that calls named."""
        if queue is not None:
            return [queue]
        declared = self._app.queues()
        return declared + sorted(self._queues - {*declared})

    def _step(self, queue: str | None) -> Run | None:
        if not self._dropped:
            delivery = self._claim(queue)
            if delivery is not None:
                return self._run(delivery)
        return self._told(self._dropped.pop(0)) if self._dropped else None

    def _claim(self, queue: str | None) -> Delivery | None:
        """The next delivery; what was dropped on the way to it is kept to be told."""
        self._own_the_lease()
        answer = self._settler.exchange(self._serves(queue), 1)
        self._drop(answer.dropped)
        return answer.deliveries[0] if answer.deliveries else None

    def _own_the_lease(self) -> None:
        self._broker.renew(WORKER, _LEASE)
        if self._executor is None:
            self._broker.admit(WORKER, self._holder)
            if rules := declared_rules(self._app):
                declare(self._broker, rules)
            self._executor = Executor(self._app, self._guard, self._clock.now, self._report)

    def _run(self, delivery: Delivery) -> Run:
        assert self._executor is not None
        prepared = self._executor.prepare(delivery)
        name, outcome, began = "?", prepared, self._clock.monotonic()
        self._guard.forget()  # arguments that cannot be read end a run before it comes to the guard
        if isinstance(prepared, Prepared):
            name = prepared.task.name
            self._teller.began(name, delivery)
            outcome = self._adjusted(Context().run(self._inside, self._executor, prepared))
        assert not isinstance(outcome, Prepared)
        self._own_the_lease()
        then = prepared.then if isinstance(prepared, Prepared) else ()
        self._settler.add(delivery.receipt, outcome, began, then)
        self._settler.flush()
        self._teller.ended(name, delivery, outcome, self._clock.monotonic() - began)
        return self._ended(name, delivery, outcome)

    @staticmethod
    def _inside(executor: Executor, prepared: Prepared) -> Outcome:
        stepping.set(True)
        return executor.run(prepared, 1)

    def _adjusted(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Retry):
            if not self.retries:
                return Dead("failed", outcome.error)
            return Retry(0, outcome.error) if self.skips_waits else outcome
        return outcome

    def _ended(self, name: str, delivery: Delivery, outcome: Outcome) -> Run:
        envelope, guard = delivery.envelope, self._guard
        error = guard.error
        if error is not None and not isinstance(error, Exception | SystemExit):
            raise error  # Ctrl-C, or pytest.fail() and its kin: meant for the test, whatever the task's policy makes of it
        if name == "?" or (isinstance(outcome, Dead | Released) and error is None):
            error = _unfit(name, delivery, outcome)
            name = _name_in(delivery) or name
        if isinstance(error, RetryLater) and isinstance(outcome, Dead):
            error = error.exc or error
        return Run(id=envelope.id, task=name, attempt=envelope.attempt, outcome=outcome, value=guard.value, error=error)

    def _told(self, removed: Removed) -> Run:
        name = self._name_of(removed.id) or "?"
        return Run(id=removed.id, task=name, attempt=1, outcome=Dropped(removed.reason))

    def _report(self, delivery: Delivery, progress: bytes) -> bool:
        assert isinstance(self._broker, Remembers)
        return self._broker.report(delivery.receipt, delivery.envelope.id, progress)

    def _check_limit(self, runs: list[Run], limit: int) -> None:
        if len(runs) >= limit:
            names = ", ".join(sorted({run.task for run in runs[-10:]}))
            raise SandboxError(
                f"{len(runs)} tasks have run, and there is still work; the last ones were {names}. Does one call itself without end? "
                "Step with run_one(), or say limit=…"
            )


def _name_in(delivery: Delivery) -> str | None:
    try:
        return decode_body(delivery.envelope.body).t
    except WireError:
        return None


def _unfit(name: str, delivery: Delivery, outcome: Outcome) -> SandboxError | None:
    """The error of a message that could not be run at all: in production it would be parked, or a dead letter."""
    if isinstance(outcome, Dead | Released) and outcome.reason in ("unknown_task", "unknown_parameters", "bad_arguments", "unreadable"):
        shown = _name_in(delivery) or name
        return SandboxError(f"{shown}[{delivery.envelope.id}] cannot be run ({outcome.reason}): the log says why")
    return None


def _raise_first(runs: list[Run]) -> None:
    """Raise the first error that is final, with a note of the others."""
    failed = [run for run in runs if _is_final(run)]
    if not failed:
        return
    error = failed[0].error
    assert error is not None
    if len(failed) > 1:
        error.add_note("and after it " + ", ".join(f"{run.task}[{run.id}]: {type(run.error).__name__}" for run in failed[1:6]))
    raise error


def _is_final(run: Run) -> bool:
    if run.error is None:
        return False
    return isinstance(run.outcome, Dead) or isinstance(run.error, SandboxError)
