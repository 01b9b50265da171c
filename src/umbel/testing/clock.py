"""A clock that stands still until it is moved."""

from __future__ import annotations

import threading

START = 1_700_000_000_000
"""Where a manual clock begins, ms: any moment will do, a round one is easy to read in a failure."""


class ManualClock:
    """A :class:`~umbel.clock.Clock` moved by hand; safe to share between threads."""

    def __init__(self, now: int = START) -> None:
        self._lock = threading.Lock()
        self._wall = now
        self._awake = 0
        self._asleep = 0

    def now(self) -> int:
        with self._lock:
            return self._wall

    def monotonic(self) -> float:
        with self._lock:
            return self._awake / 1000

    def boottime(self) -> float:
        with self._lock:
            return (self._awake + self._asleep) / 1000

    def advance(self, ms: int) -> None:
        """Time passes on all three clocks. Raises ``ValueError`` for a negative span: time does not run backwards, see ``step``."""
        if ms < 0:
            raise ValueError(f"time cannot pass by {ms} ms; a wall clock that is set back is step({ms})")
        with self._lock:
            self._wall += ms
            self._awake += ms

    def step(self, ms: int) -> None:
        """Somebody sets the wall clock, forwards or back; no time passes."""
        with self._lock:
            self._wall += ms

    def suspend(self, ms: int) -> None:
        """The machine sleeps: wall and boot clock go on, the monotonic one stands still."""
        with self._lock:
            self._wall += ms
            self._asleep += ms
