"""Handing out: the second half of an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...broker import MAX_PROMOTE, Removed
from ...envelope import Delivery, Receipt
from ...errors import WireError
from . import ending, entry, records
from .counters import is_handed_alone
from .hand import End, Hand
from .lanes import Lanes
from .rows import FAR, Row, read, runs
from .statements import SQL
from .store import Store

_ABOVE_ALL = 1 << 32
"""More than any priority."""


class Claim(Hand):
    """One claim of one holder, within the caller's step."""

    def run(self, queues: Sequence[str]) -> int | None:
        """Claim from ``queues``; answers with the ms until the next scheduled message of them is due or the next of their lanes
        has a token, None if there is neither."""
        execute, now, soonest = self.store.connection.execute, self.now, FAR
        claiming, may_promote = self.limit > 0, MAX_PROMOTE
        for queue in queues:
            found = execute(SQL["queue_asked"], (now, queue)).fetchone()
            if found is None:
                continue
            number, paused, opens = found
            due = self._next_due(number)
            if claiming and due <= now and may_promote > 0:
                may_promote -= promote(self.store, number, queue, now, may_promote, self.dropped)[0]
                due, opens = self._next_due(number), execute(SQL["queue_asked"], (now, queue)).fetchone()[2]
            if claiming and not paused:
                # lanes that could give nothing now are passed over whole
                plain = opens is None or opens > now
                claiming = (self._empty(number, queue) if plain else self._empty_with_lanes(number, queue)) is not End.ALL
            if due < soonest:
                soonest = due
            if opens is not None:
                soonest = min(soonest, self._next_room(number))
        return None if soonest >= FAR else max(0, soonest - now)

    def _next_due(self, queue: int) -> int:
        row = self.store.connection.execute(SQL["next_due"], (queue,)).fetchone()
        return FAR if row is None else row[0]

    def _next_room(self, queue: int) -> int:
        """When the next lane that waits for a rate has a token. What may be had at once is no business of a clock."""
        return self.store.connection.execute(SQL["lanes_soonest"], (queue, self.now, FAR)).fetchone()[0] or FAR

    def _empty(self, number: int, queue: str) -> End:
        """Take from the plain list of one queue until something ends it."""
        while True:
            wanted = self.wanted
            if wanted <= 0:
                return End.ALL
            rows = self.store.connection.execute(SQL["ready"], (number, wanted)).fetchall()
            end = self._take(rows, number, queue)
            if end is not End.EMPTY or len(rows) < wanted:
                return end

    def _take(self, rows: list[Any], number: int, queue: str) -> End:
        """Hand out ``rows`` until something ends it."""
        taken: list[tuple[int, int]] = []
        end = self._take_each(rows, number, queue, taken)
        self.store.connection.executemany(SQL["lease"], [(self.holder.id, *run) for run in runs(taken)])
        return end

    def _take_each(self, rows: list[Any], number: int, queue: str, taken: list[tuple[int, int]]) -> End:
        """The same, adding to ``taken`` (pos, slot) of each that was."""
        base, holder, seq, now, deliveries = self.base, self.holder.name, self.seq, self.now, self.deliveries
        for pos, priority, expires, handed, record, data, lane in rows:
            if expires and expires <= now:
                self.drop(Row(pos, number, queue, priority, handed, record, data, None, lane), "expired")
                continue
            try:
                envelope = read(data, queue, handed + 1)
            except WireError:
                self.drop(Row(pos, number, queue, priority, handed, record, data, None, lane), "unreadable")
                continue
            alone = is_handed_alone(envelope)
            if alone and self.holds_something():
                return End.BEFORE_ALONE
            if lane is not None and entry.begun(self.store, pos, number, priority, envelope, now):
                continue
            index = len(deliveries)
            taken.append((pos, base + index))
            deliveries.append(Delivery(Receipt(holder, seq, index), envelope))
            if record is not None:
                records.started(self.store, record, envelope.attempt, now)
            if alone:
                return End.ALL
        return End.EMPTY

    # -- where lanes may give something

    def _empty_with_lanes(self, number: int, queue: str) -> End:
        """Take from one queue, the highest priority first, until something ends it."""
        lanes, priority, end = Lanes(self, number, queue), _ABOVE_ALL, End.EMPTY
        while end is End.EMPTY:
            row = self.store.connection.execute(SQL["priority_below"], (number, priority)).fetchone()
            priority = max(-1 if row is None else row[0], lanes.priority_below(priority))
            if priority < 0:
                break
            end = self._take_turns(number, queue, priority, lanes)
        lanes.keep()
        return end

    def _take_turns(self, number: int, queue: str, priority: int, lanes: Lanes) -> End:
        """From one priority: half from the lanes, the rest from the plain list, and what one side has not from the other."""
        wanted = self.wanted
        if wanted <= 0:
            return End.ALL
        plain = self._plain(number, priority, wanted)
        alone = "plain" if plain and _is_alone(plain[0], queue) else "lane" if lanes.is_next_alone(priority) else ""
        if alone and self.holds_something():
            return End.BEFORE_ALONE
        share = (wanted + 1) // 2 if wanted > 1 else self.seq % 2
        if alone:
            share = wanted if alone == "lane" else 0
        end = lanes.take(priority, share)
        if end is End.EMPTY:
            end = self._take_at(number, queue, priority, plain)
        if end is End.EMPTY:
            end = lanes.take(priority, self.wanted)
        return End.ALL if end is End.EMPTY and self.wanted <= 0 else end

    def _take_at(self, number: int, queue: str, priority: int, rows: list[Any]) -> End:
        """From the plain list of one priority, of which ``rows`` come first, until something ends it."""
        while (wanted := self.wanted) > 0:
            end = self._take(rows[:wanted], number, queue)
            if end is not End.EMPTY or len(rows) < wanted:
                return end
            wanted = self.wanted
            rows = self._plain(number, priority, wanted) if wanted > 0 else []
        return End.EMPTY

    def _plain(self, number: int, priority: int, wanted: int) -> list[Any]:
        return self.store.connection.execute(SQL["ready_at"], (number, priority, wanted)).fetchall()


def _is_alone(row: Any, queue: str) -> bool:
    """Is this one of the plain list to be handed out alone?"""
    envelope = entry.readable(row[5], queue)
    return envelope is not None and is_handed_alone(envelope)


def promote(store: Store, number: int, queue: str, now: int, limit: int, dropped: list[Removed]) -> tuple[int, int]:
    """What is due in a queue becomes ready behind what waits, at most ``limit`` and what there is room for; what of it
    expired is dropped.

    Answers (how many were touched, how many are ready now). Adds to ``dropped``.
    """
    execute, moves, marked = store.connection.execute, [], 0
    rows = execute(SQL["due"], (number, now, store.movable(limit))).fetchall()
    if not rows:
        return 0, 0
    place: int = execute(SQL["last_pos"]).fetchone()[0]
    for pos, priority, expires, handed, record, data, lane in rows:
        row = Row(pos, number, queue, priority, handed, record, data, None, lane)
        if expires and expires <= now:
            dropped.append(ending.drop(store, row, "expired", now))
            continue
        place += 1
        if lane is None:
            moves.append((place, pos))
            records.pending(store, record)
        elif removed := entry.promoted(store, row, place, now):
            dropped.append(removed)
        else:
            marked += 1
    store.connection.executemany(SQL["promote"], moves)
    return len(rows), len(moves) + marked
