"""The herald: a process in which the user's subscribers hear of what happened in the supervisor. Runs no tasks."""

from __future__ import annotations

import os
import select

from ..events import Emitter
from .dispatch import READ, decode


def run_herald(events: Emitter, fd: int, parent: int) -> int:
    """Emit what comes out of the pipe ``fd`` until its end, or until the template ``parent`` is gone, whose successor has a
    herald of its own. Returns the exit status."""
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while os.getppid() == parent:
        poll.poll(1000)
        try:
            lines = os.read(fd, READ).splitlines()
        except BlockingIOError:  # nothing yet, or another herald was faster
            continue
        if not _emit(events, lines):
            return 0
    return 0


def _emit(events: Emitter, lines: list[bytes]) -> bool:
    """False at the end."""
    told = [decode(line) for line in lines]
    for event in told:
        if event is not None:
            events.emit(event)
    return bool(told) and None not in told
