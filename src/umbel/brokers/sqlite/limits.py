"""Limits: their numbers, their room, and who stands on them. All within the caller's step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...gcra import CATCH_UP, returned, room_at, sane, taken
from ...lane import Mark, Rule
from .rows import FAR, Row
from .statements import SQL
from .store import Store


@dataclass(slots=True)
class Limit:
    """One limit as a step found it, and as it is after what the step did."""

    id: int
    tat: float
    numbers: Rule
    held: int
    changed: bool = False

    def opens(self, now: int) -> int:
        """0 while there is room, else the ms at which a rate makes some; ``FAR`` where only a release or an operator does."""
        most = self.numbers.most
        if most is not None and self.held >= most:
            return FAR
        at = room_at(self.tat, self.numbers, now)
        return 0 if at <= now else min(math.ceil(at), FAR) if at < FAR else FAR

    def cap(self, now: int) -> None:
        """After the clock went back: its tat is no further ahead than a full burst. Kept, so that time brings it nearer."""
        tat = sane(self.tat, self.numbers, now)
        if tat < self.tat:
            self.tat, self.changed = tat, True


class Limits:
    """Those that one claim looks at. What it takes is written by ``keep``, once a limit."""

    def __init__(self, store: Store, now: int) -> None:
        self._store, self._now = store, now
        self._known: dict[int, Limit] = {}

    def opens(self, id: int) -> int:
        """See ``Limit.opens``; there is always room on limit 0."""
        return self._of(id).opens(self._now) if id else 0

    def take(self, id: int, holder: int, slot: int) -> None:
        """A delivery stands on it from now on, and has one of its tokens."""
        if id:
            limit = self._of(id)
            limit.tat, limit.held, limit.changed = taken(limit.tat, limit.numbers, self._now), limit.held + 1, True
            self._store.connection.execute(SQL["hold_add"], (holder, slot, id))

    def keep(self) -> None:
        changed = [(limit.tat, limit.id) for limit in self._known.values() if limit.changed and limit.tat]
        self._store.connection.executemany(SQL["limit_tat"], changed)

    def _of(self, id: int) -> Limit:
        limit = self._known.get(id)
        if limit is None:
            limit = self._known[id] = get(self._store, id)
            limit.cap(self._now)
        return limit


def get(store: Store, id: int) -> Limit:
    """A limit by its number; one without numbers if it is gone."""
    row = store.connection.execute(SQL["limit_get"], (id,)).fetchone()
    return Limit(id, 0.0, Rule(), 0) if row is None else Limit(id, row[0], in_force(row[1], row[2]), row[3])


def in_force(declared: bytes | None, override: bytes | None) -> Rule:
    """The numbers that count, from their packed forms."""
    return numbers(declared).under(numbers(override))


def numbers(packed: bytes | None) -> Rule:
    return Rule() if packed is None else Rule.read(packed)


def number_of(store: Store, mark: Mark) -> int:
    """The number of a limit, which is made if it does not exist, as its rule is."""
    execute = store.connection.execute
    found = execute(SQL["limit_id"], (mark.limit,)).fetchone()
    if found is not None:
        return int(found[0])
    execute(SQL["rule_if_absent"], (mark.rule, mark.numbers.pack()))
    return int(execute(SQL["limit_add"], (mark.limit, mark.rule)).lastrowid or 0)


def is_taken(store: Store, name: str) -> bool:
    """Does a delivery stand on this limit, or a message wait in a lane of it?"""
    execute = store.connection.execute
    found = execute(SQL["limit_id"], (name,)).fetchone()
    return found is not None and any(execute(SQL[look], found).fetchone() for look in ("limit_is_held", "limit_has_lane"))


def left(store: Store, row: Row, now: int, *, unbegun: bool) -> None:
    """A delivery is in nobody's hand any more: its places are free, and its tokens come back if it was not begun."""
    execute = store.connection.execute
    held = execute(SQL["holds_of"], (row.holder, row.slot)).fetchall()
    if not held:
        return
    execute(SQL["hold_remove"], (row.holder, row.slot))
    for (id,) in held:
        limit = get(store, id)
        if unbegun:
            execute(SQL["limit_tat"], (returned(limit.tat, limit.numbers), id))
        if unbegun or limit.numbers.most is not None:
            open_lanes(store, id)
        forget(store, id, now)


def open_lanes(store: Store, id: int) -> None:
    """A limit may have room: whatever waits for it is looked at anew by the next claim."""
    execute = store.connection.execute
    for (group,) in execute(SQL["lanes_open"], (id,)).fetchall():
        execute(SQL["group_stirs"], (group,))
    execute(SQL["groups_open"], (id,))


def forget(store: Store, id: int, now: int) -> None:
    """Let go of a limit that nobody needs."""
    if id:
        store.connection.execute(SQL["limit_forget"], (id, now - CATCH_UP))


def check_clock(store: Store, now: int) -> None:
    """Where the clock went back since the lanes were looked at, what was to happen at a moment is worked out anew."""
    execute = store.connection.execute
    if execute(SQL["groups_of_the_future"], (now,)).fetchone() is None:
        return
    for (id,) in execute(SQL["limits_ahead"], (now,)).fetchall():
        limit = get(store, id)
        limit.cap(now)
        if limit.changed:
            execute(SQL["limit_tat"], (limit.tat, id))
    execute(SQL["lanes_reopen"], (FAR,))
    execute(SQL["groups_reopen"], (now,))


def sweep(store: Store, now: int, most: int) -> bool:
    """Limits whose rates are whole again, and places of deliveries that are nobody's (removed by a release that knows no limits).

    True when there is more.
    """
    execute = store.connection.execute
    rested = execute(SQL["limits_rested"], (now - CATCH_UP, most)).fetchall()
    for (id,) in rested:
        execute(SQL["limit_tat"], (0.0, id))
        forget(store, id, now)
    stray = execute(SQL["holds_left"], (most,)).fetchall()
    for holder, slot in stray:
        left(store, Row(0, 0, "", 0, 0, None, b"", slot, 0, holder), now, unbegun=False)
    return max(len(rested), len(stray)) == most
