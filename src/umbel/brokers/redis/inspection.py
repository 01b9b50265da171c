"""Looking at messages and acting on them, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from ...envelope import Envelope
from ...facets import Cancelled, Inspects, Listed, Page, Place, WorkerSeen
from ...intake import queue_bytes
from . import replies, scripts
from .browse import Browsing
from .connection import Line
from .keys import Keys
from .runs import stored_id
from .scripts import Script

_BATCH = 50
"""Dead letters named in one step: the largest possible ones hold the server for a tenth of a second or so."""
_LOOK = 1000
"""Messages looked at in one step of a search."""
_ROUNDS = 2
"""A message may move from where the search has yet to look to where it has been, so a search that finds nothing is made again."""


class RedisInspects(Inspects):
    """The facet ``Inspects`` of the Redis broker."""

    _keys: Keys
    _record_ms: int

    @abstractmethod
    def _open_line(self) -> Line: ...

    # -- looking

    def browse(self, queue: str | None, place: Place, limit: int = 50, cursor: str | None = None) -> Page:
        line, keys = self._open_line(), self._keys
        names = sorted(line.call("SMEMBERS", keys.queues)) if queue is None else [queue_bytes(queue)]
        browsing = Browsing(line, keys, names, limit)
        match place:
            case Place.READY:
                return browsing.ready(cursor)
            case Place.SCHEDULED:
                return browsing.scheduled(cursor)
            case Place.LEASED:
                return browsing.leased(queue, self._crews(), cursor)
            case Place.DEAD:
                return browsing.dead(b"" if queue is None else names[0], cursor)

    def find(self, id: str) -> Listed | None:
        stored = stored_id(id)
        if stored is None:
            return None
        answer = self._open_line().run(scripts.FIND, 2, self._keys.root, self._keys.dead, stored)
        match answer:
            case [b"scheduled", queue, due, message]:
                return Listed(replies.shown(message, replies.text(queue)), Place.SCHEDULED, due=int(due))
            case [b"leased", holder, worker, value]:
                found = replies.envelope(value, {})
                return Listed(found, Place.LEASED, holder=replies.text(holder), worker=replies.text(worker or b""))
            case [b"dead", letter]:
                return replies.letter(letter)
            case [b"ready", queue]:
                return self._search(stored, False, [queue], [])
            case [b"ended"]:
                return None
        return self._search(stored, False)

    def workers(self) -> list[WorkerSeen]:
        rows: list[Any] = self._open_line().run(scripts.WORKERS, 3, self._keys.root, self._keys.workers, self._keys.about)
        seen = [WorkerSeen(replies.text(name), int(end), about, sorted(map(replies.text, holders))) for name, end, about, holders in rows]
        return sorted(seen, key=lambda one: one.worker)

    def _crews(self) -> list[tuple[str, str]]:
        """(holder, its worker), by name."""
        return sorted((holder, seen.worker) for seen in self.workers() for holder in seen.holders)

    # -- a plain message, of which nothing says where it is

    def _search(
        self, id: bytes, cancel: bool, queues: Sequence[bytes] | None = None, crews: Sequence[tuple[str, str]] | None = None
    ) -> Listed | None:
        """Look at every message of ``queues`` (None: of all) and in all hands, or those of ``crews``; cancel what waits."""
        line = self._open_line()
        for _ in range(_ROUNDS):
            for holder, worker in self._crews() if crews is None else crews:
                if held := self._in_hands(id, holder):
                    return Listed(held, Place.LEASED, holder=holder, worker=worker)
            for queue in sorted(line.call("SMEMBERS", self._keys.queues)) if queues is None else queues:
                if found := self._in_queue(id, queue, cancel):
                    return found
        return None

    def _in_hands(self, id: bytes, holder: str) -> Envelope | None:
        held = replies.held(holder, self._open_line().call("HGETALL", self._keys.held(holder)))
        return next((d.envelope for d in held if stored_id(d.envelope.id) == id), None)

    def _in_queue(self, id: bytes, queue: bytes, cancel: bool) -> Listed | None:
        at, seen = 0, 0
        while True:
            answer = self._open_line().run(scripts.SEARCH, 1, self._keys.root, id, int(cancel), queue, at, seen, _LOOK)
            match answer:
                case [b"found", place, due, message]:
                    shown = replies.shown(message, replies.text(queue))
                    return Listed(shown, Place(replies.text(place)), due=int(float(due)) if due else None)
                case [b"more", at, seen]:
                    continue
            return None

    # -- acting

    def cancel(self, id: str, terminate: bool = False) -> Cancelled:
        stored = stored_id(id)
        if stored is None:
            return Cancelled.UNKNOWN
        for _ in range(_ROUNDS):
            answer = self._open_line().run(scripts.CANCEL, 1, self._keys.root, stored, int(terminate))
            if isinstance(answer, list):
                if self._in_queue(stored, answer[1], True):
                    return Cancelled.WAITING
                continue
            if answer != b"PLAIN":
                return Cancelled(replies.text(answer).lower())
            if any(self._cancel_held(stored, holder, terminate) for holder, _ in self._crews()):
                return Cancelled.RUNNING
            if any(self._in_queue(stored, queue, True) for queue in sorted(self._open_line().call("SMEMBERS", self._keys.queues))):
                return Cancelled.WAITING
        return Cancelled.UNKNOWN

    def _cancel_held(self, id: bytes, holder: str, terminate: bool) -> bool:
        keys = self._keys
        return bool(self._open_line().run(scripts.CANCEL_HELD, 2, keys.root, keys.held(holder), id, int(terminate), holder))

    def redrive(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        return self._each_letter(scripts.REDRIVE, (self._record_ms,), ids, queue)

    def forget_dead(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        return self._each_letter(scripts.FORGET_DEAD, (), ids, queue)

    def _each_letter(self, script: Script, first: tuple[int, ...], ids: Sequence[str] | None, queue: str | None) -> int:
        line, root, name = self._open_line(), self._keys.root, b"" if queue is None else queue_bytes(queue)
        if ids is not None:
            names = list(dict.fromkeys(stored for id in ids if (stored := stored_id(id)) is not None))
            pieces = (names[i : i + _BATCH] for i in range(0, len(names), _BATCH))
            return sum(line.run(script, 1, root, *first, name, b"", 0, *piece)[0] for piece in pieces)
        total, rank = 0, 0
        seconds, micros = line.call("TIME")
        until = int(seconds) * 1000 + int(micros) // 1000  # what dies again meanwhile is not taken a second time
        while rank >= 0:
            count, rank = line.run(script, 1, root, *first, name, rank, until)
            total += count
        return total

    def pause_queue(self, queue: str) -> None:
        self._open_line().run(scripts.PAUSE, 2, self._keys.paused, self._keys.queues, queue_bytes(queue))

    def resume_queue(self, queue: str) -> None:
        self._open_line().run(scripts.UNPAUSE, 2, self._keys.root, self._keys.paused, queue_bytes(queue))
