"""What happened, for whoever wants to know: frozen values, and the emitter that carries them.

Events tell and change nothing: what a subscriber raises is logged and goes no further. Spans are seconds. Brokers never
emit; the producer and the worker do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

E = TypeVar("E", bound="Event")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events; subscribing to it means all."""


class TaskEnqueued(Event, frozen=True, kw_only=True):
    """A call was stored. ``duplicate_of`` names the earlier message where it was a duplicate and nothing was stored."""

    id: str
    task: str
    queue: str
    duplicate_of: str | None = None


class TaskReceived(Event, frozen=True, kw_only=True):
    """A worker was handed a message."""

    id: str
    task: str
    queue: str


class TaskStarted(Event, frozen=True, kw_only=True):
    """A run began; ``wait`` since it was enqueued."""

    id: str
    task: str
    queue: str
    attempt: int
    wait: float = 0.0


class TaskSucceeded(Event, frozen=True, kw_only=True):
    """A run ended well."""

    id: str
    task: str
    queue: str
    attempt: int
    runtime: float = 0.0


class TaskRetried(Event, frozen=True, kw_only=True):
    """A run failed, and another follows ``after`` seconds from now. ``exception`` is not filled yet."""

    id: str
    task: str
    queue: str
    attempt: int
    after: float
    runtime: float = 0.0
    exception: str = ""


class TaskFailed(Event, frozen=True, kw_only=True):
    """The last run failed: a dead letter, for ``reason``. ``exception`` and ``expected`` are not filled yet."""

    id: str
    task: str
    queue: str
    attempt: int
    reason: str
    runtime: float = 0.0
    exception: str = ""
    expected: bool = False


class TaskDropped(Event, frozen=True, kw_only=True):
    """Gone without (another) run, as a worker found or the task itself said, or as it was called (``locked``)."""

    id: str
    task: str
    queue: str
    reason: str


class TaskReleased(Event, frozen=True, kw_only=True):
    """Given back without using an attempt: parked, snoozed, shutdown …"""

    id: str
    task: str
    queue: str
    reason: str
    after: float = 0.0


class TaskTimedOut(Event, frozen=True, kw_only=True):
    """A limit was over; ``kind`` is ``soft`` (told by the child) or ``hard`` (told by the supervisor)."""

    id: str
    task: str
    queue: str
    kind: str


class Superseded(Event, frozen=True, kw_only=True):
    """A settle came too late: the delivery had been taken away, and nothing was changed. Logged, and not emitted yet."""

    id: str
    verdict: str


class LeaseLost(Event, frozen=True, kw_only=True):
    """A worker found that its lease had ended."""

    worker: str
    holders: int


class ChildDied(Event, frozen=True, kw_only=True):
    """A worker's child is gone, whatever the way. ``reason`` is for people, ``blamed`` is the message whose run ended it.

    ``cause`` is one of: ``max_tasks`` and ``max_memory`` (replaced at its own wish), ``dismissed`` (by a shutdown or a reload),
    ``time_limit``, ``memory_limit``, ``cancelled`` (killed for what it ran), ``shutdown``, ``stuck``, ``lease_lost`` (killed by its
    supervisor), ``out_of_memory`` (killed by the kernel), ``crashed``.
    """

    worker: str
    pid: int
    reason: str
    blamed: str | None = None
    returned: int = 0
    cause: str = "crashed"


class Rescued(Event, frozen=True, kw_only=True):
    """Messages of a worker that is gone were given back."""

    count: int
    reason: str


class Buried(Event, frozen=True, kw_only=True):
    """The store made a message a dead letter, or removed it: ``poison``, ``worker_lost``, ``unreadable``, ``expired`` …"""

    id: str
    queue: str
    reason: str


class Trimmed(Event, frozen=True, kw_only=True):
    """Dead letters were removed for lack of room."""

    count: int


class TickFired(Event, frozen=True, kw_only=True):
    """A schedule made its call ``id``. ``lag``: seconds after the tick (and its jitter). ``missed``: ticks before it that it stands for."""

    schedule: str
    task: str
    queue: str
    id: str
    lag: float = 0.0
    missed: int = 0


class TickSkipped(Event, frozen=True, kw_only=True):
    """Ticks of a schedule made no call: ``reason`` is ``overlap`` (the last call still waits or runs) or ``missed``."""

    schedule: str
    task: str
    reason: str
    count: int = 1


class Reconnected(Event, frozen=True, kw_only=True):
    """The broker answers again after ``away`` seconds."""

    away: float = 0.0


Subscriber = Callable[[Any], object]


class Emitter:
    """Carries events from where they happen to who subscribed. Without subscribers it costs one look into a dict."""

    def __init__(self) -> None:
        self._by_type: dict[type[Event], tuple[Subscriber, ...]] = {}
        self._found: dict[type[Event], tuple[Subscriber, ...]] = {}
        self.heard = False
        """Does anybody listen to anything?"""

    def subscribe(self, kind: type[E], subscriber: Callable[[E], object]) -> Callable[[], None]:
        """Call ``subscriber`` with each event of ``kind`` (and of its subclasses), in the thread where it happens, so it must
        be quick. Answers with a function that ends the subscription; twice is once."""
        self._by_type[kind] = (*self._by_type.get(kind, ()), subscriber)
        self._found = {}
        self.heard = True

        def end() -> None:
            self._by_type[kind] = tuple(one for one in self._by_type[kind] if one is not subscriber)
            self._found = {}
            self.heard = any(self._by_type.values())

        return end

    def wanted(self, kind: type[Event]) -> bool:
        """Does anybody listen? Ask before making an event where every microsecond counts."""
        return self.heard and bool(self._subscribers(kind))

    def emit(self, event: Event) -> None:
        """Tell all subscribers. Never raises."""
        for subscriber in self._subscribers(type(event)):
            try:
                subscriber(event)
            except Exception:  # whoever listens must not change what happens
                import logging

                logging.getLogger("umbel.events").exception("a subscriber to %s failed", type(event).__name__)

    def _subscribers(self, kind: type[Event]) -> tuple[Subscriber, ...]:
        found = self._found.get(kind)
        if found is None:
            found = tuple(one for base in kind.__mro__ for one in self._by_type.get(base, ()))
            self._found[kind] = found
        return found
