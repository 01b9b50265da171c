"""Which queues a child takes from, in which order, and which queues of other releases it takes over.

A queue of a release is taken over while no live worker says that it serves it and something waits there. Races:
``docs/internals/releases.md``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ..clock import Clock
from ..errors import BrokerError
from ..facets import Served
from ..release import MARK, base_of
from .tether import Tether

LOOK_EVERY = 5.0
"""Seconds between looks at who serves what, as long as a wait for work lasts at most."""
LOOK_SELDOM = 60.0
"""The same where this app has no queues of releases, for what is left from a time when it had: next to nothing."""
_AGAIN = 1.0

log = logging.getLogger("umbel.worker")


class Turns:
    """The order of a child's next claim. ``strict``: always the same; else each queue is the first one in turn."""

    def __init__(self, queues: Sequence[str], strict: bool, ask: Callable[[], Sequence[Served]] | None, every: float, clock: Clock) -> None:
        """``ask`` says who serves what; None where the broker cannot tell."""
        self.queues = list(queues)
        self._own = list(queues)
        self._strict = strict
        self._ask = ask
        self._every = every
        self._clock = clock
        self._next = 0.0
        self._seen: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    @classmethod
    def of(cls, queues: Sequence[str], strict: bool, tether: Tether, versioned: bool, clock: Clock) -> Turns:
        """Of a child whose broker is behind ``tether``; ``versioned``: does its app send to queues of releases?"""
        return cls(queues, strict, tether.served if tether.tells_served else None, LOOK_EVERY if versioned else LOOK_SELDOM, clock)

    def take(self) -> list[str]:
        """The queues of the next claim."""
        if self._ask is not None and self._clock.monotonic() >= self._next:
            self._look(self._ask)
        taken = self.queues
        if not self._strict and len(taken) > 1:
            self.queues = [*taken[1:], taken[0]]
        return taken

    def _look(self, ask: Callable[[], Sequence[Served]]) -> None:
        self._next = self._clock.monotonic() + self._every
        try:
            found = ask()
        except BrokerError as exc:
            log.debug("who serves what cannot be asked: %s", exc)
            self._next = self._clock.monotonic() + _AGAIN
            return
        paused = frozenset(one.queue for one in found if one.paused)
        left = frozenset(one.queue for one in found if one.left and self._may_take(one.queue))
        if (left, paused) != self._seen:
            for queue in sorted(left - self._seen[0]):
                log.info("queue %r has no worker of its release any more: taken over", queue)
            self._seen = (left, paused)
            self._arrange(left, paused)

    def _may_take(self, queue: str) -> bool:
        return MARK in queue and queue not in self._own and base_of(queue) in self._own

    def _arrange(self, left: frozenset[str], paused: frozenset[str]) -> None:
        """What was left comes before its own queue: nobody sends there any more, so it ends, and must not starve."""
        arranged: list[str] = []
        for queue in self._own:
            arranged += sorted(one for one in left if base_of(one) == queue)
            arranged.append(queue)
        self.queues = [queue for queue in arranged if queue == base_of(queue) or base_of(queue) not in paused]
