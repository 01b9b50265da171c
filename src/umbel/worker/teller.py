"""What a child tells about its runs: a log line for people, an event for programs. Nothing is built that nobody wants."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..broker import Removed
from ..clock import Clock
from ..envelope import Delivery
from ..events import (
    Buried,
    Emitter,
    Reconnected,
    TaskDropped,
    TaskFailed,
    TaskReceived,
    TaskReleased,
    TaskRetried,
    TaskStarted,
    TaskSucceeded,
    TaskTimedOut,
)
from ..outcome import Dead, Done, Dropped, Outcome, Released, Replaced, Retry

log = logging.getLogger("umbel.task")


class Teller:
    """One per child."""

    def __init__(self, events: Emitter, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._lines = log.isEnabledFor(logging.INFO)

    @property
    def heard(self) -> bool:
        """Is there anybody to tell? Asked twice a task, so that silence costs next to nothing."""
        return self._lines or self._events.heard

    def began(self, name: str, delivery: Delivery) -> None:
        """A run begins."""
        e = delivery.envelope
        if self._lines:
            log.info("%s[%s] received", name, e.id)
        if self._events.wanted(TaskReceived):
            self._events.emit(TaskReceived(id=e.id, task=name, queue=e.queue))
        if self._events.wanted(TaskStarted):
            wait = max(0, self._clock.now() - e.enqueued) / 1000 if e.enqueued else 0.0
            self._events.emit(TaskStarted(id=e.id, task=name, queue=e.queue, attempt=e.attempt, wait=wait))

    def ended(self, name: str, delivery: Delivery, outcome: Outcome, span: float) -> None:
        """A delivery came to its outcome after ``span`` seconds (0 where nothing was run)."""
        if self._lines:
            _line(name, delivery, outcome, span)
        if type(outcome) is Done:
            if self._events.wanted(TaskSucceeded):
                e = delivery.envelope
                self._events.emit(TaskSucceeded(id=e.id, task=name, queue=e.queue, attempt=e.attempt, runtime=span))
        else:
            self._emit_other(name, delivery, outcome, span)

    def timed_out(self, name: str, delivery: Delivery) -> None:
        """The soft limit was raised in a run, whatever the task made of it."""
        e = delivery.envelope
        log.warning("%s[%s] was told that its soft time limit is over", name, e.id)
        if self._events.wanted(TaskTimedOut):
            self._events.emit(TaskTimedOut(id=e.id, task=name, queue=e.queue, kind="soft"))

    def reconnected(self, away: float) -> None:
        """The broker answers again after ``away`` seconds."""
        if self._events.wanted(Reconnected):
            self._events.emit(Reconnected(away=away))

    def removed(self, found: Iterable[Removed]) -> None:
        """What the store itself took out while it was claimed from."""
        for each in found:
            log.warning("%s in queue %s was removed: %s", each.id or "a message without a readable id", each.queue, each.reason)
            if self._events.wanted(Buried):
                self._events.emit(Buried(id=each.id, queue=each.queue, reason=each.reason))

    def _emit_other(self, name: str, delivery: Delivery, outcome: Outcome, span: float) -> None:
        id, queue, attempt = delivery.envelope.id, delivery.envelope.queue, delivery.envelope.attempt
        emit = self._events.emit
        if isinstance(outcome, Retry):
            if self._events.wanted(TaskRetried):
                emit(TaskRetried(id=id, task=name, queue=queue, attempt=attempt, after=outcome.after / 1000, runtime=span))
        elif isinstance(outcome, Dead):
            if self._events.wanted(TaskFailed):
                emit(TaskFailed(id=id, task=name, queue=queue, attempt=attempt, reason=outcome.reason, runtime=span))
        elif isinstance(outcome, Dropped):
            if self._events.wanted(TaskDropped):
                emit(TaskDropped(id=id, task=name, queue=queue, reason=outcome.reason))
        elif isinstance(outcome, Released) and self._events.wanted(TaskReleased):
            emit(TaskReleased(id=id, task=name, queue=queue, reason=outcome.reason, after=outcome.after / 1000))


def _line(name: str, delivery: Delivery, outcome: Outcome, span: float) -> None:
    e = delivery.envelope
    if isinstance(outcome, Done):
        log.info("%s[%s] succeeded in %.3f s", name, e.id, span)
    elif isinstance(outcome, Retry):
        log.info("%s[%s] retry in %.1f s, attempt %d failed", name, e.id, outcome.after / 1000, e.attempt)
    elif isinstance(outcome, Replaced):
        log.info("%s[%s] goes on as %d others after %.3f s", name, e.id, len(outcome.nodes), span)
    else:
        log.info("%s[%s] %s (%s) after %.3f s", name, e.id, type(outcome).__name__.lower(), outcome.reason, span)
