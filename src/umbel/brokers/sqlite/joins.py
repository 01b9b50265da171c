"""Flows, as the contract's facet."""

from __future__ import annotations

from collections.abc import Sequence

from ...arrivals import Entry
from ...broker import BrokerSettings, Maintained
from ...envelope import pack
from ...intake import Intake
from ...joins import (
    MAX_ARRIVALS,
    MAX_NODES,
    OPEN_REASON,
    Flow,
    FlowCancelled,
    FlowPage,
    FlowRetried,
    FlowSeen,
    FlowState,
    Joins,
    NodePage,
    NodeSeen,
    NodeState,
)
from ...outcome import Node
from . import ending, entry
from .accept import queue_number
from .flows import STATES, StoredFlows, flows, unpacked
from .rows import FAR, Row
from .statements import SQL
from .store import Store
from .wait import Waiter

_LAST = 1 << 62
_ROUND = 100
"""Flows that one round of maintenance looks at, of each kind."""


class SQLiteJoins(Joins):
    """The facet ``Joins`` of the SQLite broker."""

    store: Store
    settings: BrokerSettings
    waiter: Waiter
    _intake: Intake

    # -- building

    def open_flow(self, flow: Flow) -> bool:
        handler = flow.handler
        [packed] = self._intake.enqueued([handler]) if handler else [None]
        about = (None, None, None, None) if handler is None else (handler.queue, min(handler.due, FAR), min(handler.after, FAR), packed)
        ttls = (self.settings.record_ttl, self.settings.dead_letter_ttl)

        def step(now: int) -> bool:
            row = (flow.id, flow.label, flow.result, flow.on_error, flow.ttl, *about, now, *ttls, now)
            return self.store.connection.execute(SQL["flow_add"], row).rowcount > 0

        return self.store.write(step, len(packed or b"") + len(flow.result) + 1)

    def add_nodes(self, flow: str, nodes: Sequence[Node]) -> bool:
        size = _bytes(self._intake.noded(nodes))

        def step(now: int) -> bool:
            every = flows(self.store)
            entry = every.all.get(flow)
            if entry is None or not entry.open:
                return False
            entry.touched = now
            every.add(entry, nodes, now)
            return True

        return self.store.write(step, size)

    def close_flow(self, flow: str, joins: Sequence[Node] = ()) -> bool:
        size = _bytes(self._intake.noded(joins))

        def step(now: int) -> bool:
            every = flows(self.store)
            entry = every.all.get(flow)
            if entry is None or entry.ended is not None:
                return False
            if entry.open:
                every.close(entry, joins, now)
            return True

        return self.store.write(step, size)

    # -- looking

    def flow(self, id: str) -> FlowSeen | None:
        return self.store.read(lambda now: _seen(self.store, id, now))

    def await_flow(self, id: str, timeout: float) -> FlowSeen | None:
        def look(now: int) -> tuple[FlowSeen | None, float | None]:
            seen = _seen(self.store, id, now)
            return (seen if seen is not None and seen.state.final else None), None

        return self.waiter.until(look, timeout) or self.flow(id)

    def flows(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        def look(now: int) -> FlowPage:
            rows = self.store.connection.execute(SQL["flows_page"], (int(cursor or _LAST), now, limit + 1)).fetchall()
            seen = [one for _, id in rows[:limit] if (one := _seen(self.store, id, now))]
            return FlowPage(seen, str(rows[limit - 1][0]) if len(rows) > limit > 0 else None)

        return self.store.read(look)

    def flow_nodes(self, id: str, limit: int = 1_000, cursor: str | None = None) -> NodePage:
        limit = min(limit, MAX_NODES)

        def look(now: int) -> NodePage:
            every = StoredFlows(self.store)
            entry = every.living(id, now)
            if entry is None:
                return NodePage([])
            rows = self.store.connection.execute(SQL["nodes_page"], (every.number(entry), int(cursor or -1), limit + 1)).fetchall()
            found = [_seen_node(entry, *row) for row in rows[:limit]]
            return NodePage(found, str(found[-1].number) if len(rows) > limit > 0 else None)

        return self.store.read(look)

    def inputs(self, flow: str, numbers: Sequence[int]) -> list[bytes | None]:
        if len(numbers) > MAX_NODES:
            raise ValueError(f"{len(numbers)} inputs in one call, at most {MAX_NODES} are answered: ask in several")

        def look(now: int) -> list[bytes | None]:
            every, execute = StoredFlows(self.store), self.store.connection.execute
            entry = every.living(flow, now)
            if entry is None:
                return [None] * len(numbers)
            num = every.number(entry)
            rows = [execute(SQL["node_value"], (num, number)).fetchone() for number in numbers]
            return [row[0] if row else None for row in rows]

        return self.store.read(look)

    # -- steering

    def cancel_flow(self, id: str, terminate: bool = False) -> FlowCancelled:
        def step(now: int) -> FlowCancelled:
            every = flows(self.store)
            entry = every.living(id, now)
            if entry is None or entry.finished:
                return FlowCancelled(False)
            if entry.ended is not FlowState.REVOKED:
                every.end(entry, FlowState.REVOKED, "cancelled", now)
            more = sweep(self.store, entry, now)
            return FlowCancelled(True, _mark_running(self.store, every.number(entry), terminate), more)

        return self.store.write(step)

    def retry_flow(self, id: str) -> FlowRetried:
        def step(now: int) -> FlowRetried:
            every = flows(self.store)
            entry = every.living(id, now)
            if entry is None or entry.ended is not None:
                return FlowRetried(False)
            num = every.number(entry)
            found = self.store.connection.execute(SQL["nodes_failed"], (num, MAX_ARRIVALS + 1)).fetchall()
            for (number,) in found[:MAX_ARRIVALS]:
                self._again(every, entry, num, number, now)
            more = every.go_on(entry, now)
            return FlowRetried(True, len(found[:MAX_ARRIVALS]), more or len(found) > MAX_ARRIVALS)

        return self.store.write(step)

    def _again(self, every: StoredFlows, flown: Entry, flow: int, number: int, now: int) -> None:
        envelope, execute = flown.nodes[number].envelope, self.store.connection.execute
        if envelope is None:
            return
        for (pos,) in execute(SQL["letters_of_member"], (envelope.id, flow)).fetchall():
            execute(SQL["dead_remove"], (pos,))
        envelope = ending.revived(envelope)
        every.again(envelope, now)
        queue = queue_number(self.store, envelope.queue)
        entry.redriven(self.store, self.settings, envelope, pack(envelope), queue, envelope.priority, flow, now)

    def forget_flow(self, id: str) -> bool:
        def step(now: int) -> int:
            every = StoredFlows(self.store)
            entry = every.living(id, now)
            if entry is None or not entry.finished:
                return 0
            self.store.connection.execute(SQL["flow_forget"], (every.number(entry),))
            return every.number(entry)

        num = self.store.write(step)
        while num and self.store.write(lambda _: delete_some(self.store, num)):
            pass
        return num > 0


def _bytes(packed: Sequence[bytes | None]) -> int:
    """What nodes need on the disk, about."""
    return sum(200 + len(one or b"") for one in packed)


def _seen(store: Store, id: str, now: int) -> FlowSeen | None:
    entry = StoredFlows(store).living(id, now)
    return entry.seen() if entry else None


def _seen_node(
    entry: Entry, number: int, missing: int, flags: int, label: str, id: str, state: int, reason: str, followers: bytes
) -> NodeSeen:
    found = STATES[state]
    if entry.ended is not None and found is NodeState.BLOCKED:
        found = NodeState.ABANDONED
    return NodeSeen(number, found, id, label, flags, max(0, missing), unpacked(followers), reason)


def _mark_running(store: Store, flow: int, terminate: bool) -> list[str]:
    """What is in workers' hands does not run again; their ids."""
    running = []
    for *columns, worker in store.connection.execute(SQL["leased_of_flow"], (flow,)).fetchall():
        row = Row(*columns)
        ending.mark_cancelled(store, row)
        running.append(row.id())
        if terminate:
            store.connection.execute(SQL["command_add"], (worker, "cancel", row.id()))
    return running


def sweep(store: Store, entry: Entry, now: int) -> bool:
    """Drop what waits in queues of a flow that was ended; True if there is more."""
    flow = flows(store).number(entry)
    rows = store.connection.execute(SQL["waiting_of_flow"], (flow, MAX_ARRIVALS + 1)).fetchall()
    for row in rows[:MAX_ARRIVALS]:
        ending.drop(store, Row(*row), "cancelled", now)
    return len(rows) > MAX_ARRIVALS


def delete_some(store: Store, flow: int) -> bool:
    """Some of what a forgotten flow has left; True if there is more."""
    connection = store.connection
    letters = connection.execute(SQL["letters_of_flow"], (flow, MAX_NODES)).fetchall()
    connection.executemany(SQL["dead_remove"], letters)
    nodes = connection.execute(SQL["nodes_some"], (flow, MAX_NODES)).fetchall()
    for name in ("node_message_remove", "node_value_remove", "node_remove"):
        connection.executemany(SQL[name], nodes)
    if len(letters) == MAX_NODES or len(nodes) == MAX_NODES:
        return True
    connection.execute(SQL["flow_remove"], (flow,))
    return False


def tend(store: Store, settings: BrokerSettings, done: Maintained, now: int) -> None:
    """Maintenance of flows: whose producer is lost, who has something left to say or to drop, whose time is over."""
    execute = store.connection.execute
    for (id,) in execute(SQL["flows_left"], (now - int(settings.flow_grace * 1000), _ROUND)).fetchall():
        entry = flows(store).all[id]
        flows(store).end(entry, FlowState.FAILURE, OPEN_REASON, now)
        done.more |= sweep(store, entry, now)
    bound = MAX_ARRIVALS
    for id, _ in execute(SQL["flows_busy"], (0, _ROUND)).fetchall():
        entry = flows(store).all[id]
        if entry.ended is not None and not entry.finished:
            done.more |= sweep(store, entry, now)
        done.more |= flows(store).go_on(entry, now, bound)
    for (num,) in execute(SQL["flows_gone"], (_ROUND,)).fetchall():
        done.more |= delete_some(store, num)
    over = execute(SQL["flows_over"], (now, _ROUND)).fetchall()
    for (num,) in over:
        execute(SQL["flow_forget"], (num,))
    done.pruned += len(over)
    done.more |= bool(over)
