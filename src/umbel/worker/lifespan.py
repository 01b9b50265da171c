"""How long a child lives: after so many tasks, or with so much memory, it wishes to be replaced.

It says so in its slot as early as it can be known, so that its successor is born while it still works; the supervisor then lets it
go, or it goes by itself when it must. What it has not begun then is given back uncharged, as at every leave. All limits are drawn
anew for each child, so that children of one age do not all go at once.
"""

from __future__ import annotations

import random

from .memory import anonymous
from .slots import ChildSlot, Wish

_EARLY = 0.1
"""By up to this part of ``max_tasks_per_child`` a child leaves before it: at most so many is what was promised."""
_ASK, _ASK_WIDTH, _STOP = 0.70, 0.15, 0.95
"""Parts of the room between what a child is born with and its limit: where it asks for a successor (between 0.70 and 0.85), and where it
begins nothing more. The rest is what one task may take on top of what the last one left."""
_LOOK = 0.005
"""Seconds between two looks at the memory: 10 µs each."""
_FAST = 1 / 16
"""Part of the room: who grew by more since the last look is looked at after every task."""
_FOR_EVER = 1 << 62


class Lifespan:
    """One per child. ``claimed`` and ``look_at`` are what the loop needs to know."""

    __slots__ = ("_ask", "_born", "_last", "_left", "_slot", "_stop", "look_at", "over")

    def __init__(self, slot: ChildSlot, max_tasks: int, max_memory: int, draw: random.Random) -> None:
        """``max_memory`` in bytes; 0 means no limit, of either."""
        self._slot = slot
        self._left = max_tasks - int(draw.random() * _EARLY * max_tasks) if max_tasks else _FOR_EVER
        self._born = self._last = anonymous("self") or 0
        room = max(0, max_memory - self._born)
        self._ask = self._born + room * (_ASK + _ASK_WIDTH * draw.random())
        self._stop = self._born + room * _STOP
        self.look_at = 0.0 if max_memory and self._born else float("inf")
        """When (monotonic) ``look`` is due, if a task has ended by then."""
        self.over = False
        """Begin nothing more."""

    def share(self, wanted: int) -> int:
        """How many to claim of those wanted."""
        return min(wanted, self._left)

    def claimed(self, count: int) -> None:
        """The last batch before the end is known as such when it is claimed."""
        self._left -= count
        if self._left <= 0:
            self._slot.wish(Wish.TASKS)

    def batch_ended(self) -> bool:
        """Is it over after this batch?"""
        self.over = self.over or self._left <= 0
        return self.over

    def look(self, now: float) -> bool:
        """Weigh this process after a task; True if it must begin nothing more."""
        has = anonymous("self") or 0
        fast = has - self._last > (self._stop - self._born) * _FAST
        self._last = has
        if has > self._ask:
            self._slot.wish(Wish.MEMORY)
            fast = True
        self.look_at = now if fast else now + _LOOK
        self.over = self.over or has > self._stop
        return self.over
