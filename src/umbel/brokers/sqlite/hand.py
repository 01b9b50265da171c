"""The hand of one claim: what it has taken, and what it puts aside."""

from __future__ import annotations

from enum import Enum

from ...broker import MAX_PROMOTE, Removed
from ...envelope import Delivery
from . import ending
from .exchange import Holder
from .rows import INDEX_MASK, SLOT_BITS, Row
from .statements import SQL
from .store import Store


class End(Enum):
    """What ends the claim of a queue, or of a part of it."""

    EMPTY = 0
    BEFORE_ALONE = 1
    """The next one is to be handed out alone, and the holder holds something."""
    ALL = 2
    """The whole claim ends: it is full, or handed out one alone, or dropped as many as one step may."""


class Hand:
    """What one claim of one holder has in hand, within the caller's step."""

    def __init__(self, store: Store, holder: Holder, seq: int, limit: int, now: int, dropped: list[Removed]) -> None:
        self.store, self.holder, self.seq, self.now, self.dropped = store, holder, seq, now, dropped
        self.limit = store.movable(min(limit, INDEX_MASK)) if limit > 0 else 0
        self.base = seq << SLOT_BITS
        self.deliveries: list[Delivery] = []
        self._may_drop = MAX_PROMOTE

    @property
    def wanted(self) -> int:
        """How many more it may take; none when as many were dropped as one step may."""
        return self.limit - len(self.deliveries) if self._may_drop > 0 else 0

    def holds_something(self) -> bool:
        if self.deliveries:
            return True
        return self.store.connection.execute(SQL["holds_any"], (self.holder.id,)).fetchone() is not None

    def drop(self, row: Row, reason: str) -> None:
        self._may_drop -= 1
        act = ending.bury if reason == "unreadable" else ending.drop
        self.dropped.append(act(self.store, row, reason, self.now))
