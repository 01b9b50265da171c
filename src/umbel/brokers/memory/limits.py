"""Lanes and their limits, as the contract's facet."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager

from ...clock import Clock
from ...envelope import Envelope
from ...facets import LanePage, LaneSeen, Limits, Ruled, Waits
from ...lane import Rule, marks_of
from .lanes import LaneName
from .store import Store


class MemoryLimits(Limits):
    """The facet ``Limits`` of the memory broker."""

    store: Store
    clock: Clock

    @abstractmethod
    def step(self) -> AbstractContextManager[int]: ...

    def declare(self, rules: Mapping[str, Rule]) -> None:
        with self.step():
            self.store.lanes.declare(rules)

    def override(self, rule: str, changes: Rule) -> None:
        with self.step():
            lanes = self.store.lanes
            lanes.declared.setdefault(rule, Rule())
            lanes.overrides[rule] = lanes.overrides.get(rule, Rule()).under(changes)
            lanes.wake_all()

    def clear(self, rule: str, *, rate: bool = True, concurrency: bool = True) -> bool:
        with self.step():
            lanes = self.store.lanes
            before = lanes.overrides.pop(rule, Rule())
            after = before.without(rate=rate, concurrency=concurrency)
            if not after.empty:
                lanes.overrides[rule] = after
            lanes.wake_all()
            return after != before

    def rules(self) -> dict[str, Ruled]:
        with self.store.lock:
            lanes = self.store.lanes
            return {name: Ruled(declared, lanes.overrides.get(name, Rule())) for name, declared in sorted(lanes.declared.items())}

    def lanes(self, queue: str | None = None, limit: int = 50, cursor: str | None = None) -> LanePage:
        with self.step() as now:
            names = sorted((n for n in self.store.lanes.lanes if queue is None or n.queue == queue), key=_order)
            begin = int(cursor or 0)
            page = [self._seen(name, now) for name in names[begin : begin + limit]]
            return LanePage(page, str(begin + limit) if len(names) > begin + limit else None)

    def lane(self, envelope: Envelope) -> LaneSeen | None:
        marks = marks_of(envelope.extras)
        if marks is None:
            return None
        name = LaneName(envelope.queue, envelope.priority, marks.lane.limit, marks.group.limit if marks.group else "")
        with self.step() as now:
            return self._seen(name, now) if name in self.store.lanes.lanes else None

    def backlog(self, queue: str) -> int:
        with self.store.lock:
            return sum(1 for row in self.store.waiting() if row.queue == queue)

    def _seen(self, name: LaneName, now: int) -> LaneSeen:
        lanes = self.store.lanes
        lane, own = lanes.lanes[name], lanes.limits[name.limit]
        found = lanes.blocked_by(name, now)
        limit, until = found or (own, 0.0)
        waits = Waits.NOTHING
        if found:
            group = limit is not own
            if (most := lanes.numbers(limit).most) is not None and len(limit.held) >= most:
                waits = Waits.GROUP_CONCURRENCY if group else Waits.CONCURRENCY
            else:
                waits = Waits.GROUP_RATE if group else Waits.RATE
        if name.queue in self.store.paused:
            waits, until = Waits.PAUSED, 0.0
        return LaneSeen(
            *(name.queue, name.priority, name.limit, own.rule, name.group, len(lane.rows), waits, len(limit.held)),
            numbers=lanes.numbers(limit),
            until=math.ceil(until) if 0 < until < math.inf else None,
            since=lane.since,
        )


def _order(name: LaneName) -> tuple[str, int, str, str]:
    return name.queue, -name.priority, name.group, name.limit
