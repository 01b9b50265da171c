"""Events of the supervisor, on their way to the user's subscribers.

The supervisor runs no user code: a subscriber that hangs must not cost a lease. So what happens there is written into a
pipe, and read by the herald, a process forked from the template, in which the user's subscribers run.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable

import msgspec

from .. import events as catalogue
from ..events import Buried, ChildDied, Emitter, Event, LeaseLost, Reconnected, Rescued, TaskTimedOut, TickFired, TickSkipped, Trimmed

OF_SUPERVISORS: tuple[type[Event], ...] = (
    *(ChildDied, Rescued, LeaseLost, Reconnected, Buried, Trimmed, TaskTimedOut, TickFired, TickSkipped),
)
"""What a supervisor emits."""
READ = 1 << 16
"""Bytes a reader asks for: all that a pipe holds, so that it never gets a part of a line. (Lines are written whole.)"""
END = b"end\n"

log = logging.getLogger("umbel.worker")


class Dispatch:
    """The supervisor's end. Telling never waits: what the pipe has no room for is lost, and that is said."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._lost = 0

    def listen(self, events: Emitter, wanted: Callable[[], bool]) -> None:
        """Carry what is emitted from now on, while ``wanted`` says that somebody listens."""
        events.subscribe(Event, lambda event: self._tell(event) if wanted() else None)

    def _tell(self, event: Event) -> None:
        line = msgspec.json.encode([type(event).__name__, event]) + b"\n"
        if len(line) <= select.PIPE_BUF and self._write(line):
            if self._lost:
                log.warning("%d events of this worker were not told: their subscribers were too slow", self._lost)
            self._lost = 0
        else:
            self._lost += 1

    def _write(self, line: bytes) -> bool:
        try:
            return os.write(self._write_fd, line) == len(line)
        except OSError:
            return False

    def end(self) -> None:
        """Let the herald end when it has told what is under way."""
        self._write(END)


def decode(line: bytes) -> Event | None:
    """The event of a line; None for the end."""
    if line + b"\n" == END:
        return None
    name, fields = msgspec.json.decode(line)
    kind: type[Event] = getattr(catalogue, name)
    return msgspec.convert(fields, kind)


def wanted(events: Emitter) -> bool:
    """Does anybody listen to what supervisors emit?"""
    return any(events.wanted(kind) for kind in OF_SUPERVISORS)
