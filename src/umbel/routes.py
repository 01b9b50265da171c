"""Where calls go when queues have versions: to the caller's release while a worker of it lives, else to where every worker looks.

What is known of the workers is at most a few seconds old, and both mistakes that this allows are harmless: a call in the queue
of a release whose last worker has just gone is taken over by others, and one in the plain queue may be run by anybody.
"""

from __future__ import annotations

from .clock import Clock
from .connections import Connections
from .errors import BrokerError, ConfigError
from .facets import Serves
from .release import version_of

ASK_EVERY = 5.0
"""Seconds for which an answer is good: a heartbeat's time. One question in that time, however many calls are made."""
_AGAIN = 1.0
"""Seconds until it is asked again after the store did not answer."""


class Routes:
    """What the producers of one process know of who serves what. Safe to use from many threads; the call that finds the
    answer too old asks, the others go by the last one meanwhile."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        self._alive: frozenset[str] | None = None
        self._until = 0.0

    def of(self, queue: str, release: str) -> str:
        """Where a call for ``queue`` goes. Raises ``ConfigError`` if the broker cannot say who serves what."""
        alive, now = self._alive, self._clock.monotonic()
        if alive is None or now >= self._until:
            self._until = now + ASK_EVERY
            alive = self._ask(now)
        version = version_of(queue, release)
        return version if version in alive else queue

    def _ask(self, now: float) -> frozenset[str]:
        try:
            broker = self._connections.get()
            if not isinstance(broker, Serves):
                raise ConfigError(f"versioned_queues: the {broker.capabilities.name} broker cannot say which workers live; leave it out")
            self._alive = frozenset([one.queue for one in broker.served() if one.alive])
        except BrokerError:  # if it matters, the call itself will say so
            self._until = now + _AGAIN
        return self._alive or frozenset()
