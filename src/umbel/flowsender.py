"""Storing a flow: from a graph of calls to the broker, in steps of at most ``MAX_NODES`` nodes, followers first.

A flow whose producer is killed on the way stays open and is failed by the store's maintenance; one whose producer meets an error is
cancelled by it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

from .broker import Broker
from .call import Membership
from .envelope import Envelope, Extra
from .errors import BrokerError, ConfigError, EnqueueRefused
from .facets import require
from .graph import BLOCK, Entry, Exit, Graph, Vertex, compact, encode_takes, numbers_of, ranges
from .joins import MAX_NODES, OTHERS, Flow, Joins, NodeFlag, pack_place
from .outcome import Node, Replaced
from .producer import Producer

_REFUSED = {Extra.UNIQUE: "unique", Extra.UNIQUE_UNTIL: "unique", Extra.DEBOUNCE: "debounce", Extra.THROTTLE: "throttle"}


class Calls(Protocol):
    """Whoever makes a vertex's message."""

    @property
    def begins(self) -> str:
        """How it is shown: its task."""
        ...

    def made(self, member: Membership, *, begins: bool) -> tuple[Envelope, int]:
        """The message, and how many ms after it became ready it expires (0: as the message says). ``begins``: is nothing before it?"""
        ...


class Stream(msgspec.Struct, gc=False):
    """Members that are read while they are sent, all at the beginning of the flow."""

    members: Iterator[Any]
    lay: Callable[[Graph, Any], Exit]
    """Puts one member into a graph."""


class FlowPlan(msgspec.Struct, gc=False):
    """All of a flow but what a ``stream`` will bring. ``held`` are the numbers of those that wait for the stream's members."""

    id: str
    graph: Graph
    result: Any
    label: str
    on_error: str
    handler: Calls | None = None
    ttl: float | None = None
    stream: Stream | None = None
    held: tuple[int, ...] = ()


