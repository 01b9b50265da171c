"""Flows in the file: the machine of ``umbel.arrivals`` on nodes that are read when they are first looked at.

What a step changes is kept in memory until its end, and written once (``Store.at_end``), before the step is committed.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any, NamedTuple

from ...arrivals import Entry, Flows, Member, Word
from ...broker import BrokerSettings
from ...envelope import Envelope, pack, unpack
from ...joins import Flow, FlowState, NodeState
from . import accept
from .rows import FAR
from .statements import SQL
from .store import Store

STATES = (NodeState.BLOCKED, NodeState.READY, NodeState.DONE, NodeState.FAILED, NodeState.DROPPED, NodeState.ABANDONED)
"""By the numbers in the table ``node``, which keep their meaning."""
_NUMBERS = {state: number for number, state in enumerate(STATES)}
_WORDS = tuple(Word)


def flows(store: Store) -> StoredFlows:
    """All flows, as the caller's step sees and changes them."""
    found = store.flows
    if not isinstance(found, StoredFlows):
        found = store.flows = StoredFlows(store)
        store.at_end.append(found.write)
    return found


class _Written(NamedTuple):
    """What the file has of a node: what is the same at the end is not written again."""

    num: int
    columns: tuple[Any, ...]
    envelope: Envelope | None
    value: bytes | None


class _Nodes(dict[int, Member]):
    """The nodes of a flow that were looked at."""

    def __init__(self, store: Store, flow: int) -> None:
        super().__init__()
        self._store, self._flow = store, flow
        self.written: dict[int, _Written] = {}

    def __missing__(self, number: int) -> Member:
        row = self._store.connection.execute(SQL["node_get"], (self._flow, number)).fetchone()
        if row is None:
            raise KeyError(number)
        member = self[number] = _member(row)
        self.written[number] = _Written(row[0], _columns(member), member.envelope, member.value)
        return member

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.get(number) is not None

    def get(self, number: int, default: Any = None) -> Any:
        try:
            return self[number]
        except KeyError:
            return default

    def write(self) -> None:
        changed: list[tuple[Any, ...]] = []
        added: list[tuple[Any, ...]] = []
        last: int | None = None
        for number, member in self.items():
            before, columns = self.written.get(number), _columns(member)
            if before is None:
                last = (self._store.connection.execute(SQL["nodes_last"]).fetchone()[0] if last is None else last) + 1
                added.append((last, self._flow, number, *columns, _packed(member.followers)))
                before = _Written(last, columns, None, None)
            elif columns != before.columns:
                changed.append((*columns, before.num))
            self._write_rest(before, member)
        self._store.connection.executemany(SQL["node_add"], added)
        self._store.connection.executemany(SQL["node_set"], changed)

    def _write_rest(self, before: _Written, member: Member) -> None:
        execute, envelope = self._store.connection.execute, member.envelope
        if envelope is None and before.envelope is not None:
            execute(SQL["node_message_remove"], (before.num,))
        elif envelope is not None and envelope is not before.envelope:
            row = (before.num, envelope.queue, min(envelope.due, FAR), min(envelope.after, FAR), pack(envelope))
            execute(SQL["node_message_set"], row)
        if member.value is None and before.value is not None:
            execute(SQL["node_value_remove"], (before.num,))
        elif member.value is not None and member.value is not before.value:
            execute(SQL["node_value_set"], (before.num, member.value))


