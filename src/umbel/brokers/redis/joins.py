"""Flows, as the contract's facet: see ``lua/parts/flow.lua`` for what lies where."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from ...clock import Clock
from ...intake import Intake, queue_bytes
from ...joins import MAX_NODES, Flow, FlowCancelled, FlowPage, FlowRetried, FlowSeen, FlowState, Joins, NodePage, NodeSeen, NodeState
from ...outcome import Node
from . import replies, scripts
from .connection import Line
from .keys import Keys
from .runs import Argument, node_arguments
from .waiting import Waiter

_STATES = (NodeState.BLOCKED, NodeState.READY, NodeState.DONE, NodeState.FAILED, NodeState.DROPPED, NodeState.ABANDONED)
"""By their numbers in ``lua/parts/node.lua``."""
_ENDED = {b"F": FlowState.FAILURE, b"V": FlowState.REVOKED}
_KEPT = 15
"""Of a node's fields those before its followers."""


class RedisJoins(Joins):
    """The facet ``Joins`` of the Redis broker."""

    _keys: Keys
    _clock: Clock
    _waiter: Waiter
    _intake: Intake
    _record_ms: int
    _dead_ms: int

    @abstractmethod
    def _open_line(self) -> Line: ...

    # -- building

    def open_flow(self, flow: Flow) -> bool:
        line, keys, handler = self._open_line(), self._keys, flow.handler
        packed = self._intake.enqueued([handler] if handler else [])
        last: tuple[Argument, ...] = (queue_bytes(handler.queue), handler.due, handler.after, *packed) if handler else (b"", 0, 0, b"")
        ttl: Argument = b"" if flow.ttl is None else int(flow.ttl * 1000)
        first = (flow.id, flow.label, flow.result, flow.on_error, ttl, self._record_ms, self._dead_ms)
        return bool(line.run(scripts.OPEN_FLOW, 2, keys.root, keys.flow(flow.id), *first, *last))

    def add_nodes(self, flow: str, nodes: Sequence[Node]) -> bool:
        arguments = node_arguments(nodes, self._intake)
        return bool(self._open_line().run(scripts.ADD_NODES, 1, self._keys.root, flow, *arguments))

    def close_flow(self, flow: str, joins: Sequence[Node] = ()) -> bool:
        arguments = node_arguments(joins, self._intake)
        return bool(self._open_line().run(scripts.CLOSE_FLOW, 1, self._keys.root, flow, *arguments))

    # -- looking

    def flow(self, id: str) -> FlowSeen | None:
        keys = self._keys
        return _seen(id, self._open_line().run(scripts.LOOK_FLOW, 2, keys.root, keys.flow(id), b""))

    def await_flow(self, id: str, timeout: float) -> FlowSeen | None:
        line, keys = self._open_line(), self._keys
        deadline, after = self._clock.monotonic() + timeout, b"0"
        while (left := deadline - self._clock.monotonic()) > 0:
            # Whether it is over and that it is waited for is asked and said in one step: no end comes between the two.
            seen = _seen(id, line.run(scripts.LOOK_FLOW, 2, keys.root, keys.flow(id), int(left * 1000) + 1))
            if seen is not None and seen.state.final:
                return seen
            heard = self._waiter.news(keys.flow_news(id), after, left)
            if heard is None:
                break
            after = heard
        return self.flow(id)

    def flows(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        keys = self._keys
        at, _, last = (cursor or ":").partition(":")
        more, at_ms, last_id, *found = self._open_line().run(scripts.FLOWS, 2, keys.root, keys.flows, limit, at, last)
        seen = [one for id, *flat in found if (one := _seen(replies.text(id), flat))]
        return FlowPage(seen, f"{int(float(at_ms))}:{replies.text(last_id)}" if more == b"1" else None)

    def flow_nodes(self, id: str, limit: int = 1_000, cursor: str | None = None) -> NodePage:
        keys = self._keys
        at, _, met = (cursor or "0:0").partition(":")
        fixed = (keys.root, keys.flow(id), keys.flow_nodes(id))
        scan, done, *found = self._open_line().run(scripts.FLOW_NODES, len(fixed), *fixed, min(limit, MAX_NODES), at, met)
        ended = self._open_line().call("HEXISTS", keys.flow(id), "e") == 1
        return NodePage([_seen_node(fields, ended) for fields in found], f"{replies.text(scan)}:{int(done)}" if scan else None)

    def inputs(self, flow: str, numbers: Sequence[int]) -> list[bytes | None]:
        if len(numbers) > MAX_NODES:
            raise ValueError(f"{len(numbers)} inputs in one call, at most {MAX_NODES} are answered: ask in several")
        line, keys = self._open_line(), self._keys
        if not numbers:
            return []
        values: list[bytes | None] = line.run(scripts.INPUTS, 3, keys.root, keys.flow(flow), keys.flow_values(flow), *numbers)
        return values or [None] * len(numbers)

    # -- steering

    def cancel_flow(self, id: str, terminate: bool = False) -> FlowCancelled:
        found, more, *running = self._open_line().run(scripts.CANCEL_FLOW, 1, self._keys.root, id, int(terminate))
        return FlowCancelled(bool(found), list(map(replies.message_id, running)), bool(more))

    def retry_flow(self, id: str) -> FlowRetried:
        found, retried, more = self._open_line().run(scripts.RETRY_FLOW, 1, self._keys.root, id)
        return FlowRetried(bool(found), retried, bool(more))

    def forget_flow(self, id: str) -> bool:
        found, more = self._open_line().run(scripts.FORGET_FLOW, 1, self._keys.root, id, 0)
        while more:
            _, more = self._open_line().run(scripts.FORGET_FLOW, 1, self._keys.root, id, 1)
        return bool(found)


def _seen(id: str, flat: list[Any]) -> FlowSeen | None:
    """A flow as Redis lists its hash."""
    if not flat:
        return None
    fields: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))

    def number(name: bytes) -> int:
        return int(fields.get(name, 0))

    total, done, failed, abandoned, ready = (number(name) for name in (b"t", b"dn", b"fl", b"ab", b"mv"))
    ended = _ENDED.get(fields.get(b"e", b""))
    if ended is not None:
        state, abandoned = ended, total - done - failed - ready
    elif number(b"st"):
        state = FlowState.FAILURE
    elif fields.get(b"o") == b"1":
        state = FlowState.OPEN
    else:
        state = FlowState.SUCCESS if number(b"fi") else FlowState.RUNNING
    node = fields.get(b"1n")
    return FlowSeen(
        id,
        state,
        replies.text(fields.get(b"lb", b"")),
        fields.get(b"rs", b""),
        replies.text(fields.get(b"oe", b"")),
        total,
        done,
        failed,
        abandoned,
        ready,
        replies.text(fields.get(b"1r", b"")),
        int(node) if node else None,
        replies.message_id(fields.get(b"1i", b"")),
        fields.get(b"1e", b""),
        number(b"c"),
        number(b"u"),
        number(b"fi"),
    )


def _seen_node(fields: list[bytes], ended: bool) -> NodeSeen:
    number, state, left, _, flags, *_, id, _, label, reason, _ = fields[: _KEPT + 1]
    found = _STATES[int(state)]
    ranges = [int(one) for one in fields[_KEPT + 1 :]]
    return NodeSeen(
        int(number),
        NodeState.ABANDONED if ended and found is NodeState.BLOCKED else found,
        replies.message_id(id) if id else "",
        replies.text(label),
        int(flags),
        max(0, int(left)),
        tuple(zip(ranges[::2], ranges[1::2], strict=True)),
        replies.text(reason),
    )
