"""Random graphs, walked at random, against a model that says where each node must stand.

The model has no order of events in it: who is done, failed or dropped follows from what the walk did, and all else from that. A node is
ready when every edge to it has once said ``ok``, abandoned when one says ``never``, else blocked.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ...broker import Blame, Settle
from ...envelope import Delivery
from ...facets import Inspects, require
from ...joins import Flow, FlowState, Joins, NodeState, pack_error, pack_value
from ...outcome import Dead, Done, Dropped, Node, Outcome, Released, Retry
from .chance import CHANCE, Chance, when
from .flows import CONTINUE, HELD, KEEP, gate, node, number_of, run, stand, states
from .harness import LONG, Hand, Harness, has, maintain_all
from .profile import PROFILE, THOROUGH

ENDS: list[Outcome] = [Done(b"ok"), Done(b"ok"), Dead("failed", b"boom"), Dropped("discarded"), Retry(0), Released(0)]


class Graph:
    """A graph, and where each of its nodes stands by what was done to it."""

    def __init__(self, seed: int, size: int) -> None:
        chance = random.Random(seed)
        self.followers: dict[int, list[int]] = {n: [] for n in range(size)}
        self.parents: dict[int, list[int]] = {n: [] for n in range(size)}
        self.gates = {n for n in range(size) if chance.random() < 0.15}
        self.valued = {n for n in range(size) if chance.random() < 0.3}
        self.held = {n for n in range(size) if chance.random() < 0.2}
        for n in range(1, size):
            for parent in chance.sample(range(n), min(n, chance.choice([0, 1, 1, 1, 2, 3]))):
                self.parents[n].append(parent)
                self.followers[parent].append(n)
        self.added: set[int] = set()
        self.closed = False
        self.ended: dict[int, NodeState] = {}
        self.ok: set[int] = set()
        self.values: dict[int, bytes] = {}

    def as_node(self, n: int, *, whole: bool = False) -> Node:
        flags = (CONTINUE if n in self.valued else 0) | KEEP | (HELD if n in self.held and not whole else 0)
        needs = 0 if n in self.held and not whole else len(self.parents[n])
        return (gate if n in self.gates else node)(n, *self.followers[n], needs=needs, flags=flags)

    def expected(self) -> dict[int, NodeState]:
        found: dict[int, NodeState] = {}
        never: set[int] = set()
        for n in sorted(self.followers):  # parents have smaller numbers; one that is not added has said nothing
            state = self.ended.get(n)
            if state is None:
                free = n not in self.held or self.closed
                if any(parent in never for parent in self.parents[n]):
                    state = NodeState.ABANDONED
                elif free and all(parent in self.ok for parent in self.parents[n]) and n in self.added:
                    state = NodeState.DONE if n in self.gates else NodeState.READY
                else:
                    state = NodeState.BLOCKED
            if n in self.added:
                found[n] = state
                if state == NodeState.DONE or (n in self.valued and state in (NodeState.FAILED, NodeState.DROPPED)):
                    self.ok.add(n)
                if n not in self.ok and state in (NodeState.FAILED, NodeState.DROPPED, NodeState.ABANDONED):
                    never.add(n)
        return found

    def stopped(self) -> bool:
        return any(state != NodeState.DONE and n not in self.valued for n, state in self.ended.items())


class Walk(RuleBasedStateMachine):
    """One flow, one walk."""

    def __init__(self, fresh: Callable[[], Harness]) -> None:
        super().__init__()
        self.harness = fresh()
        self.broker = self.harness.broker()
        self.joins = require(self.broker, Joins)
        self.held: list[Delivery] = []
        self.hands = 0

    def new_hand(self) -> Hand:
        self.hands += 1
        return Hand(self.broker, f"w1.{self.hands}", "w1")

    @initialize(seed=st.integers(0, 2**32), size=st.integers(1, 40))
    def begin(self, seed: int, size: int) -> None:
        self.graph = Graph(seed, size)
        self.joins.open_flow(Flow("f"))
        self.hand = self.new_hand()

    @rule(count=st.integers(1, 15))
    @when(lambda self: not self.graph.closed)
    def add(self, count: int) -> None:
        """The next ones from the end, so followers first; some of them again, as after a lost reply."""
        graph = self.graph
        left = [n for n in sorted(graph.followers, reverse=True) if n not in graph.added]
        again = sorted(graph.added, reverse=True)[:3]
        assert self.joins.add_nodes("f", [graph.as_node(n) for n in [*again, *left[:count]]])
        graph.added.update(left[:count])

    @rule()
    @when(lambda self: not self.graph.closed and len(self.graph.added) == len(self.graph.followers))
    def close(self) -> None:
        graph = self.graph
        assert self.joins.close_flow("f", [graph.as_node(n, whole=True) for n in sorted(graph.held)])
        graph.closed = True

    @rule(limit=st.integers(1, 10))
    def claim(self, limit: int) -> None:
        ready = {n for n, state in self.graph.expected().items() if state == NodeState.READY}
        got = self.hand.claim(limit)
        assert {number_of(d) for d in got} <= ready - {number_of(d) for d in self.held}
        self.held += got

    @rule(chance=CHANCE, at_once=st.booleans())
    @when(lambda self: self.held)
    def settle(self, chance: Chance, at_once: bool) -> None:
        settled = chance.some(self.held)
        settles = [Settle(d.receipt, chance.pick(ENDS)) for d in settled]
        answer = self.hand.exchange(settles, ["q"] if at_once else [], 5)
        self.held = [d for d in self.held if d not in settled] + answer.deliveries
        if at_once:
            assert self.hand.repeat(settles, ["q"], 5).verdicts == answer.verdicts
        for delivery, each in zip(settled, settles, strict=True):
            self.end(number_of(delivery), each.outcome)

    def end(self, n: int, outcome: Outcome) -> None:
        graph = self.graph
        match outcome:
            case Done(result):
                graph.ended[n], graph.values[n] = NodeState.DONE, pack_value(result)
            case Dead(reason, error):
                graph.ended[n], graph.values[n] = NodeState.FAILED, pack_error(reason, error)
            case Dropped(reason, error):
                graph.ended[n], graph.values[n] = NodeState.DROPPED, pack_error(reason, error)
        graph.expected()

    @rule(blame=st.booleans())
    @when(lambda self: self.held)
    def the_holder_dies(self, blame: bool) -> None:
        self.broker.retire(self.hand.name, [Blame(self.held[0].receipt, Dead("time_limit", b"hard"))] if blame else [])
        if blame:
            self.end(number_of(self.held[0]), Dead("time_limit", b"hard"))
        self.hand, self.held = self.new_hand(), []

    @rule()
    @when(lambda self: self.held)
    def the_worker_is_lost(self) -> None:
        self.harness.lapse(self.broker, "w1")
        self.broker.maintain(rescue=True)
        self.broker.renew("w1", LONG)
        self.hand, self.held = self.new_hand(), []

    @rule()
    def retry(self) -> None:
        failed = [n for n, state in self.graph.ended.items() if state != NodeState.DONE]
        for n in failed:
            del self.graph.ended[n]
        answer = self.joins.retry_flow("f")
        assert (answer.found, answer.retried, answer.more) == (True, len(failed), False)

    @rule(chance=CHANCE)
    @when(lambda self: has(self.harness, Inspects))
    def redrive(self, chance: Chance) -> None:
        dead = [n for n, state in self.graph.ended.items() if state == NodeState.FAILED]
        if dead:
            n = chance.pick(dead)
            assert require(self.broker, Inspects).redrive([f"f.{n}"]) == 1
            del self.graph.ended[n]

    @rule()
    def maintain(self) -> None:
        maintain_all(self.broker)

    @invariant()
    def every_node_stands_where_it_must(self) -> None:
        if not hasattr(self, "graph"):
            return
        graph, expected = self.graph, self.graph.expected()
        assert states(self.joins) == dict(sorted(expected.items()))
        kept = dict(zip(sorted(graph.ended), self.joins.inputs("f", sorted(graph.ended)), strict=True))
        assert kept == {n: graph.values[n] for n in sorted(graph.ended)}
        seen, tasks = stand(self.joins), [state for n, state in expected.items() if n not in graph.gates]
        assert (seen.total, seen.done, seen.failed, seen.abandoned, seen.ready) == (
            len(tasks),
            tasks.count(NodeState.DONE),
            tasks.count(NodeState.FAILED) + tasks.count(NodeState.DROPPED),
            tasks.count(NodeState.ABANDONED),
            tasks.count(NodeState.READY),
        )
        rest = graph.closed and NodeState.READY not in expected.values()
        assert (seen.finished > 0) == rest
        if graph.stopped():
            assert seen.state is FlowState.FAILURE
        else:
            assert seen.state is (FlowState.SUCCESS if rest else FlowState.RUNNING if graph.closed else FlowState.OPEN)

    def teardown(self) -> None:
        try:
            if hasattr(self, "graph"):
                self.it_can_always_be_brought_to_its_end()
        finally:
            self.harness.close()

    def it_can_always_be_brought_to_its_end(self) -> None:
        while len(self.graph.added) < len(self.graph.followers):
            self.add(count=100)
        if not self.graph.closed:
            self.close()
        self.hand.exchange([Settle(d.receipt, Done(b"ok")) for d in self.held])
        run(self.hand)
        self.joins.retry_flow("f")
        run(self.hand)
        assert stand(self.joins).state is FlowState.SUCCESS
        assert set(states(self.joins).values()) == {NodeState.DONE}
        assert self.joins.forget_flow("f")
        assert [each for each in self.broker.stats() if each.ready or each.scheduled or each.leased or each.dead] == []


class TestFlowMachine:
    @pytest.mark.timeout(3600 if THOROUGH else 120)
    def test_every_node_stands_where_it_must_on_any_walk(self, make_harness: Callable[[], Harness]) -> None:
        if not has(make_harness(), Joins):
            return  # every other test of the facet has seen that it is refused
        walk: Any = lambda: Walk(make_harness)  # noqa: E731 - hypothesis wants a factory, and calls it by no name
        run_state_machine_as_test(walk, settings=PROFILE)
