"""Giving back what waits behind long tasks, for a hand in this very process. The rule is that of ``pool_watch.py``."""

from __future__ import annotations

import logging

from ..clock import Clock
from ..envelope import Receipt
from .clerk import Clerk
from .judge import HOSTAGE_AGE
from .resident import Resident
from .roster import receipt_of

_AGAIN = 0.5
"""Seconds after which what the broker did not answer is asked again."""

log = logging.getLogger("umbel.worker")


class Hostages:
    """Belongs to the keeper's thread. One call for a holder at a time."""

    def __init__(self, clerk: Clerk, clock: Clock) -> None:
        self._clerk = clerk
        self._clock = clock
        self._of: Resident | None = None
        self._owed: list[Receipt] = []
        self._seq = 0
        self._asked = False
        self._not_before = 0.0

    def turn(self, resident: Resident, *, leaving: bool) -> None:
        """Take back what has waited for too long; with ``leaving``, all that waits."""
        now = self._clock.monotonic()
        if self._of is not resident:
            self._of, self._owed, self._seq = resident, [], 0
        if self._owed:
            if not self._asked and now >= self._not_before:
                self._give_back(resident)
            return
        roster, since = resident.roster, resident.roster.waits_since
        if since and self._seq != roster.generation and (leaving or now - since > HOSTAGE_AGE):
            taken = resident.permits.drain()
            if taken:
                self._owed = [receipt_of(resident.holder, key) for key in roster.unbegun(taken)]
                self._seq = roster.generation
                self._give_back(resident)

    def _give_back(self, resident: Resident) -> None:
        owed, seq, self._asked = self._owed, self._seq, True
        self._clerk.ask(
            lambda broker: broker.give_back(resident.holder, owed),
            lambda _: self._given_back(resident, seq),
            self._not_given_back,
        )

    def _given_back(self, resident: Resident, seq: int) -> None:
        self._asked = False
        if self._of is resident:
            self._owed = []
        resident.slots.returned(0, seq)
        resident.notify()

    def _not_given_back(self, error: Exception) -> None:
        """Whether it was done is not known; it may be repeated, and is."""
        self._asked, self._not_before = False, self._clock.monotonic() + _AGAIN
        log.warning("giving back is delayed: %s", error)
