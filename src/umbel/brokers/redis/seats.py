"""At most so many connections of one process to one address: for servers whose ``maxclients`` many processes share.

A thread keeps its connection, so there is no pool to take one from; who finds all seats taken waits, and is then refused.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from ...errors import BrokerUnreachable

_taken: dict[str, threading.Semaphore] = {}
_lock = threading.Lock()


def take_seat(owner: object, url: str, limit: int, timeout: float) -> Callable[[], object]:
    """A seat, and what gives it back: by being called, or when ``owner`` is no more. Waits ``timeout`` seconds; then
    ``BrokerUnreachable``."""
    with _lock:
        seats = _taken.setdefault(url, threading.Semaphore(limit))
    if not seats.acquire(timeout=timeout):
        raise BrokerUnreachable(
            f"all {limit} connections that this process may have are in use (max_connections): let threads end, or allow more; "
            "one that only sends needs one connection, one that waits for work two"
        )
    give_back = weakref.finalize(owner, seats.release)
    give_back.atexit = False
    return give_back


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _taken.clear()


os.register_at_fork(after_in_child=_after_fork)
