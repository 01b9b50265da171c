"""Back-pressure: calls to a queue that is too deep are refused, or wait.

The depth is asked of the store, and an answer with room to spare is good for some calls: so a queue may become deeper than it is
allowed by 1 % for each thread that sends, or by one batch, and a call costs a look now and then and not each time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from .clock import Clock
from .connections import Connections
from .depth import ALL
from .envelope import Envelope
from .errors import BrokerError, EnqueueRefused, QueueFull
from .facets import Limits, require
from .release import base_of
from .settings import Settings

_SPAN = 1.0
"""Seconds for which an answer is good."""
_SPARE = 100
"""One of so many parts of the depth may be sent on one answer."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_TOLD_AFTER = 10.0
"""Seconds of waiting, after which the log says that a caller waits."""


class _Leave(threading.local):
    """What one thread may still send without asking: queue to (how many, until when)."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, float]] = {}


class Pressure:
    """Of one producer."""

    def __init__(self, connections: Connections, settings: Callable[[], Settings], clock: Clock) -> None:
        self._connections = connections
        self._settings = settings
        self._clock = clock
        self._leave = _Leave()

    def admit(self, envelopes: Sequence[Envelope]) -> None:
        """Return when there is room for these. Raises ``QueueFull`` as the setting ``on_max_depth`` says, ``EnqueueRefused`` where the
        broker cannot say."""
        settings = self._settings()
        for queue, count in Counter([envelope.queue for envelope in envelopes]).items():
            most = settings.max_depth.get(base_of(queue), settings.max_depth.get(ALL))
            if most is not None:
                self._admit(queue, count, most, settings)

    def _admit(self, queue: str, count: int, most: int, settings: Settings) -> None:
        left, until = self._leave.of.get(queue, (0, 0.0))
        if left < count or until <= self._clock.monotonic():
            wait = settings.max_depth_wait if settings.on_max_depth == "block" else 0.0
            left = self.wait_for_room(queue, most, wait)
            until = self._clock.monotonic() + _SPAN
            left = min(left, count + most // _SPARE)
        self._leave.of[queue] = (left - count, until)

    def wait_for_room(self, queue: str, most: int, span: float | None) -> int:
        """Until fewer than ``most`` messages wait in ``queue``: how many fewer. ``QueueFull`` after ``span`` seconds (None: never)."""
        begin, pause, told = self._clock.monotonic(), _FIRST_PAUSE, False
        while (depth := self.backlog(queue)) >= most:
            waited = self._clock.monotonic() - begin
            if span is not None and waited >= span:
                after = f", after {waited:.0f} s of waiting" if span else ""
                full = f"{depth:,} messages wait in queue {queue!r}, and {most:,} may"
                raise QueueFull(f"nothing was stored: {full}{after}; call again later, or start workers")
            if waited >= _TOLD_AFTER and not told:
                told = True
                import logging  # which those who never wait do not need

                logging.getLogger("umbel.producer").warning(
                    "a caller waits since %.0f s: %s messages wait in queue %r, and %s may", waited, depth, queue, most
                )
            time.sleep(pause if span is None else min(pause, max(0.001, span - waited)))
            pause = min(pause * 2, _LONGEST_PAUSE)
        return most - depth

    def backlog(self, queue: str) -> int:
        """How many wait in a queue. ``EnqueueRefused`` where the broker cannot say."""
        try:
            return self._connections.do(lambda broker: require(broker, Limits).backlog(queue))
        except BrokerError as exc:
            raise EnqueueRefused(f"nothing was stored: how deep queue {queue!r} is cannot be asked: {exc}") from exc
