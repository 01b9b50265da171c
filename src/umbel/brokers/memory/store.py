"""What the memory broker keeps, and the moves of a message between its places.

Nothing here locks: whoever moves holds ``Store.lock``, and rings when he is done.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from ...arrivals import Flows
from ...broker import Command, Removed, Verdict
from ...envelope import SKIPS, Envelope, Extra, Receipt, pack
from ...forks import step_lock
from ...joins import NodeState
from ...lane import Debounce, marks_of
from .keys import Keys
from .lanes import Lanes
from .records import Records
from .row import Row
from .schedules import Schedules


@dataclass(slots=True, eq=False)
class DeadLetter:
    """A message after its last failure. ``name`` rises, so it is the order of dying too."""

    name: int
    row: Row
    died: int
    reason: str
    error: bytes


@dataclass(slots=True, eq=False)
class Holding:
    """An admitted holder: its last exchange, and what it holds, in the order of its receipts."""

    worker: str
    seq: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    held: dict[Receipt, Row] = field(default_factory=dict)
    taken: set[Receipt] = field(default_factory=set)
    """Receipts that somebody else ended: the trace that tells ``superseded`` from ``absent``."""


@dataclass(slots=True, eq=False)
class Lease:
    """A known worker."""

    expires: int
    about: bytes = b""
    commands: list[Command] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Serving:
    """One queue: who serves it, and when that was last said."""

    workers: set[str] = field(default_factory=set)
    said: int = 0


class Store:
    """All of one app's messages."""

    _stores: ClassVar[dict[str, Store]] = {}
    _stores_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.lock = step_lock()
        self.ready: dict[str, dict[int, deque[Row]]] = {}
        self.scheduled: list[tuple[int, int, Row]] = []
        self.dead: dict[int, DeadLetter] = {}
        self.holders: dict[str, Holding] = {}
        self.gone: set[str] = set()
        self.workers: dict[str, Lease] = {}
        self.lost: dict[str, list[str]] = {}
        self.remembered: dict[str, int] = {}
        self.paused: set[str] = set()
        self.serving: dict[str, Serving] = {}
        self.records = Records()
        self.lanes = Lanes()
        self.keys = Keys()
        self.flows = Flows(self.follow)
        self.schedules = Schedules()
        self._serial = itertools.count(1)
        self._bells: set[int] = set()

    @classmethod
    def named(cls, name: str) -> Store:
        with cls._stores_lock:
            return cls._stores.setdefault(name, cls())

    # -- bells: file descriptors, so that a wait can watch its own one and the caller's together

    def listen(self) -> tuple[int, int]:
        """A new bell: (the end to wait on, the end that is rung)."""
        ear, bell = os.pipe()
        os.set_blocking(bell, False)
        with self.lock:
            self._bells.add(bell)
        return ear, bell

    def unlisten(self, ear: int, bell: int) -> None:
        with self.lock:
            self._bells.discard(bell)
        os.close(bell)
        os.close(ear)

    def ring(self) -> None:
        for bell in self._bells:
            try:
                os.write(bell, b"!")
            except BlockingIOError:
                pass  # thousands of rings unheard: one more says nothing new

    # -- moves

    def begin(self, envelope: Envelope, now: int, record_ttl: float) -> Removed | None:
        """New to the queues: its record is begun, and it is put."""
        self.records.begin(envelope, envelope.due_at(now), now, record_ttl)
        return self.put(envelope, now)

    def follow(self, envelope: Envelope, now: int, record_ttl: float) -> str:
        """The same for the message of a flow; answers with the reason if it was dropped."""
        removed = self.begin(envelope, now, record_ttl)
        return removed.reason if removed else ""

    def put(self, envelope: Envelope, now: int) -> Removed | None:
        """Ready behind what waits, or scheduled, as its times say; or dropped at once, since it skips what is locked."""
        row = Row.of(envelope)
        if marks := marks_of(envelope.extras):
            self.lanes.know(marks)
        self.keys.take(envelope, row, now)
        if due := envelope.due_at(now):
            self.schedule(row, due)
            return None
        return self.enter(row, now)

    def enter(self, row: Row, now: int) -> Removed | None:
        """Behind what waits, or gone as one that skips what is locked."""
        envelope = row.read() if row.limits else None
        newcomer = envelope and envelope.flags & SKIPS and envelope.attempt == 1 and not envelope.delivery
        if envelope and newcomer and self.lanes.is_taken(row.limits[0].limit):
            return self.drop(envelope, "locked", now)
        self.behind(row, now)
        return None

    def drop(self, envelope: Envelope, reason: str, now: int, error: bytes = b"") -> Removed:
        """The end of one that stands nowhere any more: its record's word, its keys are free, and its flow is told."""
        self.records.dropped(envelope, reason, error, now)
        self.keys.ended(envelope)
        self.flows.failed(envelope, NodeState.DROPPED, reason, error, now)
        return Removed(envelope.id, envelope.queue, reason)

    def bounce(self, envelope: Envelope, now: int) -> None:
        """Leave the waiting one of its debounce key the body of this one, and put it off if it is not ready."""
        debounce = Debounce.read((envelope.extras or {})[Extra.DEBOUNCE])
        waits = self.keys.debounced[debounce.key]
        if stands := waits.row.read():
            stands.body, stands.expires = envelope.body, envelope.expires
            waits.row.data = pack(stands)
        entry = next((entry for entry in self.scheduled if entry[2] is waits.row), None)
        if entry is not None:
            self.scheduled.remove(entry)
            self.schedule(waits.row, min(now + debounce.span, waits.first + debounce.most))

    def schedule(self, row: Row, due: int) -> None:
        insort(self.scheduled, (due, next(self._serial), row))

    def plain(self, row: Row) -> deque[Row]:
        return self.ready.setdefault(row.queue, {}).setdefault(row.priority, deque())

    def behind(self, row: Row, now: int = 0) -> None:
        self.lanes.behind(row, now) if row.limits else self.plain(row).append(row)

    def in_front(self, rows: list[Row], now: int) -> None:
        """Several at once, so that they keep their order among each other."""
        for row in reversed(rows):
            self.lanes.in_front(row, now) if row.limits else self.plain(row).appendleft(row)

    def bury(self, row: Row, now: int, reason: str, error: bytes = b"") -> Removed:
        letter = DeadLetter(next(self._serial), row, now, reason, error)
        self.dead[letter.name] = letter
        return Removed(row.id(), row.queue, reason)

    def promote(self, now: int, limit: int) -> tuple[int, list[Removed]]:
        """What is due becomes ready, at most ``limit``, and what of it expired, or skips, is dropped: (how many, which)."""
        promoted, dropped = 0, []
        for _ in range(limit):
            if not self.scheduled or self.scheduled[0][0] > now:
                break
            row = self.scheduled.pop(0)[2]
            if removed := self.expire(row, now) or self.enter(row, now):
                dropped.append(removed)
            else:
                self.records.pending(row.id())
                promoted += 1
        return promoted, dropped

    def expire(self, row: Row, now: int) -> Removed | None:
        """Set when its time was over, and it is gone with its record's word."""
        envelope = row.read()
        if envelope is None or not envelope.expires or envelope.expires > now:
            return None
        return self.drop(envelope, "expired", now)

    def next_due(self, queues: set[str]) -> int | None:
        return next((due for due, _, row in self.scheduled if row.queue in queues), None)

    def next_room(self, queues: set[str], now: int) -> int | None:
        """When a rate makes room for a lane of these queues; None while none waits for one."""
        times = [self.lanes.next_room(queue, now) for queue in queues - self.paused]
        return min((math.ceil(time) for time in times if time is not None), default=None)

    def waiting(self) -> Iterator[Row]:
        """Ready ones in the order of claiming, queue by queue, then scheduled ones."""
        for queue in self.ready_queues():
            yield from self.ready_rows(queue)
        yield from (row for _, _, row in self.scheduled)

    def ready_queues(self) -> list[str]:
        return sorted(self.ready.keys() | self.lanes.queues())

    def priorities(self, queue: str) -> list[int]:
        """Those of which something may be ready, the highest first."""
        return sorted(self.ready.get(queue, {}).keys() | self.lanes.priorities(queue), reverse=True)

    def ready_rows(self, queue: str) -> Iterator[Row]:
        plain = self.ready.get(queue, {})
        for priority in self.priorities(queue):
            yield from plain.get(priority, ())
            yield from self.lanes.rows(queue, priority)

    def heads(self, queue: str, priority: int, now: int) -> list[Row]:
        """The next plain one and the next of a lane with room, where there is one."""
        plain, lane = self.ready.get(queue, {}).get(priority), self.lanes.next(queue, priority, now)
        return [rows[0] for rows in (plain, lane.rows if lane else None) if rows]

    def remove_waiting(self, gone: set[int]) -> None:
        """Take out the rows whose ``id()`` of the object is in ``gone``."""
        for plain in self.ready.values():
            for priority, rows in plain.items():
                plain[priority] = deque(row for row in rows if id(row) not in gone)
        self.lanes.remove_waiting(gone)
        self.scheduled = [entry for entry in self.scheduled if id(entry[2]) not in gone]

    def leased(self) -> Iterator[tuple[str, Holding, Receipt, Row]]:
        for name in sorted(self.holders):
            holding = self.holders[name]
            for receipt, row in holding.held.items():
                yield name, holding, receipt, row

    def remembers(self, id: str, now: int) -> bool:
        """Was this explicit id accepted within its time?"""
        return self.remembered.get(id, 0) > now
