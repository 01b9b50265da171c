"""Random graphs under SIGKILL: each node runs as the graph and its policy say, each is released once, and nothing hangs."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.process import sample
from tests.process.arena import Arena
from tests.process.conftest import KILLS
from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel import flow
from umbel.joins import NodeState

GRAPHS = 200
LARGEST = 200

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


class Graph:
    """One graph, and what must become of it."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.name = f"g{seed}"
        self.policy = chance.choice(["stop", "continue"])
        size = chance.choice([1, 2, 3, 5, 8, 13, 21, 34]) if seed % 20 else LARGEST
        self.kinds = {n: chance.choices(["", "slow", "retries", "fails"], [90, 3, 4, 3])[0] for n in range(size)}
        self.parents = {n: chance.sample(range(n), min(n, chance.choice([0, 1, 1, 1, 2, 3]))) for n in range(size)}

    def of(self, n: int) -> str:
        return f"{self.name}.{n}"

    def send(self):
        built = flow(self.name, on_error=self.policy)
        steps = {}
        for n, kind in self.kinds.items():
            after = [steps[parent] for parent in self.parents[n]]
            steps[n] = built.add(sample.step.s(self.of(n), kind), after=after, name=self.of(n))
        return built.apply_async()

    def expected(self) -> dict[str, NodeState]:
        found: dict[int, NodeState] = {}
        for n, kind in self.kinds.items():
            lost = (NodeState.FAILED, NodeState.ABANDONED) if self.policy == "stop" else ()
            if any(found[parent] in lost for parent in self.parents[n]):
                found[n] = NodeState.ABANDONED
            else:
                found[n] = NodeState.FAILED if kind == "fails" else NodeState.DONE
        return {self.of(n): state for n, state in found.items()}

    def check(self, marks, dead: set[int]) -> None:
        expected = self.expected()
        for n in self.kinds:
            mine = sorted(marks.get(self.of(n), []), key=lambda mark: mark.at)
            if expected[self.of(n)] is NodeState.ABANDONED:
                assert mine == [], f"{self.of(n)} must never start"
                continue
            begun = [mark for mark in mine if mark.kind == "begin"]
            ended = [mark for mark in mine if mark.kind in ("run", "fails", "again")]
            assert any(mark.kind == ("fails" if self.kinds[n] == "fails" else "run") for mark in ended)
            for first in begun[:-1]:
                again = any(mark.kind == "again" and mark.pid == first.pid for mark in ended)
                assert first.pid in dead or again, f"{self.of(n)} began twice, and nobody killed {first.pid}: {mine}"
            values = ["-" if expected[self.of(parent)] is NodeState.FAILED else self.of(parent) for parent in self.parents[n]]
            assert {mark.kind for mark in mine if mark.kind.startswith("in:")} == {"in:" + ",".join(values)}
            for parent in self.parents[n]:
                before = [mark.at for mark in marks[self.of(parent)] if mark.kind in ("run", "fails")]
                assert min(before) <= begun[0].at, f"{self.of(n)} began before {self.of(parent)} had ended"


class Killer:
    """Kills children, and at times a whole worker, in whose place another is started."""

    def __init__(self, arena, chance: random.Random) -> None:
        self.arena, self.chance = arena, chance
        self.workers = [arena.worker(concurrency=2).ready() for _ in range(2)]
        self.dead: set[int] = set()
        self.strikes = 0

    def strike(self) -> None:
        self.strikes += 1
        at = self.chance.randrange(2)
        worker = self.workers[at]
        children = worker.children()
        if self.strikes % 5 == 0:
            self.dead.update(children)
            worker.kill_tree()
            self.dead.update(children)
            self.workers[at] = self.arena.worker(concurrency=2)
        elif children:
            pid = self.chance.choice(children)
            self.dead.add(pid)
            os.kill(pid, signal.SIGKILL)


def test_random_graphs_while_children_and_workers_are_killed(arena):
    graphs = [Graph(seed) for seed in range(GRAPHS)]
    killer = Killer(arena, random.Random(7))
    results = []
    for number, graph in enumerate(graphs):
        results.append(graph.send())
        if number % max(1, GRAPHS // (4 * KILLS)) == 0:
            killer.strike()
    left = dict(enumerate(results))
    strikes = killer.strikes + KILLS

    def all_finished() -> bool:
        for at, result in list(left.items()):
            if (seen := result.seen()) is not None and seen.finished:
                del left[at]
        if left and killer.strikes < strikes:
            killer.strike()
        return not left

    try:
        wait_for(all_finished, 400, every=0.3)
    except AssertionError:
        shown = [(graphs[at].name, result.seen()) for at, result in left.items()][:3]
        raise AssertionError(f"{len(left)} flows hang: {shown}\n{arena.report([])}") from None
    for graph, result in zip(graphs, results, strict=True):
        assert {node.label.partition("=")[0]: node.state for node in result.nodes()} == graph.expected(), graph.name
    marks = arena.marks()
    for graph in graphs:
        graph.check(marks, killer.dead)
    broker = arena.app.make_broker()
    broker.open()
    try:
        for result in results:
            assert broker.forget_flow(result.id)
        assert [(one.queue, one.dead) for one in broker.stats() if one.ready or one.scheduled or one.leased or one.dead] == []
        assert broker.flows().flows == []
    finally:
        broker.close()
    print(f"{killer.strikes} strikes, {sum(len(graph.kinds) for graph in graphs)} nodes")


def test_graphs_outlive_a_server_that_is_killed(tmp_path, tmp_path_factory, redis_server):
    """With its append-only file a server has after a kill what it has answered: each arrival, or none of the settle."""
    graphs = [Graph(seed) for seed in range(1, GRAPHS, 8)]
    with RedisServer(tmp_path_factory.mktemp("redis"), "--appendfsync", "always", aof=True) as server:
        arena = Arena(tmp_path, server.url)
        try:
            for _ in range(2):
                arena.worker(concurrency=2).ready()
            results = []
            for number, graph in enumerate(graphs):
                results.append(graph.send())
                if number % (len(graphs) // 3) == 1:
                    server.kill()
                    server.start()
            wait_for(lambda: all((seen := result.seen()) is not None and seen.finished for result in results), 300, every=0.3)
            for graph, result in zip(graphs, results, strict=True):
                assert {node.label.partition("=")[0]: node.state for node in result.nodes()} == graph.expected(), graph.name
                for n in graph.kinds:
                    begun = len(arena.runs(graph.of(n), "begin"))
                    assert (begun > 0) == (graph.expected()[graph.of(n)] is not NodeState.ABANDONED)
                assert result.forget()
            assert [one for one in arena.stats() if one.ready or one.scheduled or one.leased or one.dead] == []
        finally:
            arena.close()
