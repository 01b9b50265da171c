"""Handing out: the second half of an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from ...broker import MAX_PROMOTE, Removed
from ...envelope import Delivery, Receipt
from ...errors import WireError
from . import ending, records
from .counters import is_handed_alone
from .exchange import Holder
from .flows import flows
from .rows import INDEX_MASK, SLOT_BITS, Row, read, runs
from .statements import SQL
from .store import Store


class _End(Enum):
    """What ends the claim of a queue."""

    EMPTY = 0
    BEFORE_ALONE = 1
    """The next one is to be handed out alone, and the holder holds something."""
    ALL = 2
    """The whole claim ends: it is full, or handed out one alone, or dropped as many as one step may."""


class Claim:
    """One claim of one holder, within the caller's step."""

    def __init__(self, store: Store, holder: Holder, seq: int, limit: int, now: int, dropped: list[Removed]) -> None:
        self._store, self._holder, self._seq, self._now = store, holder, seq, now
        self._limit = store.movable(min(limit, INDEX_MASK)) if limit > 0 else 0
        self._dropped = dropped
        self._may_drop = MAX_PROMOTE
        self.deliveries: list[Delivery] = []

    def run(self, queues: Sequence[str]) -> int | None:
        """Claim from ``queues``; answers with the ms until the next scheduled message of them is due, None if there is none."""
        execute, soonest, claiming, may_promote = self._store.connection.execute, None, self._limit > 0, MAX_PROMOTE
        for queue in queues:
            found = execute(SQL["queue_by_name"], (queue,)).fetchone()
            if found is None:
                continue
            number, paused = found
            due = self._next_due(number)
            if claiming and due is not None and due <= self._now and may_promote > 0:
                may_promote -= promote(self._store, number, queue, self._now, may_promote, self._dropped)[0]
                due = self._next_due(number)
            if due is not None and (soonest is None or due < soonest):
                soonest = due
            if claiming and not paused:
                claiming = self._empty(number, queue) is not _End.ALL
        return None if soonest is None else max(0, soonest - self._now)

    def _next_due(self, queue: int) -> int | None:
        row = self._store.connection.execute(SQL["next_due"], (queue,)).fetchone()
        return None if row is None else row[0]

    def _empty(self, number: int, queue: str) -> _End:
        """Take from one queue until something ends it."""
        while True:
            wanted = self._limit - len(self.deliveries)
            if wanted <= 0 or self._may_drop <= 0:
                return _End.ALL
            rows = self._store.connection.execute(SQL["ready"], (number, wanted)).fetchall()
            taken: list[tuple[int, int]] = []
            end = self._take(rows, number, queue, taken)
            self._store.connection.executemany(SQL["lease"], [(self._holder.id, *run) for run in runs(taken)])
            if end is not _End.EMPTY or len(rows) < wanted:
                return end

    def _take(self, rows: list[Any], number: int, queue: str, taken: list[tuple[int, int]]) -> _End:
        """Hand out ``rows``, adding to ``taken`` (pos, slot) of each that was, until something ends it."""
        base, holder = self._seq << SLOT_BITS, self._holder.name
        for pos, priority, expires, handed, record, data, flow in rows:
            if expires and expires <= self._now:
                self._drop(Row(pos, number, queue, priority, handed, record, data, None, flow), "expired")
                continue
            try:
                envelope = read(data, queue, handed + 1)
            except WireError:
                self._drop(Row(pos, number, queue, priority, handed, record, data, None, flow), "unreadable")
                continue
            if flow is not None and flows(self._store).holds(envelope):
                self._drop(Row(pos, number, queue, priority, handed, record, data, None, flow), "cancelled")
                continue
            alone = is_handed_alone(envelope)
            if alone and self._holds_something():
                return _End.BEFORE_ALONE
            index = len(self.deliveries)
            taken.append((pos, base + index))
            self.deliveries.append(Delivery(Receipt(holder, self._seq, index), envelope))
            if record is not None:
                records.started(self._store, record, envelope.attempt, self._now)
            if alone:
                return _End.ALL
        return _End.EMPTY

    def _holds_something(self) -> bool:
        return bool(self.deliveries) or self._store.connection.execute(SQL["holds_any"], (self._holder.id,)).fetchone() is not None

    def _drop(self, row: Row, reason: str) -> None:
        self._may_drop -= 1
        act = ending.bury if reason == "unreadable" else ending.drop
        self._dropped.append(act(self._store, row, reason, self._now))


def promote(store: Store, number: int, queue: str, now: int, limit: int, dropped: list[Removed]) -> tuple[int, int]:
    """What is due in a queue becomes ready behind what waits, at most ``limit`` and what there is room for; what of it
    expired is dropped.

    Answers (how many were touched, how many are ready now). Adds to ``dropped``.
    """
    execute, moves = store.connection.execute, []
    rows = execute(SQL["due"], (number, now, store.movable(limit))).fetchall()
    if not rows:
        return 0, 0
    place: int = execute(SQL["last_pos"]).fetchone()[0]
    for pos, priority, expires, handed, record, data, flow in rows:
        if expires and expires <= now:
            dropped.append(ending.drop(store, Row(pos, number, queue, priority, handed, record, data, None, flow), "expired", now))
            continue
        place += 1
        moves.append((place, pos))
        records.pending(store, record)
    store.connection.executemany(SQL["promote"], moves)
    return len(rows), len(moves)
