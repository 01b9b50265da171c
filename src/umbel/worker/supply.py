"""The supply: whether there may be something to claim, and who is to say when there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..broker import WAIT_MAX

_LATER = 0.003
"""Seconds until the lookout begins while something runs. A short task has ended by then, and a wait with empty hands is
another wait: to break one off costs a connection."""
_POLL = 2.0
"""Seconds beyond its own end after which a wait is not counted on any more."""


class Waits(Protocol):
    """What is asked of a ``Lookout``."""

    @property
    def waits(self) -> bool: ...
    @property
    def alone(self) -> bool: ...
    def wait(self, queues: Sequence[str], timeout: float, *, alone: bool) -> None: ...
    def wake(self) -> None: ...


class Supply:
    """Belongs to the loop that exchanges. Times are monotonic."""

    def __init__(self, lookout: Waits) -> None:
        self._lookout = lookout
        self._more = True
        self._wait_from = 0.0
        """When the lookout shall begin; 0: it has been told."""
        self._ends = 0.0

    def ran_out(self, now: float, next_due: int | None, *, empty: bool) -> None:
        """A claim brought less than was asked for. ``next_due``: ms until a scheduled message is due. ``empty``: of ours, nothing
        is held."""
        self._more = False
        self._ends = now + (WAIT_MAX if next_due is None else min(WAIT_MAX, next_due / 1000))
        self._wait_from = now if empty else now + _LATER
        if self._lookout.waits:
            if self._lookout.alone == empty:
                self._wait_from = 0.0
            elif empty:
                self._lookout.wake()  # what is to be handed out alone may be had now

    def more(self, now: float, queues: Sequence[str], *, empty: bool) -> bool:
        """May there be something?"""
        if self._more:
            return True
        if self._wait_from:
            if not self._lookout.waits and (empty or now >= self._wait_from):
                self._wait_from = 0.0
                self._lookout.wait(queues, max(0.0, self._ends - now), alone=empty)
        elif not self._lookout.waits:
            self._more = True
        self._more = self._more or now >= self._ends + _POLL
        return self._more

    def look_again(self) -> float:
        """When to ask ``more`` again if nobody says anything: while the lookout waits, its end is told."""
        return self._wait_from if self._wait_from and not self._lookout.waits else self._ends + _POLL
