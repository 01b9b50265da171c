"""The rosters: shared memory in which a child that runs many tasks at once says which, and what it has not begun.

A roster belongs to one child at a time. It is an array of aligned words, each with one writer and written in one piece, so
nothing is locked and nothing is torn by a death at any instruction. A row is filled in before its receipt is, and a receipt
of 0 means that nothing runs there. The list of what is not begun is written while its child holds all the permits
(``hand.py``), so whoever has taken permits afterwards reads the list that they belong to.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from ..envelope import Receipt

WAITING_MAX = 1024
"""Deliveries that a child may hold and not have begun."""
_RING = 32
_RUNNING, _HARD, _COUNT, _SINCE, _GENERATION, _ASKED, _HEEDED = range(7)
_CANCELS = 8
_WAITING = _CANCELS + _RING
_ROWS = _WAITING + WAITING_MAX
_WORD = 8
_INDEX_BITS = 16


class Row(NamedTuple):
    """One run: its delivery, and when it began and must have ended (monotonic seconds; 0: it may last)."""

    key: int
    began: float
    hard: float

    def receipt(self, holder: str) -> Receipt:
        return receipt_of(holder, self.key)

    def overdue(self, now: float) -> bool:
        """Is its hard limit over?"""
        return 0.0 < self.hard <= now


def key_of(receipt: Receipt) -> int:
    """A delivery among those of its holder, as one word; never 0, since exchanges are numbered from 1."""
    return receipt.seq << _INDEX_BITS | receipt.index


def receipt_of(holder: str, key: int) -> Receipt:
    """The receipt again."""
    return Receipt(holder, key >> _INDEX_BITS, key & ((1 << _INDEX_BITS) - 1))


class Rosters:
    """One for each place of a child. The supervisor creates them; the template and its children map the same file."""

    def __init__(self, fd: int, count: int, capacity: int) -> None:
        self.fd = fd
        self._words = _ROWS + 3 * capacity
        self._capacity = capacity
        self._memory = mmap.mmap(fd, max(1, count) * self._words * _WORD)

    @classmethod
    def create(cls, count: int, capacity: int) -> Rosters:
        """``capacity``: how many tasks a child runs at once."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("umbel-rosters", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, max(1, count) * (_ROWS + 3 * capacity) * _WORD)
        return cls(fd, count, capacity)

    def of(self, number: int) -> Roster:
        size = self._words * _WORD
        return Roster(memoryview(self._memory)[number * size : (number + 1) * size], self._capacity)


class Roster:
    """One child's. What the child writes and what the supervisor writes stands apart below."""

    def __init__(self, memory: memoryview, capacity: int) -> None:
        self.capacity = capacity
        self._words = memory.cast("Q")
        self._spans = memory.cast("d")
        self._began = _ROWS + capacity
        self._ends = _ROWS + 2 * capacity

    def clear(self) -> None:
        """Make it ready for its next child."""
        for at in range(len(self._words)):
            self._words[at] = 0

    # -- the child writes

    def begin(self, row: int, key: int, now: float, hard: float) -> None:
        """The delivery ``key`` runs in ``row`` from now on; ``hard``: when it must have ended, 0 for never."""
        self._spans[self._began + row] = now
        self._spans[self._ends + row] = hard
        self._words[_ROWS + row] = key

    def end(self, row: int) -> None:
        """Nothing runs there: from here on, a death is not its fault."""
        self._words[_ROWS + row] = 0

    def running(self, count: int) -> None:
        """How many run."""
        self._words[_RUNNING] = count

    def earliest(self, hard: float) -> None:
        """No run must have ended before then; 0 if none must ever."""
        self._spans[_HARD] = hard

    def wait(self, keys: Sequence[int], since: float) -> None:
        """These are not begun, in this order, the oldest held since then. While the child holds all their permits."""
        self._words[_COUNT] = 0
        for at, key in enumerate(keys, _WAITING):
            self._words[at] = key
        self._spans[_SINCE] = since
        self._words[_GENERATION] += 1
        self._words[_COUNT] = len(keys)

    def cancels(self) -> list[int]:
        """Runs that shall be ended and that were not told of yet."""
        asked, heeded = self._words[_ASKED], self._words[_HEEDED]
        found = [self._words[_CANCELS + number % _RING] for number in range(heeded, asked)]
        self._words[_HEEDED] = asked
        return found

    # -- the supervisor writes

    def cancel(self, key: int) -> bool:
        """Ask for the end of a run; False if too many were asked for that the child has not heard of."""
        asked = self._words[_ASKED]
        if asked - self._words[_HEEDED] >= _RING:
            return False
        self._words[_CANCELS + asked % _RING] = key
        self._words[_ASKED] = asked + 1
        return True

    # -- both read

    @property
    def busy(self) -> int:
        """How many run."""
        return self._words[_RUNNING]

    @property
    def hard(self) -> float:
        """A run may have to end then, and none before (monotonic); 0 for never."""
        return self._spans[_HARD]

    @property
    def generation(self) -> int:
        """The number of the list of what is not begun: another list, another number."""
        return self._words[_GENERATION]

    @property
    def waits_since(self) -> float:
        """When the oldest was received of what was not begun at the last look; 0 if there was none."""
        return self._spans[_SINCE] if self._words[_COUNT] else 0.0

    def unbegun(self, permits: int) -> list[int]:
        """What the last ``permits`` permits of the list are for."""
        count = self._words[_COUNT]
        return list(self._words[_WAITING + count - permits : _WAITING + count])

    def rows(self) -> list[Row]:
        """All that runs."""
        found = []
        for row in range(self.capacity):
            key = self._words[_ROWS + row]
            if key:
                found.append(Row(key, self._spans[self._began + row], self._spans[self._ends + row]))
        return found
