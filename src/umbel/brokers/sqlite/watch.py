"""Noticing that the file was written to, without asking it again and again."""

from __future__ import annotations

import ctypes
import math
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_IN_MODIFY = 0x2
_POLL_EVERY = 0.010
"""Seconds between two looks where there is no inotify: 10 µs each, so 0.1 % of a CPU, and woken after 5 ms in the mean."""


class Watch(Protocol):
    """Sleeps until somebody wrote."""

    longest: float
    """Seconds that one ``sleep`` should be asked for at most."""

    def drain(self) -> None:
        """Forget what was noticed until now; what is written from here on ends the next ``sleep``."""
        ...

    def sleep(self, seconds: float, stop: int | None) -> bool:
        """Until something was written, ``stop`` is readable, or the time is over. True: it may have been written."""
        ...

    def close(self) -> None: ...


class Inotify:
    """Linux: the kernel tells of every write to the WAL file. Raises ``OSError`` where it cannot."""

    longest = math.inf

    def __init__(self, path: Path) -> None:
        self._fd = -1
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if libc.inotify_add_watch(self._fd, os.fsencode(path), _IN_MODIFY) < 0:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, "inotify_add_watch", str(path))

    def drain(self) -> None:
        try:
            while len(os.read(self._fd, 65536)) == 65536:
                pass
        except BlockingIOError:
            pass

    def sleep(self, seconds: float, stop: int | None) -> bool:
        return self._fd in readable(seconds, self._fd, stop)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """A thread that ends drops its broker unclosed, and a user has 128 of these."""
        self.close()


class Polling:
    """Anywhere else: SQLite's own counter of other connections' commits, looked at every 10 ms."""

    longest = 0.25  # each of its naps takes longer than it should where the machine is busy, and they add up

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._seen = version()

    def drain(self) -> None:
        self._seen = self._version()

    def sleep(self, seconds: float, stop: int | None) -> bool:
        left = seconds
        while True:
            if self._version() != self._seen:
                return True
            if left <= 0 or readable(min(left, _POLL_EVERY), stop):
                return False
            left -= _POLL_EVERY

    def close(self) -> None:
        """Nothing is held."""


def watch(wal: Path, version: Callable[[], int]) -> Watch:
    """The best way to watch the file whose log is ``wal``."""
    if hasattr(ctypes.CDLL(None), "inotify_init1"):
        try:
            return Inotify(wal)
        except OSError:
            pass  # the user's limit of inotify instances (128 unless raised) is reached, or there is no such file system call
    return Polling(version)


def readable(seconds: float, *fds: int | None) -> set[int]:
    """Those of ``fds`` that can be read, after waiting for one of them at most ``seconds``."""
    poll = select.poll()
    for fd in fds:
        if fd is not None:
            poll.register(fd, select.POLLIN)
    # rounded up: a millisecond late rather than a busy loop through the last one
    return {fd for fd, _ in poll.poll(int(seconds * 1000) + 1 if seconds > 0 else 0)}