class _Entries(dict[str, Entry]):
    """The flows that were looked at."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self.rows: dict[str, tuple[int, tuple[Any, ...], int]] = {}
        """Id to number, columns as the file has them, and the end of its time."""

    def __missing__(self, id: str) -> Entry:
        row = self._store.connection.execute(SQL["flow_get"], (id,)).fetchone()
        if row is None:
            raise KeyError(id)
        found = self[id] = _entry(self._store, row)
        self.rows[id] = (row[0], _flow_columns(found), row[13])
        return found

    def get(self, id: str, default: Any = None) -> Any:
        try:
            return self[id]
        except KeyError:
            return default

    def write(self) -> None:
        for id, entry in self.items():
            num, before, _ = self.rows[id]
            if isinstance(entry.nodes, _Nodes):
                entry.nodes.write()
            if (columns := _flow_columns(entry)) != before:
                self._store.connection.execute(SQL["flow_set"], (*columns, num))


class StoredFlows(Flows):
    """The flows of the file, within one step."""

    def __init__(self, store: Store) -> None:
        super().__init__(self._enter)
        self._store = store
        self._entries = _Entries(store)
        self.all = self._entries

    def living(self, id: str, now: int) -> Entry | None:
        """One that is there, and whose time is not over."""
        entry: Entry | None = self.all.get(id)
        return None if entry is None or 0 < self._entries.rows[id][2] <= now else entry

    def number(self, entry: Entry) -> int:
        """The number of its row."""
        return self._entries.rows[entry.flow.id][0]

    def write(self) -> None:
        """Write what was changed; the object is of no use afterwards."""
        self._entries.write()

    def _enter(self, envelope: Envelope, now: int, record_ttl: float) -> str:
        [answer] = accept.accept(self._store, BrokerSettings(record_ttl=record_ttl), [accept.Prepared(envelope, pack(envelope))], now)
        return answer.dropped


def _columns(member: Member) -> tuple[Any, ...]:
    """What may change of a node beside its message and its value, in the order of the table."""
    return (
        member.left,
        int(member.flags),
        member.expires_after,
        member.label,
        member.id,
        _NUMBERS[member.state],
        member.never,
        int(member.said),
        int(member.saying),
        member.at,
        int(member.queued),
        member.reason,
    )


def _member(row: Any) -> Member:
    _, number, left, flags, expires_after, label, id, state, never, said, saying, at, queued, reason, followers, *message, value = row
    queue, due, after, data = message
    envelope = None
    if data is not None:
        envelope = unpack(data, queue)
        envelope.due, envelope.after = due, after
    return Member(
        number,
        envelope,
        left,
        unpacked(followers),
        flags,
        expires_after,
        label,
        id,
        STATES[state],
        never,
        _WORDS[said],
        _WORDS[saying],
        at,
        value,
        reason,
        bool(queued),
    )


def _packed(followers: tuple[tuple[int, int], ...]) -> bytes:
    return array("q", [number for edge in followers for number in edge]).tobytes()


def unpacked(followers: bytes) -> tuple[tuple[int, int], ...]:
    """Ranges as they are kept in a row."""
    numbers = array("q", followers)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _entry(store: Store, row: Any) -> Entry:
    num, id, label, result, on_error, ttl, queue, due, after, data, created, record_ttl, failed_ttl, _, speaking, *state = row
    handler = None
    if data is not None:
        handler = unpack(data, queue)
        handler.due, handler.after = due, after
    entry = Entry(Flow(id, label, result, on_error, handler, ttl), created, state[0], record_ttl, failed_ttl, _Nodes(store, num))
    _, open, ended, *counts, told, number, first_id, reason, error, entry.finished = state
    entry.waits, entry.moving, entry.total, entry.done, entry.failed, entry.abandoned, entry.stopped = counts
    entry.open, entry.told, entry.ended = bool(open), bool(told), FlowState(ended) if ended else None
    entry.first = (number, first_id, reason, error)
    entry.speaking = deque(array("q", speaking))
    return entry


def _flow_columns(entry: Entry) -> tuple[Any, ...]:
    """What may change of a flow, in the order of ``flow_set``."""
    ended = None if entry.ended is None else entry.ended.value
    busy = bool(entry.speaking) or (entry.ended is not None and not entry.finished)
    return (
        entry.touched,
        int(entry.open),
        ended,
        entry.waits,
        entry.moving,
        entry.total,
        entry.done,
        entry.failed,
        entry.abandoned,
        entry.stopped,
        int(entry.told),
        *entry.first,
        entry.finished,
        array("q", entry.speaking).tobytes(),
        entry.ends,
        int(busy),
    )
