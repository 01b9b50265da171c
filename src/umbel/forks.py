"""No fork in the middle of a store's step: the new process would have the half of it for ever.

A store within the process has locks in the memory that a fork copies: the memory broker's own, and those that SQLite keeps for
itself. A copy that is taken while some thread is inside a step finds them held, by a thread that it has not, and waits in vain at
the first thing that it asks of the store. So a fork waits until no thread is inside one, and none begins until it is done. A
connection's lock costs a tenth of a microsecond and waits for nobody.

There is one such place, not one for each that would wait: two of them, each with something held, waited for each other.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakSet

from .clock import SYSTEM

PATIENCE = 5.0
"""Seconds that a fork waits at most: a step that takes longer waits for a disk, or for whoever holds the file's lock."""


def step_lock() -> AbstractContextManager[bool]:
    """A lock for one connection or store, to be held during each step. Its thread may take it again, and may fork inside of it."""
    lock = threading.RLock()
    with _register:
        _all.add(lock)
    return lock


_all: WeakSet[Any] = WeakSet()
_register = threading.RLock()
"""Held while a lock is made known, and during a fork."""
_held: list[Any] = []


def _before_fork() -> None:
    deadline = SYSTEM.monotonic() + PATIENCE
    _register.acquire()
    _held.extend([lock for lock in list(_all) if lock.acquire(timeout=max(0.0, deadline - SYSTEM.monotonic()))])


def _after_fork() -> None:
    """On both sides: in the new process by the thread that forked, which has taken them."""
    while _held:
        _held.pop().release()
    _register.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
