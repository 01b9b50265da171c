"""What a broker may be able to do beyond the core, each as a class of its own that it inherits and declares.

A caller asks for a facet with :func:`require`, which refuses clearly where a broker lacks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar, cast

import msgspec

from .broker import Broker
from .envelope import Envelope, Receipt
from .errors import NotSupported
from .lane import Rule

F = TypeVar("F")


class Place(StrEnum):
    """Where a message stands."""

    READY = "ready"
    SCHEDULED = "scheduled"
    LEASED = "leased"
    DEAD = "dead"


class Listed(msgspec.Struct, gc=False):
    """One message as an operator sees it."""

    envelope: Envelope
    place: Place
    due: int | None = None
    holder: str | None = None
    worker: str | None = None
    died: int | None = None
    reason: str = ""
    error: bytes = b""


class Page(msgspec.Struct, gc=False):
    """Some messages, and where to go on (None: that was all)."""

    messages: list[Listed]
    cursor: str | None = None


class WorkerSeen(msgspec.Struct, gc=False):
    """A worker with a lease (``expires`` in ms of the store's clock; it may just be over)."""

    worker: str
    expires: int
    about: bytes
    holders: list[str]


class Cancelled(StrEnum):
    """What a cancel found."""

    WAITING = "waiting"
    """It was ready or scheduled, and will not run."""
    RUNNING = "running"
    """It is leased: it will not run again after this run (and is told to stop if ``terminate`` was asked)."""
    UNKNOWN = "unknown"
    """Not in the store, or not to be found in it."""


class Inspects(ABC):
    """Facet: look at messages and act on them."""

    @abstractmethod
    def browse(self, queue: str | None, place: Place, limit: int = 50, cursor: str | None = None) -> Page:
        """Messages of a queue (None: of all) that stand at ``place``: ready ones in the order of claiming, scheduled ones by
        due time, leased ones by holder, dead ones newest first. Unreadable ones are shown with an empty id."""

    @abstractmethod
    def find(self, id: str) -> Listed | None:
        """The message with this id, wherever it stands."""

    @abstractmethod
    def cancel(self, id: str, terminate: bool = False) -> Cancelled:
        """See :class:`Cancelled`. Its record says REVOKED at once when it was waiting."""

    @abstractmethod
    def redrive(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        """Make dead letters ready again, counters begun anew (``attempt`` 1; ``delivery`` goes on, since it fences), behind what
        waits. ``ids`` None: all of ``queue``, or all. Returns how many."""

    @abstractmethod
    def forget_dead(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        """Delete dead letters for good. Returns how many."""

    @abstractmethod
    def pause_queue(self, queue: str) -> None:
        """Nothing is claimed from the queue until it is resumed; enqueuing goes on. Kept over restarts."""

    @abstractmethod
    def resume_queue(self, queue: str) -> None:
        """End a pause, and wake who waits."""

    @abstractmethod
    def workers(self) -> list[WorkerSeen]:
        """Every worker that is known."""


class State(StrEnum):
    """Of a tracked message; Celery's names where it has them."""

    SCHEDULED = "SCHEDULED"
    """It waits in the broker for its ``eta`` or ``countdown``, or was snoozed or parked."""
    PENDING = "PENDING"
    """It waits for a worker."""
    STARTED = "STARTED"
    """A worker has it in hand: it runs, or runs within moments."""
    RETRY = "RETRY"
    """An attempt failed, and it waits for the next one."""
    SUCCESS = "SUCCESS"
    """It ended well."""
    FAILURE = "FAILURE"
    """Its last attempt failed: a dead letter."""
    REVOKED = "REVOKED"
    """It was cancelled, purged, or discarded by the task itself."""
    EXPIRED = "EXPIRED"
    """Its ``expires`` passed before it began."""
    UNKNOWN = "UNKNOWN"
    """The broker has no record of this id: never stored, not tracked, or its ``record_ttl`` is over."""

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset((State.SUCCESS, State.FAILURE, State.REVOKED, State.EXPIRED))


class Record(msgspec.Struct, gc=False):
    """What is remembered of a tracked message. Times in ms, 0 for not yet."""

    id: str
    state: State
    queue: str = ""
    attempt: int = 1
    progress: bytes = b""
    result: bytes | None = None
    error: bytes = b""
    reason: str = ""
    enqueued: int = 0
    started: int = 0
    finished: int = 0


class Remembers(ABC):
    """Facet: records of tracked messages, written in the very steps that move the messages.

    PENDING or SCHEDULED when stored; STARTED when handed out (PENDING again when given back or rescued); RETRY while it
    waits for its next attempt; SUCCESS, FAILURE, REVOKED, EXPIRED at the end, kept for ``record_ttl`` seconds from there
    (``Extra.RECORD_TTL`` overrides). A redriven one is PENDING again.
    """

    @abstractmethod
    def record(self, id: str) -> Record | None:
        """The record, or None if there is none (any more)."""

    @abstractmethod
    def await_record(self, id: str, timeout: float) -> Record | None:
        """Wait until the record is final, at most ``timeout`` seconds; answers with it as it then is. Never polls a server."""

    @abstractmethod
    def report(self, receipt: Receipt, id: str, progress: bytes) -> bool:
        """Note progress of a running delivery. False if the receipt does not hold any more."""

    @abstractmethod
    def forget(self, id: str) -> bool:
        """Delete a final record. False if there is none, or it is not final."""


class Served(msgspec.Struct, frozen=True, gc=False):
    """A queue that some worker says, or once said, that it serves."""

    queue: str
    alive: bool
    """Does a worker whose lease lives say so now?"""
    left: bool
    """Does none, and does anything stand in it, ready or scheduled?"""
    paused: bool


class Serves(ABC):
    """Facet: who takes from which queue. For queues that only some workers serve, and that others must take over once none of
    those lives (``docs/internals/releases.md``)."""

    @abstractmethod
    def serve(self, worker: str, queues: Sequence[str]) -> bool:
        """Note that ``worker`` serves ``queues`` for as long as its lease lives, instead of what it said before; none: it serves
        nothing any more. To be said again after each heartbeat, since the worker may have been forgotten in between. False,
        and nothing noted, if its lease does not live."""

    @abstractmethod
    def served(self) -> list[Served]:
        """By name, every queue that any worker serves or, within ``served_ttl``, served, and those of earlier times in which
        something still stands: ready, scheduled, leased or dead. ``maintain`` forgets the others. Takes nothing from any queue."""


class Ruled(msgspec.Struct, frozen=True, gc=False):
    """A rule as the store has it: what was declared, and what an operator said instead."""

    declared: Rule
    override: Rule

    @property
    def numbers(self) -> Rule:
        """Those in force."""
        return self.declared.under(self.override)


class Waits(StrEnum):
    """What a lane waits for."""

    NOTHING = "nothing"
    """Its next message may be handed out."""
    RATE = "rate"
    """A token of its own limit: see ``LaneSeen.until``."""
    CONCURRENCY = "concurrency"
    """A delivery that stands on its own limit."""
    GROUP_RATE = "group_rate"
    GROUP_CONCURRENCY = "group_concurrency"
    PAUSED = "paused"
    """Its queue is paused."""


class LaneSeen(msgspec.Struct, frozen=True, gc=False):
    """A lane in which something waits. Times in ms of the store's clock."""

    queue: str
    priority: int
    limit: str
    rule: str
    group: str
    """The limit that it shares with other lanes; empty without one."""
    waiting: int
    """Messages in it. Cancelled ones that are not taken out yet may be counted."""
    waits: Waits
    held: int
    """Deliveries in hands that stand on the limit it waits for (its own, where it waits for none)."""
    numbers: Rule
    """Those in force of the limit it waits for."""
    until: int | None = None
    """When a rate will have a token for it; None where that is not what it waits for, or never (a rate of 0)."""
    since: int = 0
    """When a message was last handed out of it, or since when there has been one in it."""


class LanePage(msgspec.Struct, gc=False):
    """Some lanes, and where to go on (None: that was all)."""

    lanes: list[LaneSeen]
    cursor: str | None = None


class Limits(ABC):
    """Facet: lanes, and keys that let one message stand for several. See docs/internals/lanes.md.

    *Lanes.* A message with ``Extra.LANE`` waits in the lane of its queue, priority, limit and group, if it has one, instead of in the
    plain list. It is handed out only while its limit and its group's limit have room: hand-outs within the rate (``gcra.py``),
    fewer deliveries in hands than the concurrency. Limits are shared by all queues. Storing a message makes its rules known where
    they are not. Handing out takes a token of both rates, and a place in both concurrencies under the receipt; whatever takes the
    delivery out of the hand gives the place back, and one that was not begun (``give_back``, ``leave``, not blamed by a ``retire`` that
    blames somebody, ``Released`` with the reason ``unbegun``) the token too. Any room made wakes who waits for the queues concerned.

    *Turns.* In a queue and priority, plain messages and lanes take turns: of what an exchange may still give, lanes give half, rounded
    up, and the plain list the rest; where one can be given, the lanes give it in exchanges of odd ``seq``; what one side cannot give the
    other does. Among lanes with room the one that was served longest ago (or that began longest ago) gives one message, then the
    next. If the next one of either side is to be handed out alone, it is given before all others or, to a holder of something,
    ends the claim of its queue. What goes back in front does so in its lane.

    *Skipping.* With ``Flag.SKIPS`` a message of attempt 1 that was never handed out and comes to its lane (stored without delay, or due)
    is dropped (``locked``) if a delivery stands on its limit, or any message waits in any lane of it: ``Receipted.dropped``, or
    ``dropped`` of the step's answer.

    *Keys.* ``Extra.UNIQUE``: a message stored with a key that another message has is a duplicate of that; it has the key until it
    ends in whatever way, or until it is handed out for the first time with ``UNIQUE_UNTIL``. A redriven letter takes the key again,
    and stays a letter (not counted) where another message has it. ``Extra.DEBOUNCE``: the first message with the key is due after the
    span; each later one is a duplicate of it that leaves it its body and its ``expires``, and makes it due anew (span from now, at most
    ``most`` from the first; one that is ready stays so); the key is free when it is handed out, or ends. ``due`` and ``after`` of
    such a message are not looked at. ``Extra.THROTTLE``: a message stored within the span of one with the same key is a duplicate of
    that, even if that has ended. An explicit id that is a duplicate by id is answered with that, before any key is looked at; one
    that is a duplicate by a key is not remembered.
    """

    @abstractmethod
    def declare(self, rules: Mapping[str, Rule]) -> None:
        """The numbers that tasks declare, by rule; in place of those declared or stored before. In force at once."""

    @abstractmethod
    def override(self, rule: str, changes: Rule) -> None:
        """Say numbers that count instead of declared ones, until they are cleared; what ``changes`` does not say stays as it is.
        In force at once, kept over restarts. A rule that is not known is known by it."""

    @abstractmethod
    def clear(self, rule: str, *, rate: bool = True, concurrency: bool = True) -> bool:
        """Let declared numbers count again. False if there was nothing to clear."""

    @abstractmethod
    def rules(self) -> dict[str, Ruled]:
        """All rules that the store knows, by name."""

    @abstractmethod
    def lanes(self, queue: str | None = None, limit: int = 50, cursor: str | None = None) -> LanePage:
        """Lanes in which something waits, of one queue or of all: by queue, the highest priority first, then by group and limit."""

    @abstractmethod
    def lane(self, envelope: Envelope) -> LaneSeen | None:
        """The lane of a message (its queue, priority, limit and group); None if nothing waits in it, or it names none."""

    @abstractmethod
    def backlog(self, queue: str) -> int:
        """How many messages are ready, in lanes, or scheduled in a queue. Cheap, whatever the depth."""


def require(broker: Broker, facet: Callable[..., F]) -> F:
    """The broker seen as one that has ``facet``, a class of this module; ``NotSupported`` if it has not.

    ``Callable``, since ``type[F]`` would take no abstract class from a caller who checks his types.
    """
    kind = cast("type[F]", facet)
    if not isinstance(broker, kind):
        raise NotSupported(f"the {broker.capabilities.name} broker does not support '{kind.__name__.lower()}'")
    return broker
