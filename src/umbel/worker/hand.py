"""The hand of a child that runs many tasks at once: what it holds, what of that it has begun, and what is finished.

The loop that exchanges with the broker puts deliveries in and takes outcomes out; the pool's threads begin and end runs.
They begin in the order in which deliveries came, each with a permit, so what is not begun is the tail of the list, as with a
child that runs one task at a time. New deliveries come to the list while it is not empty, and the supervisor may take permits
at any moment. So whoever changes the list first takes all its permits: if one is missing, the supervisor has it, the list
is his until he has said what he gave back, and nothing is added.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..outcome import Outcome
from .executor import Prepared
from .permits import Permits
from .roster import WAITING_MAX, Roster, key_of
from .run import Run


class Ended(NamedTuple):
    """A run that is over."""

    run: Run
    outcome: Outcome
    at: float


class Hand:
    """Every method may be called from any thread."""

    def __init__(
        self,
        roster: Roster,
        permits: Permits,
        monotonic: Callable[[], float],
        limits: Callable[[Prepared], tuple[float, float]],
        notify: Callable[[], None],
    ) -> None:
        """``limits``: spans in seconds, 0 for none. ``notify`` is called when the exchanging loop has something to do."""
        self._roster = roster
        self._permits = permits
        self._monotonic = monotonic
        self._limits = limits
        self._notify = notify
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Prepared, float]] = deque()
        self._free = list(range(roster.capacity - 1, -1, -1))
        self._ended: list[Ended] = []
        self._earliest = 0.0
        self._abandoned = False
        self.runs: dict[int, Run] = {}
        self.next_look = 0.0
        """No limit is over before then (monotonic); 0: none ever is. For the watchdog."""
        self.roused: Callable[[], None] = lambda: None
        """Called when the watchdog has something to look at sooner than it knew."""
        self.watched = False
        """Shall it be called, too, when the first of several runs begins?"""
        self.low = -1
        """Call the loop when no more than so many are not begun; -1: it would claim nothing."""
        self.alert = True
        """Call the loop when a run has ended, even if others go on."""
        self.closed = False
        self.taken = False
        """Has the supervisor taken permits, and not said yet that he is done?"""

    # -- the exchanging loop

    @property
    def waiting(self) -> int:
        """How many are held and not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self.runs)

    @property
    def free(self) -> int:
        """How many more may run."""
        return self._roster.capacity - len(self.runs)

    @property
    def empty(self) -> bool:
        """Is nothing held but what is finished?"""
        return not self.runs and not self._waiting

    @property
    def alone(self) -> bool:
        """Is what is held to run alone? Then it is the only one."""
        with self._lock:
            held = next(iter(self.runs.values())).prepared if self.runs else self._waiting[0][0] if self._waiting else None
            return held is not None and held.delivery.envelope.handed_alone

    def add(self, prepared: Sequence[Prepared], now: float) -> bool:
        """Let these be begun after all others. False if nothing can be added now: the supervisor takes back what waits."""
        with self._lock:
            if self.closed or self.taken or len(self._waiting) + len(prepared) > WAITING_MAX:
                return False
            mine = self._permits.drain()
            if mine < len(self._waiting):
                self.taken = True
                self._permits.grant(mine)
                return False
            self._waiting.extend([(one, now) for one in prepared])
            self._publish()
            return True

    def tidy(self, returned: int) -> bool:
        """Forget what was taken back: the supervisor says that he is done with list number ``returned``. True if it was ours."""
        with self._lock:
            if returned != self._roster.generation or self.closed or not self._waiting:
                return False
            mine = self._permits.drain()
            while len(self._waiting) > mine:
                self._waiting.pop()
            self.taken = False
            self._publish()
            return True

    def close(self) -> list[Prepared]:
        """Begin nothing more. Answers with what is to be released; the supervisor has, or gives back, the rest. Twice is once."""
        with self._lock:
            self.closed = True
            mine = self._permits.drain()
            ours = [self._waiting.popleft()[0] for _ in range(min(mine, len(self._waiting)))]
            self._waiting.clear()
            return ours

    def collect(self) -> list[Ended]:
        """What has ended since the last time."""
        with self._lock:
            ended, self._ended = self._ended, []
            return ended

    def abandon(self, now: float) -> bool:
        """Leave what runs to the supervisor, if all that is left is over its hard limit and what has ended was collected. From
        then on nothing ends: the rows that he reads stay."""
        with self._lock:
            if self._ended or not self.runs or not all(0.0 < run.hard <= now for run in self.runs.values()):
                return False
            self._abandoned = True
            return True

    def _publish(self) -> None:
        waiting = self._waiting
        self._roster.wait([key_of(one.delivery.receipt) for one, _ in waiting], waiting[0][1] if waiting else 0.0)
        self._permits.grant(len(waiting))

    # -- the pool

    def begin(self) -> Run | None:
        """The next one, which runs from now on; None if there is none, or no room, or the supervisor was faster."""
        with self._lock:
            if not self._waiting or not self._free or self.closed or self.taken:
                return None
            if not self._permits.take():
                self.taken = True
                self._notify()
                return None
            run = self._enter(self._waiting.popleft()[0])
            if len(self._waiting) <= self.low:
                self._notify()
            return run

    def _enter(self, prepared: Prepared) -> Run:
        now = self._monotonic()
        soft, hard = self._limits(prepared)
        run = Run(
            prepared, key_of(prepared.delivery.receipt), self._free.pop(), now, now + soft if soft else 0.0, now + hard if hard else 0.0
        )
        if run.hard and not 0.0 < self._earliest <= run.hard:
            self._earliest = run.hard
            self._roster.earliest(run.hard)
        self._roster.begin(run.row, run.key, now, run.hard)
        self.runs[run.key] = run
        self._roster.running(len(self.runs))
        due = run.soft or run.hard
        if due and not 0.0 < self.next_look <= due:
            self.next_look = due
            self.roused()
        elif self.watched and len(self.runs) == 1:
            self.roused()
        return run

    def end(self, run: Run, outcome: Outcome) -> None:
        """It is over."""
        with self._lock:
            if self._abandoned:
                return
            self._roster.end(run.row)
            self._free.append(run.row)
            del self.runs[run.key]
            self._roster.running(len(self.runs))
            self._ended.append(Ended(run, outcome, self._monotonic()))
            if (self.alert and len(self._ended) == 1) or not self.runs or len(self._waiting) <= self.low:
                self._notify()

    # -- the watchdog

    def look(self, now: float) -> list[Run]:
        """The runs whose soft limit is over and that were not told. Renews what is known of the next limits."""
        with self._lock:
            runs = list(self.runs.values())
            self._earliest = min([run.hard for run in runs if run.hard], default=0.0)
            self._roster.earliest(self._earliest)
            soft = [run for run in runs if run.soft and run.struck is None]
            dues = [run.soft for run in soft] + [run.hard for run in runs if run.hard > now]
            self.next_look = min(dues, default=0.0)
            return [run for run in soft if run.soft <= now]
