"""The store's maintenance, which every supervisor does a little of: promote, prune, and rescue once it may."""

from __future__ import annotations

import logging
import random

from ..broker import Broker, Maintained
from ..clock import Clock
from ..errors import BrokerError
from .lease import Lease

log = logging.getLogger("umbel.worker")


class Upkeep:
    """Call ``turn()`` often; it acts when it is time."""

    def __init__(self, broker: Broker, lease: Lease, lease_ttl: float, clock: Clock) -> None:
        self._broker = broker
        self._lease = lease
        self._clock = clock
        # A dead worker's tasks must be back within 5 s after its lease; several workers share the work by chance
        self._every = min(2.5, lease_ttl / 4)
        self._next = 0.0
        self._failing = False

    def turn(self) -> None:
        """One round if one is due; a broker that is away is told of once."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + self._every * (0.75 + random.random() / 4)
        try:
            until = self._lease.may_rescue_until(self._broker.ping)
            done = self._broker.maintain(rescue=until is not None, until=until)
            self._failing = False
        except BrokerError as exc:
            if not self._failing:
                log.warning("maintenance: %s", exc)
            self._failing = True
            self._reopen()
            return
        except Exception:  # say, a message of a newer release that this one cannot read: no reason to end what runs here
            if not self._failing:
                log.exception("maintenance: unexpected")
            self._failing = True
            return
        self._tell(done)
        if done.more:
            self._next = now

    def _reopen(self) -> None:
        try:
            self._broker.close()
            self._broker.open()
        except BrokerError:
            pass  # tried again with the next round

    def _tell(self, done: Maintained) -> None:
        for worker, count in done.rescued:
            log.warning("worker %s is dead: %d of its messages given back", worker, count)
        for removed in done.buried:
            log.error("%s in queue %s became a dead letter: %s", removed.id, removed.queue, removed.reason)
        if done.expired:
            log.info("%d messages expired before they began", len(done.expired))
        if done.trimmed:
            log.error("%d dead letters were removed for lack of room (dead_letter_bytes)", done.trimmed)
