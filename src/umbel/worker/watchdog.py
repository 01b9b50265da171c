"""The watchdog of a child that runs many tasks at once: soft limits, and an event loop that does not turn."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from ..errors import SoftTimeLimitExceeded
from .hand import Hand

_LOOK = 0.25
"""Seconds between two looks at whether the loop turns."""
_AGAIN = 0.02
"""Seconds until a run that could not be interrupted is tried again."""

log = logging.getLogger("umbel.worker")


class Watched(Protocol):
    """What is asked of a pool."""

    def blocked(self, now: float) -> str:
        """Where its event loop has hung for too long; empty if it has not, or if there is none."""
        ...


class Watchdog:
    """A thread that sleeps until the next limit, and for ever while nothing runs."""

    def __init__(self, hand: Hand, pool: Watched, monotonic: Callable[[], float], *, has_loop: bool) -> None:
        self._hand = hand
        self._pool = pool
        self._monotonic = monotonic
        self._has_loop = has_loop
        self._roused = threading.Event()
        self._stopping = False
        self._told = False
        self._thread = threading.Thread(target=self._live, name="umbel-watchdog", daemon=True)
        hand.roused, hand.watched = self._roused.set, has_loop

    def start(self) -> None:
        """Once."""
        self._thread.start()

    def stop(self) -> None:
        """Twice is once."""
        self._stopping = True
        self._roused.set()
        if self._thread.is_alive():
            self._thread.join()

    def _live(self) -> None:
        while not self._stopping:
            self._roused.wait(self._span(self._monotonic()))
            self._roused.clear()
            try:
                self.turn(self._monotonic())
            except Exception:  # without this thread no soft limit would be told to anybody any more
                log.exception("the watchdog stumbled")

    def _span(self, now: float) -> float | None:
        looks = [_LOOK] if self._has_loop and self._hand.running else []
        if self._hand.next_look:
            looks.append(max(_AGAIN, self._hand.next_look - now))
        return min(looks, default=None)

    def turn(self, now: float) -> None:
        """One look."""
        if 0.0 < self._hand.next_look <= now:
            for run in self._hand.look(now):
                run.strike(SoftTimeLimitExceeded)
        if self._has_loop and self._hand.running:
            self._look_at_loop(now)

    def _look_at_loop(self, now: float) -> None:
        where = self._pool.blocked(now)
        if where and not self._told:
            log.warning("the event loop is blocked: a coroutine does not await, and nothing else on it goes on; it is here:\n%s", where)
        self._told = bool(where)
