"""Schedules, as every supervisor fires them: see ``docs/internals/schedules.md`` for who wins.

Here is the loop's part: it sleeps, decides what to ask next, and tells. What it asks for is done by the clerk (``firing.py``), ticks
computed and all: a long calendar must not hold up the limits of tasks.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..broker import Broker
from ..clock import Clock
from ..events import Event, TickFired, TickSkipped
from ..ticks import MAX_FIRINGS, Firing, Planned, Shot
from ..timetable import Item
from .clerk import Clerk
from .firing import UPHELD, Agenda, Shots, look, put_in_force, shoot, uphold
from .lease import Lease

T = TypeVar("T")

_UPHOLD_EVERY = UPHELD / 4
_AGAIN = 2.0
"""Seconds before what failed is asked anew."""

log = logging.getLogger("umbel.worker")


class Scheduler:
    """Call ``turn()`` often, and after ``left()`` seconds at the latest. All of it belongs to the loop's thread."""

    def __init__(self, clerk: Clerk, lease: Lease, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._clerk = clerk
        self._lease = lease
        self._clock = clock
        self._tell = tell
        self._planned: Sequence[Planned] = ()
        self._stamp = self._instead = ""
        self._agenda: Agenda | None = None
        self._heap: list[tuple[int, str]] = []
        """(due, name); one that says another time than its item is out of date."""
        self._beats = 0
        self._synced: tuple[float, int] | None = None
        """When a tick was last answered (boottime, s), and the store's clock then (ms)."""
        self._asking = self._off = self._failing = False
        self._not_before = -math.inf
        self._declare_at = math.inf
        self._whole = True
        """Is the whole set to be said next, or only that it is in force?"""
        self._in_force: bool | None = None
        self._told: set[tuple[str, int]] = set()

    def declare(self, planned: Sequence[Planned], stamp: str) -> None:
        """What the code has: at the start, and after a reload. Put in force as soon as what is due by then was fired."""
        self._instead = self._stamp if self._in_force and self._stamp != stamp else ""
        self._planned, self._stamp = planned, stamp
        self._agenda, self._in_force = None, None
        self._whole, self._declare_at = True, -math.inf

    def turn(self, upholding: bool = True) -> None:
        """Ask for what is next, if it is time. Without ``upholding`` ticks are fired, and nothing is said of the code any more."""
        if self.left(upholding) > 0:
            return
        agenda = self._agenda
        if agenda is None:
            self._ask(look, self._seen)
        elif due := self._due(agenda):
            now = self._store_now()
            self._ask(lambda broker: shoot(broker, due, now), self._shot)
        elif upholding and self._clock.monotonic() >= self._declare_at:
            self._say()

    def left(self, upholding: bool = True) -> float:
        """Seconds until ``turn`` has something to do; ``inf``: not before something else happens."""
        now = self._clock.monotonic()
        if self._off or self._asking or not self._lease.began:
            return math.inf
        if now < self._not_before:
            return self._not_before - now
        if self._is_stale():
            return 0.0
        soonest = (self._heap[0][0] - self._store_now()) / 1000 if self._heap else math.inf
        return max(0.0, min(soonest, self._declare_at - now if upholding else math.inf))

    def _is_stale(self) -> bool:
        """Are the definitions to be read (anew)? A heartbeat says that they changed; one that was under way when they were read
        may say so though they have not: at worst they are read once too often."""
        if self._agenda is not None and self._lease.beats != self._beats:
            self._beats = self._lease.beats
            if self._lease.ticks != self._agenda.revision:
                self._agenda = None
        return self._agenda is None

    def _store_now(self) -> int:
        """The store's clock (ms) as far as it is known: by its last answer, and counted on with a clock that nobody sets."""
        moment, ms = max(one for one in (self._lease.store_clock(), self._synced, (-math.inf, 0)) if one is not None)
        return ms + int((self._clock.boottime() - moment) * 1000) if ms else 0

    def _due(self, agenda: Agenda) -> list[Item]:
        now, found = self._store_now(), list[Item]()
        while self._heap and self._heap[0][0] <= now and len(found) < MAX_FIRINGS:
            due, name = heapq.heappop(self._heap)
            item = agenda.items[name]
            if item.due == due:
                found.append(item)
        return found

    # -- asking

    def _ask(self, call: Callable[[Broker], T], then: Callable[[T], None]) -> None:
        self._asking = True
        self._clerk.ask(call, lambda answer: self._heard(then, answer), self._failed)

    def _heard(self, then: Callable[[T], None], answer: T) -> None:
        self._asking = self._failing = False
        then(answer)

    def _failed(self, error: Exception) -> None:
        """Told once. What became of the call is not known, so everything is looked at anew."""
        self._asking, self._agenda = False, None
        self._not_before = self._clock.monotonic() + _AGAIN
        if not self._failing:
            log.warning("schedules: %s; trying again", error)
        self._failing = True

    def _say(self) -> None:
        stamp, planned, instead = self._stamp, self._planned, self._instead
        if self._whole:
            soonest = self._heap[0][0] if self._heap else None
            self._ask(lambda broker: put_in_force(broker, stamp, planned, soonest, instead), lambda answer: self._said(stamp, answer))
        else:
            self._ask(lambda broker: uphold(broker, stamp), lambda answer: self._upheld(stamp, answer))

    # -- answers

    def _seen(self, agenda: Agenda | None) -> None:
        if agenda is None:
            self._off = True
            return
        self._agenda = agenda
        self._heap = [(item.due, name) for name, item in agenda.items.items() if item.due is not None]
        heapq.heapify(self._heap)
        for name, revision, why in agenda.unread:
            self._warn(name, revision, f"schedule {name}: it cannot be fired here, and is left to other workers: {why}")
        if self._in_force is not None:
            self._wait_to_uphold()
        if self._in_force:
            for name in agenda.runtime.intersection([one.name for one in self._planned]):
                self._warn(name, -1, f"schedule {name} was made at run time, and stays as it is: the one in the code has no effect")

    def _warn(self, name: str, revision: int, words: str) -> None:
        if (name, revision) not in self._told:
            self._told.add((name, revision))
            log.warning("%s", words)

    def _wait_to_uphold(self) -> None:
        """Where code has no schedules, neither ours nor that in force, there is nothing to uphold."""
        concerned = self._planned or (self._agenda is not None and self._agenda.code)
        span = _UPHOLD_EVERY if concerned else math.inf
        self._declare_at = min(self._declare_at, self._clock.monotonic() + span)

    def _said(self, stamp: str, answer: bool | None) -> None:
        """``answer`` None: something is due first."""
        if stamp != self._stamp or answer is None:
            return
        if answer and not self._in_force:
            self._agenda = None  # our own definitions are there now
        elif not answer and self._in_force is not False and self._planned:
            log.info("a newer release's schedules are in force: those of this release's code are not")
        self._whole, self._in_force, self._instead = False, answer, ""
        self._declare_at = math.inf
        self._wait_to_uphold()

    def _upheld(self, stamp: str, answer: bool) -> None:
        if stamp != self._stamp:
            return
        self._declare_at = math.inf
        if answer:
            self._wait_to_uphold()
        else:
            self._whole, self._declare_at = True, -math.inf

    def _shot(self, shots: Shots) -> None:
        self._synced = (self._clock.boottime(), shots.now)
        for item, firing, fired in shots.fired:
            if fired.shot == Shot.FIRED:
                self._tell_fired(item, firing, shots.now)
            elif fired.shot == Shot.OVERLAPS:
                log.info("schedule %s: a tick is skipped, since the call of the last one still waits or runs", firing.name)
                self._tell(TickSkipped(schedule=firing.name, task=item.definition.task, reason="overlap"))
        if shots.changed:
            self._agenda = None
        if self._agenda is not None:
            for item in shots.next:
                self._agenda.items[item.entry.name] = item
                if item.due is not None:
                    heapq.heappush(self._heap, (item.due, item.entry.name))

    def _tell_fired(self, item: Item, firing: Firing, now: int) -> None:
        name, definition = firing.name, item.definition
        if firing.envelope is None:
            log.warning("schedule %s: %d ticks were missed, and are not made up for", name, firing.missed)
            self._tell(TickSkipped(schedule=name, task=definition.task, reason="missed", count=firing.missed))
            return
        if firing.missed:
            log.warning("schedule %s: %d ticks were missed; one call stands for them", name, firing.missed)
        log.debug("schedule %s: %s[%s]", name, definition.task, firing.envelope.id)
        lag = max(0, now - firing.tick - definition.when.delay(name, firing.tick)) / 1000
        told = TickFired(schedule=name, task=definition.task, queue=definition.queue, id=firing.envelope.id, lag=lag, missed=firing.missed)
        self._tell(told)
