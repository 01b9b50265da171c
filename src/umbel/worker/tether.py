"""A child's calls of its broker, which an order to connect anew can break off.

A server that accepted a call and never answers, behind a network that drops what it carries, may hold a child for as long
as its time limits for the wire say, or for ever. The supervisor sees that the child's loop does not turn, though its own
heartbeats are answered, writes the child's last beat into the slot and signals. The handler raises only inside a call that
is armed, and only while that beat is still the last one: a child that has moved on is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ..broker import Broker, Exchanged, Settle
from ..clock import Clock
from ..errors import BrokerError, ReplyLost, StoreFull
from ..facets import Served, Serves, require
from .slots import ChildSlot

log = logging.getLogger("umbel.worker")


class Tether:
    """One per child. Says in the slot since when exchanges fail."""

    def __init__(self, broker: Broker, slot: ChildSlot, clock: Clock, recovered: Callable[[float], None]) -> None:
        """``recovered`` is called with the seconds that the broker was away."""
        self._broker = broker
        self._slot = slot
        self._clock = clock
        self._recovered = recovered
        self._armed = False
        self._failing = 0.0

    def on_signal(self) -> None:
        """For the signal handler. What it raises comes out of the call that it breaks off."""
        beat = self._slot.last_beat
        if self._armed and beat and self._slot.reconnect_wanted == beat:
            self._armed = False
            raise ReplyLost("broken off, since no answer came for too long")

    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        """See ``Broker.exchange``."""
        try:
            self._armed = True
            answer = self._broker.exchange(holder, seq, settles, queues, limit)
        except StoreFull:
            self._answered()  # that is an answer: a new connection, or process, would hear the same
            raise
        except BrokerError:
            self._failed()
            raise
        finally:
            # The handler may still raise at this line; it disarms first, so it does so once, and within this call
            self._armed = False
        if self._failing:
            self._answered()
        return answer

    def wait(self, queues: Sequence[str], timeout: float, stop: int) -> bool:
        """See ``Broker.wait``."""
        try:
            self._armed = True
            return self._broker.wait(queues, timeout, stop)
        finally:
            self._armed = False

    @property
    def tells_served(self) -> bool:
        """Can the broker say who serves what?"""
        return isinstance(self._broker, Serves)

    def served(self) -> list[Served]:
        """See ``Serves.served``."""
        try:
            self._armed = True
            return require(self._broker, Serves).served()
        finally:
            self._armed = False

    def open(self) -> None:
        """See ``Broker.open``."""
        try:
            self._armed = True
            self._broker.open()
        except BrokerError:
            self._failed()
            raise
        finally:
            self._armed = False

    def close(self) -> None:
        """See ``Broker.close``."""
        self._broker.close()

    def reopen(self) -> None:
        """Connect anew, if that is possible now; the next exchange tries again."""
        try:
            self.close()
            self.open()
        except BrokerError as exc:
            log.debug("broker does not open: %s", exc)

    def _failed(self) -> None:
        if not self._failing:
            self._failing = self._slot.last_beat or self._clock.monotonic()  # since the call began
            self._slot.failing(self._failing)

    def _answered(self) -> None:
        if self._failing:
            away = self._clock.monotonic() - self._failing
            self._failing = 0.0
            self._slot.failing(0.0)
            self._recovered(away)
