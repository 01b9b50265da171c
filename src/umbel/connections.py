"""The brokers that a process sends through: one for each thread, opened at its first use, forgotten after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from weakref import WeakSet

from .broker import Broker
from .settings import Settings


class _Local(threading.local):
    """What one thread has open."""

    broker: Broker | None = None
    settings: Settings | None = None
    age: int = -1


class Connections:
    """Hands each thread its own open broker."""

    def __init__(self, make: Callable[[], Broker], settings: Callable[[], Settings]) -> None:
        """``make`` makes an unopened broker for what ``settings`` says now; new settings mean a new broker."""
        self._make = make
        self._settings = settings
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
