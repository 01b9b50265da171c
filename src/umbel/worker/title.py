"""What ``ps`` and ``top`` show of a worker's processes, if the package ``setproctitle`` is installed (extra ``titles``).

Nothing is done on the way of a task but noting its name: a thread of the child looks once a second, and says what has been running
since its last look. Without the package there is no such thread, and no title.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from functools import cache

from ..clock import Clock, to_datetime
from .roster import Roster
from .slots import ChildSlot

_EVERY = 1.0
"""Seconds between two looks. What takes less is never seen: changing a title for it would cost more than it tells."""


def set_title(kind: str, app: str, more: str = "") -> None:
    """``umbel KIND: APP, MORE``. Does nothing where titles cannot be had."""
    setter = _setter()
    if setter is not None:
        text = f"umbel {kind}: {app}" + (f", {more}" if more else "")
        setter("".join(c if c.isprintable() else "?" for c in text))


@cache
def _setter() -> Callable[[str], None] | None:
    try:
        from setproctitle import setproctitle
    except ImportError:
        return None
    return setproctitle


class _Title(ABC):
    """The title of a child, kept true by a thread of its own."""

    __slots__ = ("_app", "_told")

    def __init__(self, app: str) -> None:
        self._app = app
        self._told = ""

    def start(self) -> None:
        """Tell from now on, if titles can be had."""
        if _setter() is not None:
            self.look()
            threading.Thread(target=self._run, daemon=True, name="umbel-title").start()

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY)
            self.look()

    @abstractmethod
    def look(self) -> None:
        """Say what is so now, if it is not said already."""

    def _tell(self, what: str) -> None:
        if what != self._told:
            self._told = what
            set_title("child", self._app, what)


class ChildTitle(_Title):
    """What a child is doing. The loop writes ``task``; the thread reads it, and the run's version."""

    __slots__ = ("_clock", "_since", "_slot", "task")

    def __init__(self, app: str, slot: ChildSlot, clock: Clock) -> None:
        super().__init__(app)
        self._slot = slot
        self._clock = clock
        self._since: tuple[int, datetime | None] = (-1, None)
        self.task = ""
        """The name of the task that runs; empty for none."""

    def look(self) -> None:
        task, version = self.task, self._slot.version
        if not task:
            self._since = (-1, None)
            return self._tell("idle")
        if version != self._since[0]:  # it began since the last look: what is over by the next one is not worth telling
            self._since = (version, to_datetime(self._clock.now()))
            return self._tell("busy") if self._told != "busy" else None
        since = self._since[1]
        return self._tell(f"runs {task} since {since:%H:%M:%S} UTC" if since else f"runs {task}")


class PoolTitle(_Title):
    """What a child does that runs many tasks at once: how many of them."""

    __slots__ = ("_roster",)

    def __init__(self, app: str, roster: Roster) -> None:
        super().__init__(app)
        self._roster = roster

    def look(self) -> None:
        busy = self._roster.busy
        self._tell(f"runs {busy} of {self._roster.capacity}" if busy else "idle")
