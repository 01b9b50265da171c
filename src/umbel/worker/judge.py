"""What a reading of a slot calls for: pure, so that every case can be tested with numbers."""

from __future__ import annotations

from enum import Enum, auto

from .points import span
from .slots import Pulse, Running

HOSTAGE_AGE = 0.2
"""Seconds after which what is not begun of a batch goes to others."""
RECONNECT_AGE = span("reconnect", 30.0)
"""Seconds for which a child that could fetch does not, before it must connect anew. Its loop turns every 5 s at the least,
and a server's answer is waited for 10 s."""
STUCK_AGE = span("stuck", 60.0)
"""Seconds after which a new connection has not helped either: the process is beyond hope."""


class Sentence(Enum):
    """What to do about a child."""

    NOTHING = auto()
    HARD = auto()
    """Its task's hard limit is over: kill it."""
    SOFT = auto()
    RECONNECT = auto()
    """It neither runs a task nor turns its loop: break off its call of the broker."""
    STUCK = auto()
    """Nor does it for longer, or all its exchanges fail though the broker answers others: kill it."""


def judge(running: Running, now: float, soft_done: int, pulse: Pulse, fetch_since: float | None) -> Sentence:
    """The sentence for a child that was read at ``now``. ``fetch_since``: since when it could fetch, None if it cannot; a
    child is not to blame for a broker that is away, and what it has finished is safest in its hands. All monotonic."""
    if running.busy:
        if running.hard and now >= running.hard:
            return Sentence.HARD
        if running.soft and now >= running.soft and soft_done != running.version:
            return Sentence.SOFT
    elif pulse.beat and fetch_since is not None:
        return _idle(now, pulse, fetch_since)
    return Sentence.NOTHING


def _idle(now: float, pulse: Pulse, fetch_since: float) -> Sentence:
    silent = now - max(pulse.beat, fetch_since)
    failing = now - max(pulse.failing, fetch_since) if pulse.failing else 0.0
    if max(silent, failing) > STUCK_AGE:
        return Sentence.STUCK
    return Sentence.RECONNECT if silent > RECONNECT_AGE else Sentence.NOTHING


def holds_hostages(running: Running, now: float) -> bool:
    """Does what a child is at, a task or a call between two, keep others of its batch waiting for too long?"""
    return running.size - running.at > 1 and now - running.batch_since > HOSTAGE_AGE
