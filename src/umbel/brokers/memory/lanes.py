"""Lanes and limits of the memory broker: who waits for what, and who is next.

A lane with room stands in the *turn* of its queue, priority and group, by when it was last served. One whose own limit has no room is
parked with that limit, and comes back when room is made or its time has come; a group without room is passed over whole. So a claim
looks at lanes that may be served, and at each full one once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ...envelope import Receipt
from ...gcra import is_full, returned, room_at, sane, taken
from ...lane import Mark, Marks, Rule
from .row import Row

_NEVER = float("inf")


class LaneName(NamedTuple):
    """What a lane is known by."""

    queue: str
    priority: int
    limit: str
    group: str


@dataclass(slots=True, eq=False)
class Limit:
    """The state of one limit: who stands on it, and its rate."""

    name: str
    rule: str
    tat: float = 0.0
    held: set[Receipt] = field(default_factory=set)
    lanes: set[LaneName] = field(default_factory=set)
    """Lanes that stand on it and in which something waits."""
    parked: set[LaneName] = field(default_factory=set)
    """Those that wait for it."""


@dataclass(slots=True, eq=False)
class Lane:
    """One sub-queue."""

    name: LaneName
    since: int
    served: int
    """Rises over all lanes with each hand-out, so it is the order of turns."""
    rows: deque[Row] = field(default_factory=deque)
    parked: float | None = None
    """Waits until then for its own limit; None while it stands in its turn."""


class Lanes:
    """All lanes of a store. Whoever calls holds the store's lock."""

    def __init__(self) -> None:
        self.declared: dict[str, Rule] = {}
        self.overrides: dict[str, Rule] = {}
        self.limits: dict[str, Limit] = {}
        self.lanes: dict[LaneName, Lane] = {}
        self._turns: dict[tuple[str, int], dict[str, list[tuple[int, LaneName]]]] = {}
        self._count: Counter[tuple[str, int]] = Counter()
        """Lanes of each queue and priority."""
        self._timed: dict[str, list[tuple[float, LaneName]]] = {}
        self._serial = itertools.count(1)
        self._latest = 0

    # -- numbers

    def know(self, marks: Marks) -> None:
        """Take the numbers of a message where there are none."""
        for mark in marks:
            if mark is not None:
                self.declared.setdefault(mark.rule, mark.numbers)

    def declare(self, rules: Mapping[str, Rule]) -> None:
        self.declared.update(rules)
        self.wake_all()

    def numbers(self, limit: Limit) -> Rule:
        return self.declared.get(limit.rule, Rule()).under(self.overrides.get(limit.rule))

    # -- messages come and go

    def behind(self, row: Row, now: int) -> None:
        self._lane_of(row, now).rows.append(row)

    def in_front(self, row: Row, now: int) -> None:
        self._lane_of(row, now).rows.appendleft(row)

    def _lane_of(self, row: Row, now: int) -> Lane:
        name = name_of(row)
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name, now, next(self._serial))
            self._count[name[:2]] += 1
            for mark in row.limits:
                self._limit(mark).lanes.add(name)
            self._to_turn(lane)
        return lane

    def _limit(self, mark: Mark) -> Limit:
        return self.limits.setdefault(mark.limit, Limit(mark.limit, mark.rule))

    def remove_waiting(self, gone: set[int]) -> None:
        """Take out the rows whose ``id()`` of the object is in ``gone``."""
        for lane in list(self.lanes.values()):
            kept = deque(row for row in lane.rows if id(row) not in gone)
            if len(kept) < len(lane.rows):
                lane.rows = kept
                self._forget_empty(lane)

    def pop(self, lane: Lane) -> Row:
        """The first one, taken out without being handed out."""
        row = lane.rows.popleft()
        self._forget_empty(lane)
        return row

    def _forget_empty(self, lane: Lane) -> None:
        if lane.rows:
            return
        del self.lanes[lane.name]
        self._count[lane.name[:2]] -= 1
        if not self._count[lane.name[:2]]:
            del self._count[lane.name[:2]]
        for limit in self._of(lane.name):
            limit.lanes.discard(lane.name)
            limit.parked.discard(lane.name)
            self._forget_idle(limit)

    def _forget_idle(self, limit: Limit, now: int | None = None) -> None:
        now = self._latest if now is None else now
        if not limit.held and not limit.lanes and is_full(limit.tat, now):
            self.limits.pop(limit.name, None)

    def forget_idle(self, now: int) -> None:
        """Limits on which nobody stands, and whose rate is as if nobody ever had."""
        self.look_at(now)
        for limit in list(self.limits.values()):
            self._forget_idle(limit, now)

    # -- whose turn it is

    def next(self, queue: str, priority: int, now: int) -> Lane | None:
        """The lane with room that was served longest ago; it stays where it is."""
        self._wake_due(queue, now)
        best: Lane | None = None
        for group in list(self._turns.get((queue, priority), {})):
            if self._blocked(self.limits.get(group), now) is not None:
                continue
            lane = self._first_with_room(queue, priority, group, now)
            if lane is not None and (best is None or lane.served < best.served):
                best = lane
        return best

    def hand(self, lane: Lane, receipt: Receipt, now: int) -> Row:
        """Take its first message out, onto its limits."""
        for limit in self._of(lane.name):
            limit.tat = taken(limit.tat, self.numbers(limit), now)
            limit.held.add(receipt)
        row = lane.rows.popleft()
        lane.served, lane.since = next(self._serial), now
        if lane.rows:
            self._to_turn(lane)
        self._forget_empty(lane)
        return row

    def left(self, row: Row, receipt: Receipt, *, unbegun: bool) -> None:
        """A delivery of ``row`` is in nobody's hand any more."""
        for mark in row.limits:
            limit = self.limits.get(mark.limit)
            if limit is None or receipt not in limit.held:
                continue
            limit.held.discard(receipt)
            if unbegun:
                limit.tat = returned(limit.tat, self.numbers(limit))
            self._unpark(limit)
            self._forget_idle(limit)

    def is_taken(self, limit_name: str) -> bool:
        """Does a delivery stand on this limit, or a message wait for it?"""
        limit = self.limits.get(limit_name)
        return limit is not None and bool(limit.held or limit.lanes)

    def _first_with_room(self, queue: str, priority: int, group: str, now: int) -> Lane | None:
        turns = self._turns[(queue, priority)]
        heap = turns[group]
        while heap:
            served, name = heap[0]
            lane = self.lanes.get(name)
            if lane is None or lane.parked is not None or lane.served != served:
                heapq.heappop(heap)  # it left, or stands elsewhere in the order
                continue
            limit = self.limits[name.limit]
            until = self._blocked(limit, now)
            if until is None:
                return lane
            heapq.heappop(heap)
            self._park(lane, limit, until)
        del turns[group]
        if not turns:
            del self._turns[(queue, priority)]
        return None

    def _blocked(self, limit: Limit | None, now: int) -> float | None:
        """None while there is room, else the time until when there is none; ``_NEVER`` where no time makes room."""
        if limit is None:
            return None
        numbers = self.numbers(limit)
        if numbers.most is not None and len(limit.held) >= numbers.most:
            return _NEVER
        limit.tat = sane(limit.tat, numbers, now)
        until = room_at(limit.tat, numbers, now)
        return until if until > now else None

    def _of(self, name: LaneName) -> Iterator[Limit]:
        """The limits of a lane that have any state."""
        for limit in (name.limit, name.group):
            if limit in self.limits:
                yield self.limits[limit]

    # -- room

    def look_at(self, now: int) -> None:
        """A step begins at ``now``. A clock that went back makes all that was foreseen void."""
        if now < self._latest:
            self.wake_all()
        self._latest = now

    def wake_all(self) -> None:
        for limit in self.limits.values():
            self._unpark(limit)

    def _to_turn(self, lane: Lane) -> None:
        lane.parked = None
        turns = self._turns.setdefault(lane.name[:2], {})
        heapq.heappush(turns.setdefault(lane.name.group, []), (lane.served, lane.name))

    def _park(self, lane: Lane, limit: Limit, until: float) -> None:
        lane.parked = until
        limit.parked.add(lane.name)
        if until < _NEVER:
            heapq.heappush(self._timed.setdefault(lane.name.queue, []), (until, lane.name))

    def _unpark(self, limit: Limit) -> None:
        for name in limit.parked:
            self._to_turn(self.lanes[name])
        limit.parked.clear()

    def _wake_due(self, queue: str, now: int) -> None:
        while (until := self._first_timed(queue)) is not None and until <= now:
            name = heapq.heappop(self._timed[queue])[1]
            self.limits[name.limit].parked.discard(name)
            self._to_turn(self.lanes[name])

    def _first_timed(self, queue: str) -> float | None:
        heap = self._timed.get(queue)
        while heap:
            until, name = heap[0]
            lane = self.lanes.get(name)
            if lane is not None and lane.parked == until:
                return until
            heapq.heappop(heap)
        self._timed.pop(queue, None)
        return None

    def next_room(self, queue: str, now: int) -> float | None:
        """When a lane of this queue that waits for a rate, its own or its group's, has a token; None if there is none."""
        times = [self._first_timed(queue)]
        for (of, priority), groups in list(self._turns.items()):
            for group in list(groups) if of == queue else ():
                until = self._blocked(self.limits.get(group), now)
                if until is not None and until < _NEVER and self._first_with_room(of, priority, group, now):
                    times.append(until)
        times.append(self._first_timed(queue))
        return min((time for time in times if time is not None), default=None)

    # -- looking

    def blocked_by(self, name: LaneName, now: int) -> tuple[Limit, float] | None:
        """The limit that keeps a lane waiting, and until when; its own before its group's."""
        for limit in self._of(name):
            until = self._blocked(limit, now)
            if until is not None:
                return limit, until
        return None

    def rows(self, queue: str, priority: int) -> Iterator[Row]:
        """All that wait in the lanes of a queue and priority, one of each lane in turn."""
        lanes = sorted((lane for name, lane in self.lanes.items() if name[:2] == (queue, priority)), key=lambda lane: lane.served)
        for several in itertools.zip_longest(*[lane.rows for lane in lanes]):
            yield from (row for row in several if row is not None)

    def priorities(self, queue: str) -> set[int]:
        """Those of which something waits in a lane."""
        return {priority for of, priority in self._count if of == queue}

    def queues(self) -> set[str]:
        """Those in which something waits in a lane."""
        return {queue for queue, _ in self._count}


def name_of(row: Row) -> LaneName:
    """The lane of a row that names one."""
    marks = [mark.limit for mark in row.limits]
    return LaneName(row.queue, row.priority, marks[0], marks[1] if len(marks) > 1 else "")
