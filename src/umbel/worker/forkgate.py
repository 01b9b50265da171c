"""No fork in the middle of a broker's call: the new process would have the half of it for ever.

SQLite keeps the locks of a process in that process's memory. A copy that is taken while some thread is inside a transaction believes
that it holds the lock itself, and waits for it in vain. So a fork waits until all calls that an embedded worker makes have
returned, and none begins until it is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..broker import Broker

T = TypeVar("T", bound=Broker)


class ForkGate:
    """Calls pass it side by side; a fork closes it."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside = 0
        self._closed = False
        self.wake: Callable[[], None] = lambda: None
        """Ends a call that waits for work."""

    def guard(self, broker: T) -> T:
        """The broker itself, whose calls pass the gate from now on."""
        for kind in type(broker).__mro__:
            for verb in getattr(kind, "__abstractmethods__", ()):  # the core's, and those of each facet that it has
                if verb not in vars(broker):
                    setattr(broker, verb, self._passing(getattr(broker, verb)))
        return broker

    def _passing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def passing(*args: Any, **kwargs: Any) -> Any:
            with self._change:
                while self._closed:
                    self._change.wait()
                self._inside += 1
            try:
                return call(*args, **kwargs)
            finally:
                with self._change:
                    self._inside -= 1
                    self._change.notify_all()

        return passing

    def close(self, timeout: float) -> bool:
        """Let nobody in, and wait until all are out. False if some call took longer than ``timeout`` seconds."""
        with self._change:
            self._closed = True
        self.wake()
        with self._change:
            return self._change.wait_for(lambda: self._inside == 0, timeout)

    def open(self) -> None:
        """Twice is once."""
        with self._change:
            self._closed = False
            self._change.notify_all()
