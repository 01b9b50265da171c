"""The brokers that a process sends through: one for each thread, opened at its first use, forgotten after a fork."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

from .broker import Broker
from .clock import SYSTEM, Clock
from .errors import BrokerUnreachable
from .settings import Settings

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between tries: doubled each time, and each made shorter by up to a half, so that callers do not come in step."""


class _Local(threading.local):
    """What one thread has open."""

    broker: Broker | None = None
    settings: Settings | None = None
    age: int = -1


class Connections:
    """Hands each thread its own open broker."""

    def __init__(self, make: Callable[[], Broker], settings: Callable[[], Settings], clock: Clock = SYSTEM) -> None:
        """``make`` makes an unopened broker for what ``settings`` says now; new settings mean a new broker."""
        self._make = make
        self._settings = settings
        self._clock = clock
        self._age = 0
        self._local = _Local()
        _all.add(self)

    def get(self) -> Broker:
        """This thread's broker, open. Raises what opening raises, and ``ConfigError``."""
        local, settings = self._local, self._settings()
        if local.broker is not None and local.settings is settings and local.age == self._age:
            return local.broker
        self._drop()
        broker = self._make()
        broker.open()
        local.broker, local.settings, local.age = broker, settings, self._age
        return broker

    def do(self, step: Callable[[Broker], T]) -> T:
        """Do one step with this thread's broker. While that certainly did nothing (``BrokerUnreachable``, and nothing else) it
        is tried again, for ``enqueue_retry`` seconds from the first failure on; then the last error is raised."""
        try:
            return step(self.get())
        except BrokerUnreachable as exc:
            span = self._settings().enqueue_retry
            if not span:
                raise
            return self._again(step, exc, span)

    def _again(self, step: Callable[[Broker], T], error: BrokerUnreachable, span: float) -> T:
        import logging  # these two are not needed by those who never fail
        import random

        logging.getLogger("umbel.producer").warning("%s; trying again for %g s", error, span)
        end, pause, tries = self._clock.monotonic() + span, _FIRST_PAUSE, 1
        while True:
            left = end - self._clock.monotonic()
            if left <= 0:
                raise BrokerUnreachable(f"{error} (tried {tries} times in {span:g} s, as the setting enqueue_retry says)") from error
            time.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause, tries = min(pause * 2, _LONGEST_PAUSE), tries + 1
            try:
                return step(self.get())
            except BrokerUnreachable as exc:
                error = exc

    def close(self) -> None:
        """Close this thread's broker now, and have every other thread close its own before it sends again. Twice is once;
        the next call opens anew."""
        self._age += 1
        self._drop()

    def _drop(self) -> None:
        broker, self._local.broker = self._local.broker, None
        if broker is not None:
            broker.close()

    def forget(self) -> None:
        """After a fork, in the child: what is open belongs to the parent. It is neither used nor closed."""
        _of_the_parent.append(self._local)
        self._local = _Local()


_all: WeakSet[Connections] = WeakSet()
_of_the_parent: list[_Local] = []
"""Kept, so that no destructor closes, in a child, what the parent still uses."""


def _after_fork() -> None:
    for connections in list(_all):
        connections.forget()


os.register_at_fork(after_in_child=_after_fork)
