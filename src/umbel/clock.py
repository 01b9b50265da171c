"""Time, and the only place that reads it.

Everything else is handed a :class:`Clock`. Wall times are whole milliseconds of UTC since 1970; spans measured on one
machine are float seconds of a clock that never steps.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What umbel asks of time."""

    def now(self) -> int:
        """Wall clock, milliseconds since 1970 UTC. May step."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never steps; stands still while the machine is suspended."""
        ...

    def boottime(self) -> float:
        """Seconds since some point; never steps; goes on while the machine is suspended."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)  # read thrice a task: no frame of ours around it

    if hasattr(time, "CLOCK_BOOTTIME"):

        def boottime(self) -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)

    else:  # macOS: its monotonic clock already counts sleep

        def boottime(self) -> float:
            return time.monotonic()


SYSTEM = SystemClock()


def to_datetime(ms: int) -> datetime:
    """An aware UTC ``datetime`` of a wall time in milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """Wall milliseconds of a ``datetime``; a naive one is read as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def seconds(span: float | timedelta) -> float:
    """A duration of the API (seconds or ``timedelta``) as float seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)