class FlowSender:
    """Stores one flow. Use once."""

    def __init__(self, producer: Producer, plan: FlowPlan, wanted: Iterable[int]) -> None:
        """``wanted``: the nodes whose values make the flow's result."""
        self._producer = producer
        self._plan = plan
        self._keep = self._all_keep = plan.graph.taken.union(wanted, plan.graph.kept)
        self._taken = plan.graph.taken

    def send(self) -> None:
        """Raises what calls raise: ``TypeError``, ``ArgumentError``, ``EnqueueRefused`` (the flow will not run to its end: it was not
        stored, or is cancelled), ``EnqueueUnknown``."""
        plan = self._plan
        if self._producer.is_collecting:
            raise EnqueueRefused("a flow cannot be collected: make it outside of the block, or send its first call alone")
        nodes = self.nodes()  # all checked before anything is stored
        handler = plan.handler.made(Membership({}, before=1), begins=True)[0] if plan.handler else None
        flow = Flow(plan.id, plan.label, _encode(compact(plan.result)), plan.on_error, handler, plan.ttl)
        if not self._do(lambda joins: joins.open_flow(flow)) and self._closed_before():
            return
        try:
            for at in range(0, len(nodes), MAX_NODES):
                self._add(nodes[at : at + MAX_NODES])
            count = self._stream(plan.stream) if plan.stream is not None else 0
            held = [self._closing(plan.graph.vertices[number], count) for number in plan.held]
            if not self._do(lambda joins: joins.close_flow(plan.id, held)):
                raise EnqueueRefused(f"flow {plan.id} was ended before all of it was sent")
        except BaseException as exc:
            self._give_up(exc)
            raise
        self._producer.flow_sent()

    def _closed_before(self) -> bool:
        """Is it the same call once more, whose first try came to its end?"""
        seen = self._do(lambda joins: joins.flow(self._plan.id))
        return seen is not None and seen.state != "OPEN"

    def nodes(self) -> list[Node]:
        """All nodes of the graph, followers first, each with its message."""
        return [self._node(vertex, vertex.number, vertex.followers) for vertex in self._plan.graph.followers_first()]

    # -- steps

    def _do(self, step: Callable[[Joins], Any]) -> Any:
        def call(broker: Broker) -> Any:
            return step(require(broker, Joins))

        return self._producer.in_steps(call, f"flow {self._plan.id}", self._plan.id)

    def _add(self, nodes: list[Node]) -> None:
        if not self._do(lambda joins: joins.add_nodes(self._plan.id, nodes)):
            raise EnqueueRefused(f"flow {self._plan.id} was ended (cancelled, or left alone for too long) before all of it was sent")

    def _give_up(self, exc: BaseException) -> None:
        try:
            self._do(lambda joins: joins.cancel_flow(self._plan.id))
        except (BrokerError, EnqueueRefused) as other:
            import logging  # not needed by those who never fail

            logging.getLogger("umbel").warning("flow %s could not be cancelled: %s", self._plan.id, other)
        exc.add_note(f"flow {self._plan.id} is cancelled: members that had begun by then may have run")

    def _stream(self, stream: Stream) -> int:
        """Send the members as they are read; answers with how many there were."""
        graph, batch, count = Graph(2 * BLOCK), list[Node](), 0
        for member in stream.members:
            graph.vertices.clear()
            graph.taken.clear()
            exit = stream.lay(graph, member)
            if exit.ends != (exit.value,):
                raise ConfigError("a member of a group that is read while it is sent must end with one task: give such a group as a list")
            batch += [self._streamed(graph, vertex, exit.value, BLOCK + count) for vertex in graph.followers_first()]
            count += 1
            while len(batch) >= MAX_NODES:
                self._add(batch[:MAX_NODES])
                del batch[:MAX_NODES]
        while batch:
            self._add(batch[:MAX_NODES])
            del batch[:MAX_NODES]
        return count

    def _streamed(self, graph: Graph, vertex: Vertex, end: int, place: int) -> Node:
        """A member's node; the one that ends it stands at ``place``, where whoever takes all values finds it."""
        self._keep, self._taken = graph.taken | {end}, graph.taken | ({end} if self._plan.held else set())
        followers = [place if each == end else each for each in vertex.followers]
        if vertex.number == end:
            return self._node(vertex, place, list(self._plan.held))
        return self._node(vertex, vertex.number, followers)

    # -- nodes

    def _node(self, vertex: Vertex, number: int, followers: list[int], needs: int | None = None) -> Node:
        plan, held = self._plan, needs is None and number in self._plan.held
        flags = NodeFlag.KEEP if vertex.number in self._keep else 0
        flags |= NodeFlag.CONTINUE if (vertex.on_error or plan.on_error) == "continue" else 0
        flags |= NodeFlag.HELD if held else 0
        return self._as_node(vertex, number, ranges(followers), int(flags), len(set(vertex.after)) if needs is None else needs)

    def _closing(self, vertex: Vertex, count: int) -> Node:
        """A held one, now that it is known how many are before it."""
        self._keep, self._taken = self._all_keep, self._plan.graph.taken
        p = [{"r": [BLOCK, count]} if expr == {"b": BLOCK} else expr for expr in vertex.takes.p]
        whole = msgspec.structs.replace(vertex, takes=msgspec.structs.replace(vertex.takes, p=p))
        return self._node(whole, vertex.number, vertex.followers, count)

    def _as_node(self, vertex: Vertex, number: int, edges: tuple[tuple[int, int], ...], flags: int, needs: int) -> Node:
        if vertex.call is None:
            return Node(number, None, needs, edges, flags | NodeFlag.GATE)
        takes = vertex.takes
        if vertex.number in self._taken:
            takes = msgspec.structs.replace(takes, w=True)
        if len(takes.p) == 1 and isinstance(takes.p[0], int) and not takes.n and needs == 1:
            flags |= NodeFlag.RIDE
        extras = pack_place(self._plan.id, number, flags, encode_takes(takes))
        envelope, expires_after = vertex.call.made(
            Membership(extras, len(takes.p), tuple(takes.n)), begins=needs == 0 and not flags & NodeFlag.HELD
        )
        for tag, option in _REFUSED.items():
            if tag in (envelope.extras or ()):
                raise ConfigError(f"{vertex.call.begins}: a task with {option}= cannot be a member of a flow: a duplicate would never end")
        return Node(number, envelope, needs, edges, flags, expires_after, vertex.label or vertex.call.begins)


_encode = msgspec.json.Encoder().encode


def replacement(producer: Producer, place: tuple[str, int, int, bytes], lay: Callable[[Graph, Entry], Exit]) -> Replaced:
    """The end of a member, at ``place``, that goes on as what ``lay`` puts into a graph; its value is theirs.

    ``ConfigError`` for more than ``MAX_NODES`` nodes, which one step does not take.
    """
    flow, number, flags, _ = place
    graph = Graph(_REPLACED + int.from_bytes(os.urandom(5), "big") * 4_096)
    exit = lay(graph, Entry())
    if len(graph.vertices) > MAX_NODES:
        raise ConfigError(f"self.replace() with {len(graph.vertices)} tasks, at most {MAX_NODES} are allowed: make it a chain of groups")
    for end in exit.ends:
        graph.vertices[end].followers.append(number)
    plan = FlowPlan(flow, graph, exit.value, "", "continue" if flags & NodeFlag.CONTINUE else "stop")
    nodes = FlowSender(producer, plan, numbers_of(exit.value)).nodes()
    return Replaced(len(set(exit.ends)), OTHERS + _encode(compact(exit.value)), tuple(nodes))


_REPLACED = 4 * BLOCK
"""Where the numbers begin of nodes that others go on as: chosen at random, since nobody knows all numbers of the flow."""
