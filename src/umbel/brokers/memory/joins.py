"""Flows, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from ...arrivals import Entry
from ...broker import BrokerSettings, Command
from ...envelope import Envelope
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
    NodeState,
    place_of,
)
from ...outcome import Node
from .ending import drop_cancelled, mark_cancelled, revive
from .row import Row
from .store import Store
from .wait import Waiting


class MemoryJoins(Waiting, Joins):
    """The facet ``Joins`` of the memory broker."""

    store: Store
    settings: BrokerSettings
    _intake: Intake

    @abstractmethod
    def step(self) -> AbstractContextManager[int]: ...

    # -- building

    def open_flow(self, flow: Flow) -> bool:
        self._intake.enqueued([flow.handler] if flow.handler else [])
        with self.step() as now:
            if flow.id in self.store.flows.all:
                return False
            self.store.flows.all[flow.id] = Entry(flow, now, now, self.settings.record_ttl, self.settings.dead_letter_ttl)
            return True

    def add_nodes(self, flow: str, nodes: Sequence[Node]) -> bool:
        self._intake.noded(nodes)
        with self.step() as now:
            entry = self.store.flows.all.get(flow)
            if entry is None or not entry.open:
                return False
            entry.touched = now
            self.store.flows.add(entry, nodes, now)
            return True

    def close_flow(self, flow: str, joins: Sequence[Node] = ()) -> bool:
        self._intake.noded(joins)
        with self.step() as now:
            entry = self.store.flows.all.get(flow)
            if entry is None or entry.ended is not None:
                return False
            if entry.open:
                self.store.flows.close(entry, joins, now)
            return True

    # -- looking

    def flow(self, id: str) -> FlowSeen | None:
        with self.store.lock:
            entry = self._living(id)
            return entry.seen() if entry else None

    def await_flow(self, id: str, timeout: float) -> FlowSeen | None:
        def final() -> FlowSeen | None:
            seen = self.flow(id)
            return seen if seen is not None and seen.state.final else None

        return self.until(final, lambda: None, timeout) or self.flow(id)

    def flows(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        with self.store.lock:
            seen = [entry.seen() for entry in self.store.flows.newest_first() if self._living(entry.flow.id)]
        begin = int(cursor or 0)
        return FlowPage(seen[begin : begin + limit], str(begin + limit) if len(seen) > begin + limit else None)

    def flow_nodes(self, id: str, limit: int = 1_000, cursor: str | None = None) -> NodePage:
        with self.store.lock:
            entry = self._living(id)
            seen = [entry.seen_node(node) for node in entry.nodes.values()] if entry else []
        begin, limit = int(cursor or 0), min(limit, MAX_NODES)
        return NodePage(seen[begin : begin + limit], str(begin + limit) if len(seen) > begin + limit else None)

    def inputs(self, flow: str, numbers: Sequence[int]) -> list[bytes | None]:
        if len(numbers) > MAX_NODES:
            raise ValueError(f"{len(numbers)} inputs in one call, at most {MAX_NODES} are answered: ask in several")
        with self.store.lock:
            entry = self._living(flow)
            nodes = entry.nodes if entry else {}
            return [nodes[number].value if number in nodes and _spoken(nodes[number].state) else None for number in numbers]

    def _living(self, id: str) -> Entry | None:
        entry = self.store.flows.all.get(id)
        return None if entry is None or 0 < entry.ends <= self.clock.now() else entry

    # -- steering

    def cancel_flow(self, id: str, terminate: bool = False) -> FlowCancelled:
        with self.step() as now:
            entry = self._living(id)
            if entry is None or entry.finished:
                return FlowCancelled(False)
            if entry.ended is not FlowState.REVOKED:
                self.store.flows.end(entry, FlowState.REVOKED, "cancelled", now)
            more = sweep(self.store, entry, now)
            running = []
            for _, holding, _, row in self.store.leased():
                if _of(row, id):
                    mark_cancelled(row)
                    running.append(row.id())
                    if terminate:
                        self.store.workers[holding.worker].commands.append(Command("cancel", row.id()))
            return FlowCancelled(True, running, more)

    def retry_flow(self, id: str) -> FlowRetried:
        with self.step() as now:
            entry = self._living(id)
            if entry is None or entry.ended is not None:
                return FlowRetried(False)
            failed = [node for node in entry.nodes.values() if node.state in (NodeState.FAILED, NodeState.DROPPED)]
            messages = [node.envelope for node in failed[:MAX_ARRIVALS] if node.envelope is not None]
            taken_out = {envelope.id for envelope in messages}
            for letter in [letter for letter in self.store.dead.values() if letter.row.id() in taken_out]:
                del self.store.dead[letter.name]
            for envelope in messages:
                self._again(envelope, now)
            more = self.store.flows.go_on(entry, now)
            return FlowRetried(True, len(failed[:MAX_ARRIVALS]), more or len(failed) > MAX_ARRIVALS)

    def _again(self, envelope: Envelope, now: int) -> None:
        revived = revive(envelope)
        self.store.records.again(revived, now, self.settings.record_ttl)
        self.store.flows.again(revived, now)
        self.store.behind(Row.of(revived))

    def forget_flow(self, id: str) -> bool:
        with self.step():
            entry = self._living(id)
            if entry is None or not entry.finished:
                return False
            forget(self.store, entry)
            return True


def forget(store: Store, entry: Entry) -> None:
    """All of it is gone."""
    del store.flows.all[entry.flow.id]
    for letter in [letter for letter in store.dead.values() if _of(letter.row, entry.flow.id)]:
        del store.dead[letter.name]


def sweep(store: Store, entry: Entry, now: int) -> bool:
    """Drop what waits in queues of a flow that was ended; True if there is more."""
    rows = [row for row in store.waiting() if _of(row, entry.flow.id)]
    store.remove_waiting({id(row) for row in rows[:MAX_ARRIVALS]})
    for row in rows[:MAX_ARRIVALS]:
        if envelope := row.read():
            drop_cancelled(store, envelope, now)
    return len(rows) > MAX_ARRIVALS


def tend(store: Store, settings: BrokerSettings, now: int) -> tuple[int, bool]:
    """Maintenance of flows: (how many were forgotten, whether there is more to do)."""
    pruned, more = 0, False
    for entry in list(store.flows.all.values()):
        if entry.open and entry.touched + int(settings.flow_grace * 1000) <= now:
            store.flows.end(entry, FlowState.FAILURE, OPEN_REASON, now)
        if entry.ended is not None and not entry.finished:
            more = sweep(store, entry, now) or more
        more = store.flows.go_on(entry, now) or more
        if 0 < entry.ends <= now:
            forget(store, entry)
            pruned += 1
    return pruned, more


def _of(row: Row, flow: str) -> bool:
    envelope = row.read()
    place = place_of(envelope.extras) if envelope else None
    return place is not None and place[0] == flow


def _spoken(state: NodeState) -> bool:
    return state in (NodeState.DONE, NodeState.FAILED, NodeState.DROPPED)
