"""Pages of messages, and the cursors between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...facets import Listed, Page, Place
from . import replies, scripts
from .connection import Line
from .keys import Keys

_DEAD_LOOKED_AT = 1000
"""Dead letters looked at in one step, whatever queue they are of."""


class Browsing:
    """One page of ``limit`` messages of ``queues``, sorted by name. A cursor says what was seen last, so a page neither repeats
    nor leaves out what stands still; ready messages move up while others are claimed."""

    def __init__(self, line: Line, keys: Keys, queues: Sequence[bytes], limit: int) -> None:
        self._line = line
        self._keys = keys
        self._queues = queues
        self._limit = limit

    def ready(self, cursor: str | None) -> Page:
        """A cursor: list, place in it or in each of its lanes, lane, queue: see ``lua/browse_ready.lua``."""
        place, passed, turn, begin = 0, 0, 0, b""
        if cursor is not None:
            *numbers, name = cursor.split(".")
            place, passed, turn = map(int, numbers)
            begin = bytes.fromhex(name)
            passed += place % 2 == 0  # of a list the next one; of lanes the same of the next lane
        queues = [queue for queue in self._queues if queue >= begin]
        if queues and queues[0] != begin:
            place, passed, turn = 0, 0, 0
        rows = self._line.run(scripts.BROWSE_READY, 1, self._keys.root, self._limit + 1, place, passed, turn, *queues)
        shown, more = rows[: self._limit], len(rows) > self._limit
        messages = [Listed(replies.shown(row[4], replies.text(queues[row[0]])), Place.READY) for row in shown]
        if not (more and shown):
            return Page(messages, None)
        at, *numbers, _ = shown[-1]
        return Page(messages, ".".join([*map(str, numbers), queues[at].hex()]))

    def scheduled(self, cursor: str | None) -> Page:
        """A cursor: due time, number."""
        due, number = cursor.split(".") if cursor is not None else ("-1", "0")
        rows = self._line.run(scripts.BROWSE_SCHEDULED, 1, self._keys.root, self._limit + 1, due, number, *self._queues)
        shown, more = rows[: self._limit], len(rows) > self._limit
        messages = [Listed(replies.shown(row[3], replies.text(row[2])), Place.SCHEDULED, due=int(float(row[0]))) for row in shown]
        return Page(messages, f"{int(float(shown[-1][0]))}.{shown[-1][1]}" if more and shown else None)

    def leased(self, queue: str | None, crews: Sequence[tuple[str, str]], cursor: str | None) -> Page:
        """A cursor: sequence, index, holder. One round trip for each holder looked at."""
        after = (0, 0, "")
        if cursor is not None:
            first, second, name = cursor.split(".", 2)
            after = (int(first), int(second), name)
        found = list[tuple[str, Listed]]()
        for where, listed in self._held(queue, crews, after):
            found.append((where, listed))
            if len(found) > self._limit:
                break
        shown = found[: self._limit]
        return Page([listed for _, listed in shown], shown[-1][0] if len(found) > self._limit and shown else None)

    def _held(self, queue: str | None, crews: Sequence[tuple[str, str]], after: tuple[int, int, str]) -> Iterator[tuple[str, Listed]]:
        for holder, worker in crews:
            if holder < after[2]:
                continue
            for d in replies.held(holder, self._line.call("HGETALL", self._keys.held(holder))):
                seen = holder == after[2] and (d.receipt.seq, d.receipt.index) <= after[:2]
                if not seen and queue in (None, d.envelope.queue):
                    where = f"{d.receipt.seq}.{d.receipt.index}.{holder}"
                    yield where, Listed(d.envelope, Place.LEASED, holder=holder, worker=worker)

    def dead(self, queue: bytes, cursor: str | None) -> Page:
        """A cursor: time of dying, name."""
        found, more, died, name = list[Listed](), True, b"", b""
        if cursor is not None:
            first, second = cursor.split(".")
            died, name = first.encode(), bytes.fromhex(second)
        while more and len(found) < self._limit:
            keys, want = self._keys, self._limit - len(found)
            fixed = (keys.root, keys.dead, keys.died)
            flag, died, name, *rows = self._line.run(scripts.BROWSE_DEAD, 3, *fixed, want, _DEAD_LOOKED_AT, queue, died, name)
            more = flag == b"1"
            found += [replies.letter(row[0]) for row in rows]
        return Page(found, f"{died.decode()}.{name.hex()}" if more else None)
