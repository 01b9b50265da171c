"""Records, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ...clock import Clock
from ...envelope import Receipt
from ...facets import Record, Remembers
from . import replies, scripts
from .connection import Line
from .keys import Keys
from .runs import field, stored_id
from .waiting import Waiter


class RedisRemembers(Remembers):
    """The facet ``Remembers`` of the Redis broker."""

    _keys: Keys
    _clock: Clock
    _waiter: Waiter

    @abstractmethod
    def _open_line(self) -> Line: ...

    def record(self, id: str) -> Record | None:
        stored = stored_id(id)
        return None if stored is None else _read(id, self._open_line().call("HGETALL", self._keys.record(stored)))

    def await_record(self, id: str, timeout: float) -> Record | None:
        stored, line, keys = stored_id(id), self._open_line(), self._keys
        if stored is None:
            return None
        deadline, seen = self._clock.monotonic() + timeout, b"0"
        while (left := deadline - self._clock.monotonic()) > 0:
            # Whether it is over and that it is waited for is asked and said in one step: no end comes between the two.
            record = _read(id, line.run(scripts.LOOK, 2, keys.root, keys.record(stored), int(left * 1000) + 1))
            if record is not None and record.state.final:
                return record
            heard = self._waiter.news(keys.news(stored), seen, left)
            if heard is None:
                break
            seen = heard
        return self.record(id)

    def report(self, receipt: Receipt, id: str, progress: bytes) -> bool:
        stored, line, keys = stored_id(id), self._open_line(), self._keys
        if stored is None:
            return False
        held, record = keys.held(receipt.holder), keys.record(stored)
        return bool(line.run(scripts.REPORT, 2, held, record, field(receipt), stored, progress))

    def forget(self, id: str) -> bool:
        stored, line, keys = stored_id(id), self._open_line(), self._keys
        return stored is not None and bool(line.run(scripts.FORGET, 2, keys.record(stored), keys.news(stored)))


def _read(id: str, flat: list[Any]) -> Record | None:
    """A record as Redis lists its hash: see ``lua/parts/record.lua``. None without a state: it is only waited for."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    state = replies.STATES.get(fields.get(b"s", b""))
    if state is None:
        return None
    return Record(
        id,
        state,
        replies.text(fields.get(b"q", b"")),
        int(fields.get(b"a", 1)),
        fields.get(b"p", b""),
        fields.get(b"r"),
        fields.get(b"x", b""),
        replies.text(fields.get(b"y", b"")),
        int(fields.get(b"e", 0)),
        int(fields.get(b"b", 0)),
        int(fields.get(b"f", 0)),
    )
