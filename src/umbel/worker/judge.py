"""What a reading of a slot calls for: pure, so that every case can be tested with numbers."""

from __future__ import annotations

from enum import Enum, auto

from .slots import Running

HOSTAGE_AGE = 0.2
"""Seconds after which what is not begun of a batch goes to others."""
STUCK_AGE = 60.0
"""A child without a task turns its loop every 5 s at the least; after this long it is beyond hope."""


class Sentence(Enum):
    """What to do about a child."""

    NOTHING = auto()
    HARD = auto()
    """Its task's hard limit is over: kill it."""
    SOFT = auto()
    STUCK = auto()
    """It neither runs a task nor turns its loop: kill it."""


def judge(running: Running, now: float, soft_done: int, beat: float) -> Sentence:
    """The sentence for a child that was read at ``now`` (monotonic)."""
    if running.busy:
        if running.hard and now >= running.hard:
            return Sentence.HARD
        if running.soft and now >= running.soft and soft_done != running.version:
            return Sentence.SOFT
    elif beat and now - beat > STUCK_AGE:
        return Sentence.STUCK
    return Sentence.NOTHING


def holds_hostages(running: Running, now: float) -> bool:
    """Does a task that runs keep others of its batch waiting for too long?"""
    return running.busy and running.size - running.at > 1 and now - running.batch_since > HOSTAGE_AGE
