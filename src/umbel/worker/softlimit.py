"""The soft limit as the child sees it: an exception raised in the task that it was meant for, or not at all.

The supervisor writes into the slot which run it means (its version), then signals, and signals again until the child has
said that it raised, or the run is over. The handler raises only while exactly that run is armed, and disarms it first:
so it raises once, inside ``SoftLimit.call``, and never in the next task. Where the interpreter, or a library, would swallow
what it raises, it does not raise yet. What the task's own code catches, it was told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from ..errors import SoftTimeLimitExceeded, TaskInterrupted
from .interruptible import Interruptible
from .slots import ChildSlot, Command

_SWALLOWERS = ("logging", "umbel.events")
"""Modules that report what is raised below them, and go on."""


def is_swallowed(frame: FrameType | None) -> bool:
    """Would an exception that is raised here come to nothing? So it is in ``__del__``, and below a log handler."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_globals.get("__name__") in _SWALLOWERS:
            return True
        frame = frame.f_back
    return False


class SoftLimit:
    """One per child; its handler runs on the main thread, like the tasks."""

    __slots__ = ("_armed", "_coroutine", "_loop", "_slot", "struck")

    def __init__(self, slot: ChildSlot) -> None:
        self._slot = slot
        self._armed = 0
        self.struck = 0
        """The last run in which the limit was raised, for whoever tells of it and then sets 0."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._coroutine: Interruptible | None = None

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler. What it raises comes out of ``call``."""
        armed = self._armed
        if not armed or self._slot.soft_wanted != armed:
            return
        in_loop = self._coroutine is not None and self._loop is not None
        if not in_loop and is_swallowed(frame):
            return  # the supervisor signals again, until this one has confirmed
        self._armed = 0
        self._slot.soft_is_done(armed)
        error = self._error()
        if not isinstance(error, TaskInterrupted):
            self.struck = armed
        if self._coroutine is None or self._loop is None:
            raise error
        # A coroutine is interrupted by its loop: raising here would tear the loop itself
        self._loop.call_soon_threadsafe(self._coroutine.interrupt, type(error))

    def _error(self) -> SoftTimeLimitExceeded:
        if self._slot.command == Command.INTERRUPT:
            return TaskInterrupted()
        return SoftTimeLimitExceeded()

    def call(self, version: int, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)`` as the run ``version``, with what the handler may raise in it."""
        try:
            self._armed = version
            return function(*args)
        finally:
            # The handler may still raise at this line; it disarms first, so it does so once, and within this call
            self._armed = 0

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end on this child's loop. For use inside ``call``."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
        self._coroutine = Interruptible(coroutine)
        try:
            return loop.run_until_complete(self._coroutine.drive())
        finally:
            self._coroutine = None
