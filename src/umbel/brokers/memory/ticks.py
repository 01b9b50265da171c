"""Schedules, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

import msgspec

from ...broker import Receipted
from ...clock import Clock
from ...envelope import Envelope
from ...intake import Intake
from ...ticks import Fired, Firing, Origin, Planned, Shot, Ticks, Timetable, check_firings
from .store import Store


class MemoryTicks(Ticks):
    """The facet ``Ticks`` of the memory broker."""

    store: Store
    clock: Clock
    _intake: Intake

    @abstractmethod
    def step(self) -> AbstractContextManager[int]: ...

    @abstractmethod
    def accept(self, envelope: Envelope, now: int) -> Receipted: ...

    def timetable(self) -> Timetable:
        with self.store.lock:
            kept = self.store.schedules
            entries = [msgspec.structs.replace(kept.entries[name]) for name in sorted(kept.entries)]
            return Timetable(entries, kept.revision, kept.stamp, self.clock.now())

    def declare_schedules(self, stamp: str, ttl: float, since: int, planned: Sequence[Planned] | None) -> bool:
        with self.step() as now:
            kept = self.store.schedules
            if stamp != kept.stamp:
                if planned is None or not kept.gives_way(stamp, now):
                    return False
                kept.stamp = stamp
                self._put_in_force(planned, min(since, now))
            kept.upheld_until = now + int(ttl * 1000)
            return True

    def _put_in_force(self, planned: Sequence[Planned], since: int) -> None:
        kept, names = self.store.schedules, {one.name for one in planned}
        for entry in list(kept.entries.values()):
            if entry.origin == Origin.CODE and entry.name not in names:
                kept.remove(entry.name)
        for one in planned:
            if one.name not in kept.entries or kept.entries[one.name].origin == Origin.CODE:
                kept.write(one, Origin.CODE, since)

    def fire(self, firings: Sequence[Firing]) -> tuple[int, list[Fired]]:
        check_firings(firings)
        self._intake.enqueued([one.envelope for one in firings if one.envelope is not None])
        with self.step() as now:
            return now, [self._fire(one, now) for one in firings]

    def _fire(self, firing: Firing, now: int) -> Fired:
        entry = self.store.schedules.entries.get(firing.name)
        if entry is None or entry.revision != firing.revision or entry.paused:
            return Fired(Shot.CHANGED, entry.done if entry else 0)
        if firing.tick <= entry.done:
            return Fired(Shot.TAKEN, entry.done)
        if firing.tick > now:
            return Fired(Shot.FUTURE, entry.done)
        entry.done = firing.tick
        entry.missed += firing.missed
        if firing.envelope is None:
            return Fired(Shot.FIRED, entry.done)
        if firing.alone and self._goes_on(entry.last_id, now):
            entry.overlapped += 1
            return Fired(Shot.OVERLAPS, entry.done)
        self.accept(firing.envelope, now)
        entry.fired += 1
        entry.last_tick, entry.last_fired, entry.last_id = firing.tick, now, firing.envelope.id
        return Fired(Shot.FIRED, entry.done)

    def _goes_on(self, id: str, now: int) -> bool:
        record = self.store.records.get(id, now)
        return record is not None and not record.state.final

    def add_schedule(self, planned: Planned, *, replace: bool = False) -> bool:
        with self.step() as now:
            kept = self.store.schedules
            entry = kept.entries.get(planned.name)
            if entry is not None and (entry.origin == Origin.CODE or not replace):
                return False
            kept.write(planned, Origin.RUNTIME, now)
            return True

    def remove_schedule(self, name: str) -> bool:
        with self.step():
            return self.store.schedules.remove(name)

    def pause_schedule(self, name: str, paused: bool) -> bool:
        with self.step() as now:
            kept = self.store.schedules
            entry = kept.entries.get(name)
            if entry is None:
                return False
            if entry.paused != paused or not paused:
                if not paused:
                    entry.done = now
                entry.paused = paused
                kept.touch(entry)
            return True
