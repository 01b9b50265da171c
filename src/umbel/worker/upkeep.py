"""The store's maintenance, which every supervisor does a little of: promote, prune, and rescue once it may."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from ..broker import Broker, Maintained
from ..clock import Clock
from ..events import Buried, Event, Rescued, Trimmed
from .clerk import Clerk
from .lease import Lease

log = logging.getLogger("umbel.worker")


class Upkeep:
    """Call ``turn()`` often; it asks for a round when it is time."""

    def __init__(self, clerk: Clerk, lease: Lease, lease_ttl: float, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._clerk = clerk
        self._lease = lease
        self._clock = clock
        self._tell = tell
        # A dead worker's tasks must be back within 5 s after its lease; several workers share the work by chance
        self._every = min(2.5, lease_ttl / 4)
        self._next = 0.0
        self._asked = False
        self._failing = False

    def turn(self) -> None:
        """Ask for a round if one is due."""
        now = self._clock.monotonic()
        if self._asked or now < self._next:
            return
        self._asked = True
        self._next = now + self._every * (0.75 + random.random() / 4)
        self._clerk.ask(self._round, self._done, self._failed)

    def _round(self, broker: Broker) -> Maintained:
        """On the clerk's thread."""
        until = self._lease.may_rescue_until(broker.ping)
        return broker.maintain(rescue=until is not None, until=until)

    def _failed(self, error: Exception) -> None:
        """A broker that is away is told of once; the next round tries again."""
        self._asked = False
        if not self._failing:
            log.warning("maintenance: %s", error)
        self._failing = True

    def _done(self, done: Maintained) -> None:
        self._asked = self._failing = False
        if done.more:
            self._next = self._clock.monotonic()
        for worker, count in done.rescued:
            log.warning("worker %s is dead: %d of its messages given back", worker, count)
            self._tell(Rescued(count=count, reason=f"worker {worker} is dead"))
        for removed in done.buried:
            log.error("%s in queue %s became a dead letter: %s", removed.id, removed.queue, removed.reason)
        if done.expired:
            reasons = ", ".join(sorted({removed.reason for removed in done.expired}))
            log.info("%d messages were dropped before they began: %s", len(done.expired), reasons)
        for removed in (*done.buried, *done.expired):
            self._tell(Buried(id=removed.id, queue=removed.queue, reason=removed.reason))
        if done.trimmed:
            log.error("%d dead letters were removed for lack of room (dead_letter_bytes)", done.trimmed)
            self._tell(Trimmed(count=done.trimmed))
