"""How many messages a child that runs many tasks at once may claim: what it has room for, and about 20 ms of work."""

from __future__ import annotations

from .claimer import BUDGET, MOST, Claimer

_BEHIND = MOST // 2
"""Deliveries that a pool may be behind with when more are claimed: with a claim's most and what is spare that fits a roster."""


class Room:
    """By Little's law ``capacity`` runs that take ``mean`` seconds each make room for ``capacity / mean`` others a second."""

    def __init__(self, claimer: Claimer, capacity: int) -> None:
        self._claimer = claimer
        self._capacity = capacity
        self.stingy = False
        """Was something taken back since the last run ended? Then what is known of the means is old, and nothing is hoarded."""

    @property
    def spare(self) -> int:
        """How many to hold beyond those that can begin at once."""
        mean = self._claimer.recent
        return 0 if self.stingy or mean <= 0.0 else min(MOST, int(BUDGET * self._capacity / mean))

    def wanted(self, free: int, waiting: int) -> int:
        """How many to claim now; 0 while enough is held, so that a round trip brings many, and while a pool with room has yet
        to begin what it was given: it may be slow, or hang."""
        spare = self.spare
        if waiting > min(free, _BEHIND) + spare // 2:
            return 0
        return self._claimer.bounded(free + spare - waiting)

    @property
    def low(self) -> int:
        """With how many unbegun ones it is time to ask again."""
        return self.spare // 2
