"""Looking at messages and acting on them, as the contract's facet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ...broker import BrokerSettings
from ...envelope import id_bytes
from ...errors import WireError
from ...facets import Cancelled, Inspects, Listed, Page, Place, WorkerSeen
from . import ending, records
from .accept import queue_number
from .counters import stamped
from .flows import flows
from .rows import Row, read, shown
from .statements import SQL
from .store import Store

_LAST = 1 << 62
_BATCH = 1000
"""Dead letters moved or deleted in one step."""
_STATES = (Place.READY, Place.SCHEDULED, Place.LEASED)
_MOVED_AWAY = 5
"""Looks for a message that changes its place between being found and being taken."""


class SQLiteInspects(Inspects):
    """The facet ``Inspects`` of the SQLite broker."""

    store: Store
    settings: BrokerSettings

    # -- looking

    def browse(self, queue: str | None, place: Place, limit: int = 50, cursor: str | None = None) -> Page:
        pages: dict[Place, Callable[[str | None, int, str], list[tuple[str, Listed]]]] = {
            Place.READY: self._ready,
            Place.SCHEDULED: self._scheduled,
            Place.LEASED: self._leased,
            Place.DEAD: self._dead,
        }
        # one more than asked for tells whether there is another page
        found = self.store.read(lambda _: pages[place](queue, limit + 1, cursor or ""))
        more = len(found) > limit
        found = found[:limit]
        return Page([message for _, message in found], found[-1][0] if more and found else None)

    def _number(self, queue: str | None) -> int | None:
        """The number of a queue; None for all, -1 for one that does not exist."""
        if queue is None:
            return None
        row = self.store.connection.execute(SQL["queue_by_name"], (queue,)).fetchone()
        return -1 if row is None else row[0]

    def _ready(self, queue: str | None, limit: int, cursor: str) -> list[tuple[str, Listed]]:
        execute, found = self.store.connection.execute, list[tuple[str, Listed]]()
        begin, *after = _numbers(cursor, 0, 1 << 32, 0)
        for id, name, _ in execute(SQL["queues"]).fetchall():
            if (queue is not None and name != queue) or (begin and id != begin):
                continue
            priority, pos = after
            rows = execute(SQL["browse_ready"], (id, priority, priority, pos, limit - len(found)))
            found += [(f"{id}.{row[0]}.{row[1]}", Listed(shown(row[3], name, row[2]), Place.READY)) for row in rows]
            begin, after = 0, [1 << 32, 0]
        return found

    def _scheduled(self, queue: str | None, limit: int, cursor: str) -> list[tuple[str, Listed]]:
        number, (due, pos) = self._number(queue), _numbers(cursor, -1, 0)
        rows = self.store.connection.execute(SQL["browse_scheduled"], (number, number, due, due, pos, limit))
        return [(f"{due}.{pos}", Listed(shown(data, name, handed), Place.SCHEDULED, due=due)) for pos, due, handed, data, name in rows]

    def _leased(self, queue: str | None, limit: int, cursor: str) -> list[tuple[str, Listed]]:
        number, (text, _, last) = self._number(queue), cursor.partition(".")
        slot = int(text or -1)
        rows = self.store.connection.execute(SQL["browse_leased"], (number, number, last, last, slot, limit))
        return [
            (f"{slot}.{holder}", Listed(shown(data, name, handed), Place.LEASED, holder=holder, worker=worker))
            for slot, holder, worker, handed, data, name in rows
        ]

    def _dead(self, queue: str | None, limit: int, cursor: str) -> list[tuple[str, Listed]]:
        number, (pos,) = self._number(queue), _numbers(cursor, _LAST)
        rows = self.store.connection.execute(SQL["browse_dead"], (number, number, pos, limit))
        return [(str(row[0]), _letter(row)) for row in rows]

    def find(self, id: str) -> Listed | None:
        return self.store.read(lambda _: next((_standing(found) for _, found in self._places(id)), None) or self._dead_one(id))

    def _dead_one(self, id: str) -> Listed | None:
        row = self.store.connection.execute(SQL["dead_by_id"], (id,)).fetchone() if id else None
        return None if row is None else _letter(row)

    def _places(self, id: str) -> Iterator[tuple[int, Any]]:
        """Where messages with this id stand, waiting ones first: (pos, what ``standing`` says)."""
        if not id:
            return
        execute = self.store.connection.execute
        places = execute(SQL["places_tracked"], (id,)).fetchall()
        if not places:
            try:
                packed, _ = id_bytes(id)
            except WireError:  # too long to be anybody's
                return
            places = execute(SQL["places_plain"], (bytes((len(packed),)) + packed,)).fetchall()
        for (pos,) in places:
            row = execute(SQL["standing"], (pos,)).fetchone()
            if row is not None and shown(row[3], row[4]).id == id:
                yield pos, row

    def workers(self) -> list[WorkerSeen]:
        def look(_: int) -> list[WorkerSeen]:
            execute = self.store.connection.execute
            return [
                WorkerSeen(name, expires, about, [holder for _, holder in execute(SQL["holders_of"], (id,))])
                for id, name, expires, about in execute(SQL["workers"]).fetchall()
            ]

        return self.store.read(look)

    # -- acting

    def cancel(self, id: str, terminate: bool = False) -> Cancelled:
        for _ in range(_MOVED_AWAY):
            # the search may read every message, so it is made while others may write
            places = self.store.read(lambda _: [pos for pos, _ in self._places(id)])
            if not places:
                return Cancelled.UNKNOWN
            answer = self.store.write(partial(self._cancel_at, places, id, terminate))
            if answer is not Cancelled.UNKNOWN:
                return answer
        return Cancelled.UNKNOWN

    def _cancel_at(self, places: list[int], id: str, terminate: bool, now: int) -> Cancelled:
        """Cancel the message with this id at the first of ``places`` where it still stands."""
        execute = self.store.connection.execute
        for pos in places:
            found = execute(SQL["row"], (pos,)).fetchone()
            if found is None or (row := Row(*found)).id() != id:
                continue
            if row.slot is None:
                ending.drop(self.store, row, "cancelled", now)
                return Cancelled.WAITING
            ending.mark_cancelled(self.store, row)
            if terminate:
                worker = execute(SQL["standing"], (pos,)).fetchone()[7]
                execute(SQL["command_add"], (worker, "cancel", id))
            return Cancelled.RUNNING
        return Cancelled.UNKNOWN

    def redrive(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        return self._each_letter(ids, queue, self._redrive_one)

    def _redrive_one(self, letter: Any, now: int) -> bool:
        pos, queue, priority, data, flow = letter
        [(name,)] = self.store.connection.execute(SQL["queue_name"], (queue,)).fetchall()
        try:
            envelope = read(data, name, 0)
        except WireError:
            return False  # what cannot be read would only come back
        if flow is not None and flows(self.store).holds(envelope):
            return False  # its flow was ended: it must not start
        envelope = ending.revived(envelope)
        if flow is not None:
            flows(self.store).again(envelope, now)
        number = records.begin(self.store, self.settings, envelope, 0, now) if envelope.tracked else None
        expires = min(envelope.expires, _LAST)
        self.store.connection.execute(SQL["message_add"], (queue, priority, 0, 0, expires, number, stamped(data, envelope), flow))
        self.store.connection.execute(SQL["dead_remove"], (pos,))
        return True

    def forget_dead(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        return self._each_letter(ids, queue, self._forget_one)

    def _forget_one(self, letter: Any, now: int) -> bool:
        self.store.connection.execute(SQL["dead_remove"], (letter[0],))
        return True

    def _each_letter(self, ids: Sequence[str] | None, queue: str | None, act: Callable[[Any, int], bool]) -> int:
        """Do ``act`` with each dead letter that is meant, 1,000 in a step; answers how often it said True."""
        total, after, wanted = 0, 0, None if ids is None else list(dict.fromkeys(ids))
        while True:
            chunk, wanted = (None, None) if wanted is None else (wanted[:_BATCH], wanted[_BATCH:])

            def step(now: int, chunk: list[str] | None = chunk, after: int = after) -> tuple[int, int, int]:
                letters = self._letters(chunk, queue, after)
                return sum(act(letter, now) for letter in letters), len(letters), letters[-1][0] if letters else after

            acted, seen, after = self.store.write(step)
            total += acted
            if not wanted and (chunk is not None or seen < _BATCH):
                return total

    def _letters(self, ids: list[str] | None, queue: str | None, after: int) -> list[Any]:
        execute, number = self.store.connection.execute, self._number(queue)
        if ids is None:
            return execute(SQL["letters"], (after, number, number, _BATCH)).fetchall()
        return [letter for id in ids if id for letter in execute(SQL["letters_by_id"], (id, number, number)).fetchall()]

    def pause_queue(self, queue: str) -> None:
        self._pause(queue, 1)

    def resume_queue(self, queue: str) -> None:
        self._pause(queue, 0)

    def _pause(self, queue: str, paused: int) -> None:
        def step(_: int) -> None:
            queue_number(self.store, queue)
            self.store.connection.execute(SQL["pause"], (paused, queue))

        self.store.write(step)


def _numbers(cursor: str, *first: int) -> tuple[int, ...]:
    """The numbers of a cursor, or where the first page begins."""
    return tuple(int(part) for part in cursor.split(".")) if cursor else first


def _letter(row: Any) -> Listed:
    _, died, reason, error, data, name = row
    return Listed(shown(data, name), Place.DEAD, died=died, reason=reason, error=error)


def _standing(row: Any) -> Listed:
    state, due, handed, data, name, holder, worker, _ = row
    return Listed(shown(data, name, handed), _STATES[state], due=due if state == 1 else None, holder=holder, worker=worker)
