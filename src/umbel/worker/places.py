"""The places that children have: a slot and a permit counter each, of which there is a fixed number."""

from __future__ import annotations

from .permits import Permits
from .roster import Rosters
from .slots import Slots


class Places:
    """Who takes a place gives it back once nobody writes into it any more."""

    def __init__(self, count: int, beside: int = 0) -> None:
        """``beside``: how many tasks a child runs at once; 0 for one that runs one, and needs no roster."""
        self.slots = Slots.create(count)
        self.rosters = Rosters.create(count, beside) if beside else None
        self.permits = [Permits.create() for _ in range(count)]
        self._free = list(range(count))

    @property
    def any_free(self) -> bool:
        return bool(self._free)

    def take(self) -> int:
        """A place made ready for its next child."""
        number = self._free.pop(0)
        self.slots.clear(number)
        if self.rosters is not None:
            self.rosters.of(number).clear()
        self.permits[number].drain()
        return number

    def free(self, number: int) -> None:
        """Its child has ended, or was never forked, or will never be told that it was seen."""
        self._free.append(number)
