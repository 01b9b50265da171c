"""How many messages to claim: about 20 ms of work, by what tasks took lately, and no more than a few megabytes."""

from __future__ import annotations

from collections.abc import Sequence

from ..envelope import Delivery

BUDGET = 0.020
"""Seconds of work to hold: enough that a round trip is spread over many small tasks, little enough to lose nothing by."""
SLOW = 0.010
"""Seconds from which a task counts as slow: what is finished is settled before it begins."""
MOST = 500
GROWTH = 8
"""A claim is at most this many times the last one: a mean from few runs is not to be trusted far."""
HOARD = 4 << 20
"""Bytes of bodies to claim at once, by the last claims': large ones cost a child memory, and little by more round trips."""
_WEIGHT = 0.1


class Claimer:
    """Means of run times, per task and over all, and the next claim's size from them."""

    __slots__ = ("_last", "_means", "_recent", "_size")

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._recent = 0.0
        self._last = 0
        self._size = 1.0

    def ran(self, task: str, span: float) -> None:
        """A run of ``task`` took ``span`` seconds."""
        mean = self._means.get(task)
        self._means[task] = span if mean is None else mean + (span - mean) * _WEIGHT
        recent = self._recent
        self._recent = recent + (span - recent) * _WEIGHT if recent else span

    def claimed(self, deliveries: Sequence[Delivery]) -> None:
        """These came."""
        size = sum([len(d.envelope.body) for d in deliveries]) / len(deliveries)
        self._size = size if size > self._size else self._size + (size - self._size) * _WEIGHT

    def is_slow(self, task: str) -> bool:
        """Is this task's mean unknown, or above ``SLOW``?"""
        mean = self._means.get(task)
        return mean is None or mean > SLOW

    @property
    def recent(self) -> float:
        """The mean over all tasks, seconds; 0 while nothing has run."""
        return self._recent

    def bounded(self, wanted: int) -> int:
        """``wanted``, or fewer: no more than are exchanged at once, nor than a few megabytes."""
        return max(0, min(wanted, MOST, max(1, int(HOARD / self._size))))

    def limit(self) -> int:
        """How many to ask for now."""
        wanted = int(BUDGET / self._recent) if self._recent > 0.0 else 1
        self._last = max(1, min(wanted, MOST, max(1, self._last) * GROWTH, int(HOARD / self._size)))
        return self._last
