"""Hands for the tests of ``Joins``: nodes, flows, and a worker that runs what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...broker import Broker, Settle
from ...envelope import Delivery
from ...facets import require
from ...joins import Flow, FlowSeen, Joins, NodeFlag, NodeSeen, NodeState, pack_place, place_of
from ...outcome import Dead, Done, Node, Outcome
from .harness import Hand, envelope

KEEP, CONTINUE, HELD, GATE, RIDE = NodeFlag.KEEP, NodeFlag.CONTINUE, NodeFlag.HELD, NodeFlag.GATE, NodeFlag.RIDE
FAILED = Dead("failed", b"boom")


def node(number: int, *followers: int | tuple[int, int], needs: int = 0, flags: int = 0, flow: str = "f", **fields: Any) -> Node:
    """A task as a node; ``fields`` are its envelope's. A follower is a number or a range of them."""
    extra: dict[str, Any] = {key: fields.pop(key) for key in ("expires_after", "label") if key in fields}
    id = fields.pop("id", f"{flow}.{number}")
    message = envelope(id, extras=pack_place(flow, number, flags), **fields)
    return Node(number, message, needs, ranges(followers), flags, **extra)


def gate(number: int, *followers: int | tuple[int, int], needs: int = 0, flags: int = 0) -> Node:
    return Node(number, None, needs, ranges(followers), flags | GATE)


def ranges(followers: Sequence[int | tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((each, each) if isinstance(each, int) else each for each in followers)


def begun(broker: Broker, *nodes: Node, flow: str = "f", close: bool = True, **fields: Any) -> Joins:
    """A flow of these nodes, in the order in which they are given."""
    joins = require(broker, Joins)
    assert joins.open_flow(Flow(flow, **fields))
    for at in range(0, len(nodes), 1_000):
        assert joins.add_nodes(flow, nodes[at : at + 1_000])
    if close:
        assert joins.close_flow(flow)
    return joins


def chain_of(count: int, *, flags: int = 0, **fields: Any) -> list[Node]:
    """1 → 2 → … → ``count``, followers first."""
    numbers = range(count, 0, -1)
    return [node(n, *([n + 1] if n < count else []), needs=int(n > 1), flags=flags, **fields) for n in numbers]


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [number_of(delivery) for delivery in deliveries]


def number_of(delivery: Delivery) -> int:
    place = place_of(delivery.envelope.extras)
    assert place is not None
    return place[1]


def run(hand: Hand, outcome: Callable[[int], Outcome] | None = None, rounds: int = 1_000) -> list[int]:
    """Claim and settle until nothing is left: the numbers in the order in which they ran."""
    ran: list[int] = []
    say = outcome or (lambda number: Done(b"%d" % number))
    settles: list[Settle] = []
    for _ in range(rounds):
        got = hand.exchange(settles, ["q"], 100).deliveries
        if not got and not settles:
            return ran
        settles = [Settle(d.receipt, say(number_of(d))) for d in got]
        ran += numbers(got)
    raise AssertionError(f"after {rounds} rounds something is still to be run: {ran[-10:]}")


def stand(joins: Joins, flow: str = "f") -> FlowSeen:
    seen = joins.flow(flow)
    assert seen is not None
    return seen


def nodes_of(joins: Joins, flow: str = "f", limit: int = 1_000) -> dict[int, NodeSeen]:
    found: dict[int, NodeSeen] = {}
    cursor = None
    while True:
        page = joins.flow_nodes(flow, limit, cursor)
        assert len(page.nodes) <= limit
        found.update((each.number, each) for each in page.nodes)
        if (cursor := page.cursor) is None:
            return found


def states(joins: Joins, flow: str = "f") -> dict[int, NodeState]:
    return {number: each.state for number, each in sorted(nodes_of(joins, flow).items())}
