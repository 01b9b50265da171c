"""Schedules, as the contract's facet."""

from __future__ import annotations

from collections.abc import Sequence

from ...broker import BrokerSettings
from ...intake import Intake
from ...ticks import STAMPS_KEPT, Entry, Fired, Firing, Origin, Planned, Shot, Ticks, Timetable, check_firings
from . import records
from .accept import Prepared, accept
from .rows import FAR
from .statements import SQL
from .store import Store


class SQLiteTicks(Ticks):
    """The facet ``Ticks`` of the SQLite broker."""

    store: Store
    settings: BrokerSettings
    _intake: Intake

    def timetable(self) -> Timetable:
        def look(now: int) -> Timetable:
            execute = self.store.connection.execute
            revision, stamp, _ = execute(SQL["ticks_state"]).fetchone()
            return Timetable([_entry(row) for row in execute(SQL["schedules"]).fetchall()], revision, stamp, now)

        return self.store.read(look)

    def declare_schedules(self, stamp: str, ttl: float, since: int, planned: Sequence[Planned] | None) -> bool:
        return self.store.write(lambda now: _declare(self.store, stamp, ttl, since, planned, now))

    def fire(self, firings: Sequence[Firing]) -> tuple[int, list[Fired]]:
        check_firings(firings)
        sent = [one.envelope for one in firings if one.envelope is not None]
        packed = iter(self._intake.enqueued(sent))
        prepared = [None if one.envelope is None else Prepared(one.envelope, next(packed)) for one in firings]
        adds = sum(len(one.data) for one in prepared if one is not None)

        def step(now: int) -> tuple[int, list[Fired]]:
            pairs = zip(firings, prepared, strict=True)
            return now, [_fire(self.store, self.settings, firing, message, now) for firing, message in pairs]

        return self.store.write(step, adds)

    def add_schedule(self, planned: Planned, *, replace: bool = False) -> bool:
        def step(now: int) -> bool:
            entry = _find(self.store, planned.name)
            if entry is not None and (entry.origin == Origin.CODE or not replace):
                return False
            _write(self.store, planned, entry, Origin.RUNTIME, now)
            return True

        return self.store.write(step, len(planned.definition))

    def remove_schedule(self, name: str) -> bool:
        return self.store.write(lambda _: _remove(self.store, name))

    def pause_schedule(self, name: str, paused: bool) -> bool:
        return self.store.write(lambda now: _pause(self.store, name, paused, now))


def revision(store: Store) -> int:
    """What a heartbeat answers with."""
    found: int = store.connection.execute(SQL["ticks_revision"]).fetchone()[0]
    return found


def _entry(row: tuple[str, str, bytes, str, int, int, int, int, int, int, int, int, str]) -> Entry:
    name, rule, definition, origin, revision, paused, *others = row
    return Entry(name, rule, definition, Origin(origin), revision, bool(paused), *others)  # type: ignore[arg-type]  # one of them is text


def _find(store: Store, name: str) -> Entry | None:
    row = store.connection.execute(SQL["schedule_one"], (name,)).fetchone()
    return None if row is None else _entry(row)


def _rise(store: Store) -> int:
    found: int = store.connection.execute(SQL["ticks_rise"]).fetchall()[0][0]
    return found


def _write(store: Store, planned: Planned, entry: Entry | None, origin: Origin, since: int) -> None:
    """Make an entry, or change it; one that is the same is left alone."""
    if entry is None:
        done = since
    elif (entry.rule, entry.definition) == (planned.rule, planned.definition):
        return
    else:
        done = entry.done if entry.rule == planned.rule else max(entry.done, since)
    row = (planned.name, planned.rule, planned.definition, origin.value, _rise(store), done)
    store.connection.execute(SQL["schedule_write"], row)


def _remove(store: Store, name: str) -> bool:
    if not store.connection.execute(SQL["schedule_remove"], (name,)).rowcount:
        return False
    _rise(store)
    return True


def _pause(store: Store, name: str, paused: bool, now: int) -> bool:
    entry = _find(store, name)
    if entry is None:
        return False
    if entry.paused != paused or not paused:
        store.connection.execute(SQL["schedule_pause"], (paused, entry.done if paused else now, _rise(store), name))
    return True


def _declare(store: Store, stamp: str, ttl: float, since: int, planned: Sequence[Planned] | None, now: int) -> bool:
    execute = store.connection.execute
    _, current, upheld = execute(SQL["ticks_state"]).fetchone()
    if stamp != current:
        if planned is None or not _gives_way(store, current, upheld, stamp, now):
            return False
        _put_in_force(store, planned, min(since, now))
    execute(SQL["ticks_in_force"], (stamp, min(now + int(ttl * 1000), FAR)))
    return True


def _gives_way(store: Store, current: str, upheld: int, stamp: str, now: int) -> bool:
    """May the set of ``stamp`` be put in force? From now on it is known."""
    execute = store.connection.execute
    if execute(SQL["stamp_number"], (stamp,)).fetchone() is None:
        execute(SQL["stamp_add"], (stamp,))
        execute(SQL["stamp_prune"], (STAMPS_KEPT,))
    (mine,) = execute(SQL["stamp_number"], (stamp,)).fetchone()
    other = execute(SQL["stamp_number"], (current,)).fetchone()
    return not current or upheld <= now or mine > (other[0] if other else 0)


def _put_in_force(store: Store, planned: Sequence[Planned], since: int) -> None:
    names = {one.name for one in planned}
    for (name,) in store.connection.execute(SQL["schedules_of_code"]).fetchall():
        if name not in names:
            _remove(store, name)
    for one in planned:
        entry = _find(store, one.name)
        if entry is None or entry.origin == Origin.CODE:
            _write(store, one, entry, Origin.CODE, since)


def _fire(store: Store, settings: BrokerSettings, firing: Firing, message: Prepared | None, now: int) -> Fired:
    entry = _find(store, firing.name)
    if entry is None or entry.revision != firing.revision or entry.paused:
        return Fired(Shot.CHANGED, entry.done if entry else 0)
    if firing.tick <= entry.done:
        return Fired(Shot.TAKEN, entry.done)
    if firing.tick > now:
        return Fired(Shot.FUTURE, entry.done)
    execute = store.connection.execute
    overlaps = message is not None and firing.alone and _goes_on(store, entry.last_id, now)
    if message is None or overlaps:
        execute(SQL["schedule_pass"], (firing.tick, firing.missed, int(overlaps), firing.name))
        return Fired(Shot.OVERLAPS if overlaps else Shot.FIRED, firing.tick)
    accept(store, settings, [message], now)
    execute(SQL["schedule_fired"], (firing.tick, firing.missed, firing.tick, now, message.envelope.id, firing.name))
    return Fired(Shot.FIRED, firing.tick)


def _goes_on(store: Store, id: str, now: int) -> bool:
    record = records.get(store, id, now) if id else None
    return record is not None and not record.state.final
