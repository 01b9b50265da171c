"""The lanes of one queue in one claim: who is next, and what room there is left afterwards."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...envelope import Delivery, Envelope, Receipt
from . import entry, keys, limits, records
from .counters import is_handed_alone
from .hand import End, Hand
from .rows import Row
from .statements import SQL
from .store import Store

_RIPEN = 1000
"""Lanes whose time has come that one look takes up: a claim gives no more."""
_LOOKED_AT = 100
"""Lanes of a group that are looked at for one with room, where nothing may be written."""


class _Lane(NamedTuple):
    """A lane that may be served, as far as is known."""

    turn: int
    id: int
    group: int
    limit: int


class _Head(NamedTuple):
    """The next message of a lane; ``more``: it is not the last one."""

    row: Row
    envelope: Envelope
    more: bool


class Lanes:
    """Made where a lane may give something; ``keep`` writes what it found, once."""

    def __init__(self, hand: Hand, queue: int, name: str) -> None:
        self._hand, self._store, self._now = hand, hand.store, hand.now
        self._queue, self._name = queue, name
        self._limits = limits.Limits(hand.store, hand.now)
        self._groups: dict[int, dict[int, int]] = {}
        """By priority: the limit of each group that has been looked at."""
        self._turn = 0
        self._peeked: tuple[_Lane, _Head] | None = None

    def priority_below(self, priority: int) -> int:
        """The next priority in which a lane may give something; -1 if there is none."""
        found = self._store.connection.execute(SQL["lanes_priority"], (self._queue, priority, self._now, self._now)).fetchone()[0]
        return -1 if found is None else int(found)

    def take(self, priority: int, most: int) -> End:
        """At most ``most``, one of each lane in turn."""
        while most > 0:
            batch = [self._peeked[0]] if self._peeked else self._next(priority, most)
            if not batch:
                return End.EMPTY
            for lane in batch:
                end, given = self._serve(lane, priority)
                if end is not End.EMPTY:
                    return end
                most -= given
        return End.EMPTY

    def is_next_alone(self, priority: int) -> bool:
        """Is the next message of the next lane with room to be handed out alone?"""
        while batch := self._next(priority, 1):
            if self._shut(batch[0]):
                continue
            head = self._head(batch[0], priority)
            if head is not None:
                self._peeked = batch[0], head
                return is_handed_alone(head.envelope)
            if self._hand.wanted <= 0:
                return False
        return False

    def keep(self) -> None:
        """Write what is left: rates, turns, and when a lane of each group may be served again."""
        execute = self._store.connection.execute
        self._limits.keep()
        if self._turn:
            execute(SQL["turn_keep"], (self._turn,))
        for group, limit in [one for groups in self._groups.values() for one in groups.items()]:
            if execute(SQL["group_remove"], (group,)).fetchone():
                limits.forget(self._store, limit, self._now)
                continue
            first = execute(SQL["lanes_first"], (group, group)).fetchone()[0]
            if first is not None:  # else the group went with a lane in which nothing was left
                shut = self._limits.opens(limit)
                execute(SQL["group_note"], (shut, max(shut, first), self._now, group))

    # -- who is next

    def _next(self, priority: int, most: int) -> list[_Lane]:
        """The lanes whose turn is next, of groups with room."""
        execute, found = self._store.connection.execute, list[_Lane]()
        for group, limit in self._groups_of(priority).items():
            if not self._limits.opens(limit):
                execute(SQL["lanes_ripen"], (group, self._now, _RIPEN))
                found += [_Lane(turn, id, group, own) for id, own, turn in execute(SQL["lanes_ready"], (group, most))]
        return sorted(found)[:most]

    def _groups_of(self, priority: int) -> dict[int, int]:
        groups = self._groups.get(priority)
        if groups is None:
            rows = self._store.connection.execute(SQL["groups_ready"], (self._queue, priority, self._now, self._now)).fetchall()
            groups = self._groups[priority] = {id: limit for id, limit, _ in rows}
            if any(asked > self._now for _, _, asked in rows):
                limits.check_clock(self._store, self._now)
        return groups

    # -- serving one

    def _serve(self, lane: _Lane, priority: int) -> tuple[End, int]:
        """One message of a lane: (what ends the claim, how many were given)."""
        peeked, self._peeked = self._peeked, None
        if self._limits.opens(self._groups[priority][lane.group]) or self._shut(lane):
            return End.EMPTY, 0
        head = peeked[1] if peeked else self._head(lane, priority)
        if head is None:
            return (End.EMPTY if self._hand.wanted > 0 else End.ALL), 0
        alone = is_handed_alone(head.envelope)
        if alone and self._hand.holds_something():
            return End.BEFORE_ALONE, 0
        self._give(head, (lane.limit, self._groups[priority][lane.group]))
        if head.more:
            self._store.connection.execute(SQL["lane_turn"], (self._next_turn(), self._now, self._limits.opens(lane.limit), lane.id))
        else:
            self._store.connection.execute(SQL["lane_remove"], (lane.id,))
        return (End.ALL if alone else End.EMPTY), 1

    def _shut(self, lane: _Lane) -> bool:
        """Has its own limit no room? Then it is noted when that may change."""
        opens = self._limits.opens(lane.limit)
        if opens:
            self._store.connection.execute(SQL["lane_shut"], (opens, lane.id))
        return opens > 0

    def _head(self, lane: _Lane, priority: int) -> _Head | None:
        """The next message of a lane. What is expired or unreadable is put aside on the way; None when nothing is left, and the lane
        is gone, or when no more may be put aside."""
        while self._hand.wanted > 0:
            rows = self._store.connection.execute(SQL["lane_heads"], (self._queue, lane.id)).fetchall()
            if not rows:
                entry.forget_lane(self._store, lane.id, self._now)
                return None
            row = self._row(rows[0], lane, priority)
            if rows[0][1] and rows[0][1] <= self._now:
                self._hand.drop(row, "expired")
                continue
            envelope = row.readable()
            if envelope is not None:
                return _Head(row, envelope, len(rows) > 1)
            self._hand.drop(row, "unreadable")
        return None

    def _row(self, found: Any, lane: _Lane, priority: int) -> Row:
        pos, _, handed, record, data = found
        return Row(pos, self._queue, self._name, priority, handed, record, data, None, lane.id)

    def _give(self, head: _Head, taken: tuple[int, int]) -> None:
        hand, envelope = self._hand, head.envelope
        index = len(hand.deliveries)
        envelope.delivery += 1
        self._store.connection.execute(SQL["lane_lease"], (hand.holder.id, hand.base + index, head.row.pos))
        for limit in taken:
            self._limits.take(limit, hand.holder.id, hand.base + index)
        keys.begun(self._store, envelope, head.row.pos)
        hand.deliveries.append(Delivery(Receipt(hand.holder.name, hand.seq, index), envelope))
        if head.row.record is not None:
            records.started(self._store, head.row.record, envelope.attempt, self._now)

    def _next_turn(self) -> int:
        if not self._turn:
            self._turn = int(self._store.connection.execute(SQL["turn_get"]).fetchone()[0])
        self._turn += 1
        return self._turn


def next_heads(store: Store, queue: int, priority: int, now: int) -> list[tuple[int, bytes]]:
    """Looking only: (expires, data) of the next message of the first lane with room, if it is among the first of its group."""
    known, found = limits.Limits(store, now), list[tuple[int, int]]()
    for group, limit, _ in store.connection.execute(SQL["groups_ready"], (queue, priority, now, now)).fetchall():
        if not known.opens(limit):
            rows = store.connection.execute(SQL["lanes_looked_at"], (group, now, _LOOKED_AT)).fetchall()
            found += next(([(turn, id)] for id, own, turn in rows if not known.opens(own)), [])
    if not found:
        return []
    heads = store.connection.execute(SQL["lane_heads"], (queue, min(found)[1])).fetchall()
    return [(expires, data) for _, expires, _, _, data in heads[:1]]
