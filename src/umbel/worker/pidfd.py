"""A file descriptor that becomes readable when a process ends, where the system has such a thing (Linux 5.3 and later)."""

from __future__ import annotations

import os
import signal

NONE = -1
"""There is none: the template's word, and asking, must do."""


def open_pidfd(pid: int) -> int:
    """The descriptor, or ``NONE`` where the system, a sandbox or the limit of open files does not give one. Raises
    ``ProcessLookupError`` if there is no such process."""
    if not hasattr(os, "pidfd_open"):
        os.kill(pid, 0)
        return NONE
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return NONE


def send_signal(pid: int, pidfd: int, number: int) -> None:
    """Signal the process, and never another one that was given its number, if there is a ``pidfd``."""
    try:
        if pidfd >= 0:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def lives(pid: int) -> bool:
    """Is there a process of that number?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's by now
        return False
    return True
