"""Rules, overrides and lanes, as the contract's facet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...envelope import Envelope
from ...facets import LanePage, LaneSeen, Limits, Ruled, Waits
from ...lane import Rule
from . import entry, limits
from .rows import FAR
from .statements import SQL
from .store import Store

_HIGHEST = 1 << 32


class SQLiteLimits(Limits):
    """The facet ``Limits`` of the SQLite broker."""

    store: Store

    def declare(self, rules: Mapping[str, Rule]) -> None:
        packed = {name: rule.pack() for name, rule in rules.items()}

        def step(_: int) -> None:
            for name, numbers in packed.items():
                if self.store.connection.execute(SQL["rule_declare"], (name, numbers)).rowcount:
                    _look_anew(self.store, name)

        if not self.store.read(lambda _: all(self._found(name)[0] == numbers for name, numbers in packed.items())):
            self.store.write(step)

    def override(self, rule: str, changes: Rule) -> None:
        def step(_: int) -> None:
            before = limits.numbers(self._found(rule)[1])
            self._override(rule, before.under(changes))

        self.store.write(step)

    def clear(self, rule: str, *, rate: bool = True, concurrency: bool = True) -> bool:
        def step(_: int) -> bool:
            before = limits.numbers(self._found(rule)[1])
            after = before.without(rate=rate, concurrency=concurrency)
            if after == before:
                return False
            self._override(rule, after)
            return True

        return self.store.write(step)

    def _found(self, rule: str) -> tuple[bytes | None, bytes | None]:
        row = self.store.connection.execute(SQL["rule_get"], (rule,)).fetchone()
        return (None, None) if row is None else row

    def _override(self, rule: str, numbers: Rule) -> None:
        execute = self.store.connection.execute
        execute(SQL["rule_override"], (rule, None if numbers.empty else numbers.pack()))
        execute(SQL["rule_forget"], (rule,))
        _look_anew(self.store, rule)

    def rules(self) -> dict[str, Ruled]:
        def look(_: int) -> dict[str, Ruled]:
            rows = self.store.connection.execute(SQL["rules"]).fetchall()
            return {name: Ruled(limits.numbers(declared), limits.numbers(override)) for name, declared, override in rows}

        return self.store.read(look)

    def lanes(self, queue: str | None = None, limit: int = 50, cursor: str | None = None) -> LanePage:
        name, priority, group, own = msgspec.json.decode(cursor, type=tuple[str, int, str, str]) if cursor else ("", _HIGHEST, "", "")
        after = (queue, queue, name, name, priority, priority, group, group, own, limit + 1)

        def look(now: int) -> list[LaneSeen]:
            return [_seen(self.store, row, now) for row in self.store.connection.execute(SQL["browse_lanes"], after).fetchall()]

        found = self.store.read(look)
        if len(found) <= limit:
            return LanePage(found)
        last = found[limit - 1]
        return LanePage(found[:limit], msgspec.json.encode((last.queue, last.priority, last.group, last.limit)).decode())

    def lane(self, envelope: Envelope) -> LaneSeen | None:
        marks = entry.marks_in(envelope)
        if marks is None:
            return None
        group = marks.group.limit if marks.group else ""

        def look(now: int) -> LaneSeen | None:
            named = (envelope.queue, envelope.priority, marks.lane.limit, group)
            row = self.store.connection.execute(SQL["browse_lane"], named).fetchone()
            return None if row is None else _seen(self.store, row, now)

        return self.store.read(look)

    def backlog(self, queue: str) -> int:
        return self.store.read(lambda _: self._waiting(queue))

    def _waiting(self, queue: str) -> int:
        row = self.store.connection.execute(SQL["backlog"], (queue,)).fetchone()
        return 0 if row is None else int(row[0])


def _look_anew(store: Store, rule: str) -> None:
    """A rule has changed: whatever waits for a limit that follows it is looked at by the next claim."""
    store.connection.execute(SQL["lanes_of_rule_open"], (rule,))
    store.connection.execute(SQL["groups_of_rule_open"], (rule, rule))


def _seen(store: Store, row: Any, now: int) -> LaneSeen:
    queue, paused, priority, name, rule, group, waiting, since, own, shared = row
    waits, found, opens = Waits.NOTHING, limits.get(store, own), 0
    for id, by_rate, by_concurrency in (
        (own, Waits.RATE, Waits.CONCURRENCY),
        (shared, Waits.GROUP_RATE, Waits.GROUP_CONCURRENCY),
    ):
        limit = limits.get(store, id) if id else found
        opens = limit.opens(now) if id else 0
        if opens:
            most = limit.numbers.most
            waits, found = by_concurrency if most is not None and limit.held >= most else by_rate, limit
            break
    until = opens if waits in (Waits.RATE, Waits.GROUP_RATE) and opens < FAR else None
    if paused:
        waits, until = Waits.PAUSED, None
    return LaneSeen(queue, priority, name, rule, group, waiting, waits, found.held, found.numbers, until, since)
