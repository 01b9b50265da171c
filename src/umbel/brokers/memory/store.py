"""What the memory broker keeps, and the moves of a message between its places.

Nothing here locks: whoever moves holds ``Store.lock``, and rings when he is done.
"""

from __future__ import annotations

import itertools
import os
import threading
from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from ...broker import Command, Removed, Verdict
from ...envelope import Envelope, Receipt, pack, unpack
from ...errors import WireError
from .records import Records
from .schedules import Schedules


@dataclass(slots=True, eq=False)
class Row:
    """One message: its packed bytes, and what a store keeps beside them."""

    queue: str
    priority: int
    data: bytes

    @classmethod
    def of(cls, envelope: Envelope) -> Row:
        return cls(envelope.queue, envelope.priority, pack(envelope))

    def read(self) -> Envelope | None:
        """The envelope, or None if the bytes are not one."""
        try:
            return unpack(self.data, self.queue)
        except WireError:
            return None

    def id(self) -> str:
        envelope = self.read()
        return envelope.id if envelope else ""


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
        self.lock = threading.RLock()
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

    def put(self, envelope: Envelope, now: int) -> None:
        """Ready behind what waits, or scheduled, as its times say."""
        due = envelope.due_at(now)
        row = Row.of(envelope)
        self.schedule(row, due) if due else self.behind(row)

    def schedule(self, row: Row, due: int) -> None:
        insort(self.scheduled, (due, next(self._serial), row))

    def lane(self, row: Row) -> deque[Row]:
        return self.ready.setdefault(row.queue, {}).setdefault(row.priority, deque())

    def behind(self, row: Row) -> None:
        self.lane(row).append(row)

    def in_front(self, rows: list[Row]) -> None:
        """Several at once, so that they keep their order among each other."""
        for row in reversed(rows):
            self.lane(row).appendleft(row)

    def bury(self, row: Row, now: int, reason: str, error: bytes = b"") -> Removed:
        letter = DeadLetter(next(self._serial), row, now, reason, error)
        self.dead[letter.name] = letter
        return Removed(row.id(), row.queue, reason)

    def promote(self, now: int, limit: int) -> tuple[int, list[Removed]]:
        """What is due becomes ready, at most ``limit``, and what of it expired is dropped: (how many, which)."""
        promoted, dropped = 0, []
        for _ in range(limit):
            if not self.scheduled or self.scheduled[0][0] > now:
                break
            row = self.scheduled.pop(0)[2]
            if removed := self.expire(row, now):
                dropped.append(removed)
            else:
                self.behind(row)
                self.records.pending(row.id())
                promoted += 1
        return promoted, dropped

    def expire(self, row: Row, now: int) -> Removed | None:
        """Set when its time was over, and it is gone with its record's word."""
        envelope = row.read()
        if envelope is None or not envelope.expires or envelope.expires > now:
            return None
        self.records.dropped(envelope, "expired", b"", now)
        return Removed(envelope.id, row.queue, "expired")

    def next_due(self, queues: set[str]) -> int | None:
        return next((due for due, _, row in self.scheduled if row.queue in queues), None)

    def waiting(self) -> Iterator[Row]:
        """Ready ones in the order of claiming, queue by queue, then scheduled ones."""
        for queue in sorted(self.ready):
            yield from self.ready_rows(queue)
        yield from (row for _, _, row in self.scheduled)

    def ready_rows(self, queue: str) -> Iterator[Row]:
        lanes = self.ready.get(queue, {})
        for priority in sorted(lanes, reverse=True):
            yield from lanes[priority]

    def remove_waiting(self, gone: set[int]) -> None:
        """Take out the rows whose ``id()`` of the object is in ``gone``."""
        for lanes in self.ready.values():
            for priority, rows in lanes.items():
                lanes[priority] = deque(row for row in rows if id(row) not in gone)
        self.scheduled = [entry for entry in self.scheduled if id(entry[2]) not in gone]

    def leased(self) -> Iterator[tuple[str, Holding, Receipt, Row]]:
        for name in sorted(self.holders):
            holding = self.holders[name]
            for receipt, row in holding.held.items():
                yield name, holding, receipt, row

    def accepted_before(self, id: str, ttl_ms: int, now: int) -> bool:
        """Was this explicit id accepted within its time? If not, it is from now on."""
        if self.remembered.get(id, 0) > now:
            return True
        self.remembered[id] = now + ttl_ms
        return False
