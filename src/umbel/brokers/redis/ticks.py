"""Schedules, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from ...intake import Intake
from ...ticks import STAMPS_KEPT, Entry, Fired, Firing, Origin, Planned, Shot, Ticks, Timetable, check_firings
from . import replies, scripts
from .connection import Line
from .keys import Keys
from .runs import Argument, runs

_ORIGINS = {b"c": Origin.CODE, b"r": Origin.RUNTIME}
_SHOTS = {b"F": Shot.FIRED, b"O": Shot.OVERLAPS, b"T": Shot.TAKEN, b"U": Shot.FUTURE, b"C": Shot.CHANGED}


class RedisTicks(Ticks):
    """The facet ``Ticks`` of the Redis broker."""

    _keys: Keys
    _intake: Intake
    _dedupe_ms: int
    _record_ms: int

    @abstractmethod
    def _open_line(self) -> Line: ...

    def timetable(self) -> Timetable:
        keys = self._keys
        now, revision, stamp, *rows = self._open_line().run(scripts.TIMETABLE, 3, keys.root, keys.ticks, keys.schedules)
        return Timetable(sorted(map(_entry, rows), key=lambda one: one.name), int(revision), replies.text(stamp), now)

    def declare_schedules(self, stamp: str, ttl: float, since: int, planned: Sequence[Planned] | None) -> bool:
        keys = self._keys
        fixed = (keys.root, keys.ticks, keys.stamps, keys.schedules)
        said: list[Argument] = [b"" if planned is None else b"1"]
        for one in planned or ():
            said += (one.name, one.rule, one.definition)
        line = self._open_line()
        return bool(line.run(scripts.DECLARE_SCHEDULES, len(fixed), *fixed, stamp, int(ttl * 1000), since, STAMPS_KEPT, *said))

    def fire(self, firings: Sequence[Firing]) -> tuple[int, list[Fired]]:
        check_firings(firings)
        packed = iter(self._intake.enqueued([one.envelope for one in firings if one.envelope is not None]))
        said: list[Argument] = []
        for one in firings:
            run = [] if one.envelope is None else runs([one.envelope], [next(packed)])
            said += (one.name, one.revision, one.tick, one.missed, b"1" if one.alone else b"", len(run), *run)
        line, keys = self._open_line(), self._keys
        now, *answers = line.run(scripts.FIRE, 2, keys.root, keys.queues, self._dedupe_ms, self._record_ms, *said)
        return now, [Fired(_SHOTS[letter], int(done)) for letter, done in answers]

    def add_schedule(self, planned: Planned, *, replace: bool = False) -> bool:
        keys = self._keys
        said = (planned.name, planned.rule, planned.definition, b"1" if replace else b"")
        return bool(self._open_line().run(scripts.SCHEDULE_ADD, 3, keys.root, keys.ticks, keys.schedules, *said))

    def remove_schedule(self, name: str) -> bool:
        keys = self._keys
        return bool(self._open_line().run(scripts.SCHEDULE_REMOVE, 3, keys.root, keys.ticks, keys.schedules, name))

    def pause_schedule(self, name: str, paused: bool) -> bool:
        keys = self._keys
        return bool(self._open_line().run(scripts.SCHEDULE_PAUSE, 2, keys.root, keys.ticks, name, b"1" if paused else b""))


def _entry(row: list[Any]) -> Entry:
    name, rule, definition, origin, revision, paused, *numbers, last_id = row
    done, fired, overlapped, missed, last_tick, last_fired = (int(one or 0) for one in numbers)
    return Entry(
        replies.text(name),
        replies.text(rule),
        definition,
        _ORIGINS[origin],
        int(revision),
        paused == b"1",
        done,
        fired,
        overlapped,
        missed,
        last_tick,
        last_fired,
        replies.message_id(last_id),
    )
