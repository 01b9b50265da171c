"""What must hold of lanes on a Redis server between any two steps: see ``lua/parts/lane.lua``."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable

from umbel.brokers.redis.connection import Line
from umbel.brokers.redis.keys import Keys


def unsound(line: Line, keys: Keys) -> list[str]:
    """What does not fit together. Everything is read, so this is for tests that do little."""
    return _Lanes(line, keys).faults()


def _id(message: bytes) -> bytes:
    """As the scripts know it; of bytes that are no message, anything."""
    if len(message) < 43 or message[0] != 1 or message[1] >= len(message):
        return b""
    size = message[message[1]]
    return (b"r" if message[2] & 0x40 else b"t") + message[message[1] + 1 : message[1] + 1 + size]


class _Lanes:
    def __init__(self, line: Line, keys: Keys) -> None:
        self._line = line
        self._root = keys.root
        names: list[bytes] = line.call("KEYS", keys.root.replace(b"{", b"\\{") + b"*")
        self._names = sorted(name.removeprefix(keys.root) for name in names)
        self._laned = self._hash(b"laned")

    def _named(self, prefix: bytes) -> list[bytes]:
        return [name[len(prefix) :] for name in self._names if name.startswith(prefix)]

    def _zset(self, name: bytes) -> dict[bytes, float]:
        flat = self._line.call("ZRANGE", self._root + name, 0, -1, "WITHSCORES")
        return {flat[i]: float(flat[i + 1]) for i in range(0, len(flat), 2)}

    def _hash(self, name: bytes) -> dict[bytes, bytes]:
        flat = self._line.call("HGETALL", self._root + name)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def faults(self) -> list[str]:
        lists = dict[tuple[bytes, bytes], int]()
        for name in self._named(b"l:"):
            size, rest = name.split(b":", 1)
            queue, spot = rest[: int(size)], rest[int(size) + 1 :]
            lists[queue, spot] = self._line.call("LLEN", self._root + b"l:" + name)
        indexed = {(queue, spot) for queue in self._named(b"i:") for spot in self._zset(b"i:" + queue)}
        found = [f"{lane} is a list, or in i:, and not both" for lane in indexed ^ lists.keys()]
        sums = Counter[bytes]()
        for (queue, _), size in lists.items():
            sums[queue] += size
        if dict(sums) != {queue: int(count) for queue, count in self._hash(b"waits").items()}:
            found.append(f"waits says {self._hash(b'waits')}, there are {dict(sums)}")
        standing = {(limit, entry) for limit in self._named(b"x:") for entry in self._zset(b"x:" + limit)}
        for queue, spot in lists:
            found += self._of(queue, spot, standing)
        return found + self._groups() + self._holds() + self._keys(lists)

    def _of(self, queue: bytes, spot: bytes, standing: set[tuple[bytes, bytes]]) -> list[str]:
        """A lane in which something waits may be served, or a time or its limit will wake it."""
        priority, size, rest = spot.split(b":", 2)
        group, limit = rest[: int(size)], rest[int(size) + 1 :]
        if (limit, bytes((len(queue),)) + queue + b"l" + spot) not in standing:
            return [f"{queue!r} {spot!r} does not stand on its limit"]
        ready = self._zset(b"y:%d:%b:%b:%b" % (len(queue), queue, priority, group))
        timed = b"l" + spot in self._zset(b"u:" + queue)
        held = self._line.call("SCARD", self._root + b"e:" + limit)
        return [] if limit in ready or timed or held or self._is_stopped() else [f"{queue!r} {spot!r} waits for nothing"]

    def _keys(self, lists: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """Whoever has a key is there, waiting or in somebody's hand."""
        there = set[bytes]()
        for queue in self._line.call("SMEMBERS", self._root + b"queues"):
            messages = [member[6:] for member in self._line.call("ZRANGE", self._root + b"s:" + queue, 0, -1)]
            for priority in range(10):
                messages += self._line.call("LRANGE", self._root + b"r:%d:%b" % (priority, queue), 0, -1)
            for its, spot in lists:
                if its == queue:
                    messages += self._line.call("LRANGE", self._root + b"l:%d:%b:%b" % (len(queue), queue, spot), 0, -1)
            graves = set(self._line.call("ZRANGE", self._root + b"z:" + queue, 0, -1))
            there |= {id for message in messages if (id := _id(message)) not in graves}
        for holder in self._named(b"h:"):
            fields = self._hash(b"h:" + holder)
            there |= {_id(value[1 + value[0] :]) for name, value in fields.items() if b":" in name}
        owners = {b"unique " + key: owner for key, owner in self._hash(b"uniques").items()}
        for key, value in self._hash(b"debounced").items():
            at = 25 + value[24]
            owners[b"debounced " + key] = value[at + 1 : at + 1 + value[at]]
        return [f"{key!r} is {owner!r}'s, who is not there" for key, owner in owners.items() if owner not in there]

    def _is_stopped(self) -> bool:
        """Does some operator's word let nothing run? Then only another word wakes who waits for that."""
        return any(said.startswith(b"0,") or said.endswith(b",0") for said in self._hash(b"overrides").values())

    def _groups(self) -> list[str]:
        """A group with a lane that may be served may be served itself, or waits for its limit; and then its queue is looked at in time."""
        found = list[str]()
        for name in self._named(b"y:"):
            size, rest = name.split(b":", 1)
            queue, spot = rest[: int(size)], rest[int(size) + 1 :]
            waits = bytes((len(queue),)) + queue + b"g" + spot in self._zset(b"x:" + spot[2:])
            if spot in self._zset(b"g:" + queue):
                found += [f"{queue!r} {spot!r} is ready and waits"] * waits
            elif not waits:
                found.append(f"{queue!r} {spot!r} has lanes that may be served, and nobody knows")
        for queue in {*self._named(b"g:"), *self._named(b"u:")}:
            at = struct.unpack(">d", self._laned.get(queue, b"\0" * 8)[:8])[0] if queue in self._laned else None
            due = 0.0 if self._zset(b"g:" + queue) else min(self._zset(b"u:" + queue).values())
            if at is None or at > due + 1:
                found.append(f"{queue!r} is looked at at {at}, and something is to be done at {due}")
        return found

    def _holds(self) -> list[str]:
        """Whatever holds a limit is in somebody's hand, and how many there have extras is written down."""
        found, held = list[str](), dict[bytes, dict[bytes, bytes]]()
        for holder in self._named(b"h:"):
            fields = held[holder] = self._hash(b"h:" + holder)
            extras = sum(value[3 + value[0]] >= 0x80 for name, value in fields.items() if b":" in name and len(value) > 3 + value[0])
            if int(fields.get(b"l", b"0")) != extras or fields.get(b"l") == b"0":
                found.append(f"{holder!r} has {extras} with extras, and says {fields.get(b'l')!r}")
        for limit in self._named(b"e:"):
            for receipt in self._line.call("SMEMBERS", self._root + b"e:" + limit):
                holder, seq, index = receipt.rsplit(b":", 2)
                if seq + b":" + index not in held.get(holder, {}):
                    found.append(f"{receipt!r} holds {limit!r} and is nobody's")
        return found
