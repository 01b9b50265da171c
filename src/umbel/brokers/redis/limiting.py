"""Lanes and their limits, as the contract's facet. What they are in the store: ``lua/parts/lane.lua`` and ``limit.lua``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...envelope import Envelope
from ...facets import LanePage, LaneSeen, Limits, Ruled, Waits
from ...intake import queue_bytes
from ...lane import Mark, Rule, marks_of
from . import replies, scripts
from .connection import Line
from .keys import Keys


class _Spot(NamedTuple):
    """Where a lane stands in its queue, in the order of pages."""

    priority: int
    group: bytes
    limit: bytes

    def stored(self) -> bytes:
        return b"%d:%d:%b:%b" % (self.priority, len(self.group), self.group, self.limit)

    @classmethod
    def read(cls, stored: bytes) -> _Spot:
        priority, size, rest = stored.split(b":", 2)
        return cls(int(priority), rest[: int(size)], rest[int(size) + 1 :])

    def order(self) -> tuple[int, bytes, bytes]:
        return -self.priority, self.group, self.limit


class RedisLimits(Limits):
    """The facet ``Limits`` of the Redis broker."""

    _keys: Keys

    @abstractmethod
    def _open_line(self) -> Line: ...

    # -- rules

    def declare(self, rules: Mapping[str, Rule]) -> None:
        pairs = [part for name, rule in rules.items() for part in (name.encode(), rule.pack())]
        self._look_again(self._open_line().run(scripts.DECLARE, 1, self._keys.root, *pairs))

    def override(self, rule: str, changes: Rule) -> None:
        rate, _, most = changes.pack().rpartition(b",")
        said = rate if changes.count is not None else b"kept", most or b"kept"
        self._look_again(self._open_line().run(scripts.OVERRIDE, 1, self._keys.root, rule.encode(), *said)[1])

    def clear(self, rule: str, *, rate: bool = True, concurrency: bool = True) -> bool:
        said = b"" if rate else b"kept", b"" if concurrency else b"kept"
        changed, more = self._open_line().run(scripts.OVERRIDE, 1, self._keys.root, rule.encode(), *said)
        self._look_again(more)
        return bool(changed)

    def _look_again(self, more: int) -> None:
        """Thousands of lanes may wait for one rule: each step wakes some. Should this process end before the last one, ``maintain``
        goes on."""
        while more:
            more = self._open_line().run(scripts.REST, 1, self._keys.root)

    def rules(self) -> dict[str, Ruled]:
        declared, overrides = map(_pairs, self._open_line().run(scripts.RULES, 1, self._keys.root))
        names = sorted(declared | overrides)
        return {replies.text(name): Ruled(Rule.read(declared.get(name, b",,,")), Rule.read(overrides.get(name, b",,,"))) for name in names}

    # -- lanes

    def lanes(self, queue: str | None = None, limit: int = 50, cursor: str | None = None) -> LanePage:
        """A cursor: queue and lane that were seen last."""
        line, keys = self._open_line(), self._keys
        queues = sorted(line.call("SMEMBERS", keys.queues)) if queue is None else [queue_bytes(queue)]
        begin, last = b"", None
        if cursor is not None:
            first, _, second = cursor.partition(".")
            begin, last = bytes.fromhex(first), _Spot.read(bytes.fromhex(second))
        found, seen = list[LaneSeen](), list[tuple[bytes, _Spot]]()
        for name in queues:
            if name < begin:
                continue
            after = last.order() if last is not None and name == begin else None
            spots = sorted(map(_Spot.read, line.call("ZRANGE", keys.lanes(name), 0, -1)), key=_Spot.order)
            wanted = [spot for spot in spots if after is None or spot.order() > after]
            seen += [(name, spot) for spot in wanted[: limit + 1 - len(seen)]]
            if len(seen) > limit:
                break
        for name in dict.fromkeys(name for name, _ in seen):
            found += self._seen(name, [spot for its, spot in seen[:limit] if its == name])
        if len(seen) <= limit or not limit:
            return LanePage(found)
        name, spot = seen[limit - 1]
        return LanePage(found, f"{name.hex()}.{spot.stored().hex()}")

    def lane(self, envelope: Envelope) -> LaneSeen | None:
        marks = marks_of(envelope.extras)
        if marks is None:
            return None
        group = marks.group.limit.encode() if marks.group else b""
        seen = self._seen(queue_bytes(envelope.queue), [_Spot(envelope.priority, group, marks.lane.limit.encode())])
        return seen[0] if seen else None

    def backlog(self, queue: str) -> int:
        return int(self._open_line().run(scripts.BACKLOG, 1, self._keys.root, queue_bytes(queue)))

    def _seen(self, queue: bytes, spots: Sequence[_Spot]) -> list[LaneSeen]:
        if not spots:
            return []
        rows: list[list[Any]] = self._open_line().run(scripts.LANES, 1, self._keys.root, queue, *(spot.stored() for spot in spots))
        return [_lane(replies.text(queue), row) for row in rows]


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _lane(queue: str, row: list[Any]) -> LaneSeen:
    """See ``lua/lanes.lua``."""
    stored, own, group, waiting, since, what, held, until, declared, override = row
    mark = Mark.read(own)
    return LaneSeen(
        queue,
        _Spot.read(stored).priority,
        mark.limit,
        mark.rule,
        Mark.read(group).limit if group else "",
        waiting,
        Waits(replies.text(what)),
        held,
        Rule.read(declared).under(Rule.read(override) if override else None),
        None if until < 0 else until,
        since,
    )
