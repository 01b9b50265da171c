"""Flows: list, draw, retry, cancel, delete. On a store in this process, which the command line reaches by its address."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Run, answer
from umbel import Umbel, chain, chord, flow, group
from umbel.cli.drawing import Drawing
from umbel.joins import NodeSeen, NodeState
from umbel.testing import Sandbox

numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://flows-{next(numbers)}"


@pytest.fixture
def box(url: str) -> Iterator[Sandbox]:
    from umbel.brokers.memory import store_of
    from umbel.clock import SYSTEM

    app = Umbel("shop", broker=url)
    with Sandbox(app, clock=SYSTEM) as sandbox:
        sandbox.store = store_of(url)
        yield sandbox


class Shop:
    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.broken = True
        self.ok = box.app.task(name="ok")(lambda *args: 1)
        self.fails = box.app.task(name="fails")(self._fails)

    def _fails(self, *args: object) -> int:
        if self.broken:
            raise ValueError("no such account")
        return 2

    def work(self) -> None:
        self.box.worker.run_until_idle(propagate=False)


@pytest.fixture
def shop(box: Sandbox) -> Shop:
    return Shop(box)


def test_list(run: Run, shop: Shop) -> None:
    assert run("flow").stdout == "no flows\n"
    waiting = chain(shop.ok.s(), shop.ok.s()).apply_async(name="nightly").id
    failed = chain(shop.fails.s(), shop.ok.s()).delay().id
    shop.box.worker.run_one(propagate=False)
    shop.box.worker.run_one(propagate=False)
    said = run("flow", "list")
    assert [line.split()[0] for line in said.stdout.splitlines() if line[0] not in " I"] == [failed, waiting]
    assert "nightly" in said.stdout and "failed: ValueError: no such account" in said.stdout
    assert [one["id"] for one in answer(run("flow", "list", "--state", "failure", "--json"))] == [failed]
    assert "there are more" in run("flow", "list", "-n", "1").stderr


def test_show_as_a_tree(run: Run, shop: Shop) -> None:
    result = chain(shop.ok.si(), group(chain(shop.ok.si(), shop.fails.si()), shop.ok.si()), shop.ok.si(), shop.ok.si()).delay()
    shop.work()
    said = run("flow", "show", result.id).stdout
    tree = [line.rpartition("  ")[0].replace(" ABANDONED", "") if "  " in line else line for line in said[said.index("✓") :].splitlines()]
    assert [line.rstrip() for line in tree[:6]] == [
        "✓ ok  DONE",
        "├─ ✓ ok  DONE",
        "│  ✗ fails  FAILED (failed)",
        "└─ ✓ ok  DONE",
        "- ok",
        "- ok",
    ]
    assert "3 done, 1 failed, 2 abandoned" in said
    assert f"umbel flow retry {result.id}" in said


def test_many_siblings_are_one_line(run: Run, shop: Shop) -> None:
    result = chord([shop.ok.s() if n % 10 else shop.fails.s() for n in range(100)], shop.ok.s()).delay()
    shop.work()
    said = run("flow", "show", result.id).stdout
    assert "ok × 90: 90 DONE" in said
    assert "fails × 10: 10 FAILED" in said and "… and 5 more" in said
    assert "only 50 nodes were read" in run("flow", "show", result.id, "-n", "50").stderr


def test_show_for_programs(run: Run, shop: Shop) -> None:
    f = flow("etl")
    first = f.add(shop.ok.si(), name='a"<script>')
    f.add(shop.ok.si(), name="b", after=first)
    result = f.delay()
    found = answer(run("flow", "show", result.id, "--json"))
    assert (found["state"], found["label"], found["total"]) == ("RUNNING", "etl", 2)
    assert [(node["label"], node["state"], node["followers"]) for node in found["nodes"]] == [
        ('a"<script>=ok', "READY", [[2, 2]]),
        ("b=ok", "BLOCKED", []),
    ]
    mermaid = run("flow", "show", result.id, "--mermaid").stdout
    assert mermaid.startswith("flowchart TD\n") and "n1 --> n2" in mermaid and "<script>" not in mermaid
    dot = run("flow", "show", result.id, "--dot").stdout
    assert 'n1 [label="a\\"<script>=ok\\nREADY"' in dot and "n1 -> n2" in dot


def test_retry(run: Run, shop: Shop) -> None:
    result = chain(shop.fails.s(), shop.ok.s()).delay()
    assert run("flow", "retry", result.id).stdout == "nothing of it has failed\n"
    shop.work()
    shop.broken = False
    assert answer(run("flow", "retry", result.id, "--json")) == {"retried": 1}
    shop.work()
    assert result.get() == 1
    said = run("flow", "retry", "nobody")
    assert said.exit_code == 1 and "there is no flow 'nobody'" in said.stderr


def test_cancel_and_delete(run: Run, shop: Shop) -> None:
    result = chain(shop.ok.s(), shop.ok.s()).delay()
    assert run("flow", "delete", result.id, "--yes").exit_code == 1
    assert run("flow", "cancel", result.id).stdout == f"flow {result.id} is cancelled\n"
    shop.work()
    again = run("flow", "cancel", result.id)
    assert again.exit_code == 1 and "has ended already: it is REVOKED" in again.stderr
    assert run("flow", "retry", result.id).exit_code == 1
    assert run("flow", "delete", result.id).exit_code == 2, "it asks, and nobody is there"
    assert run("flow", "delete", result.id, "--yes").stdout == "deleted\n"
    assert run("flow", "show", result.id).exit_code == 1


def test_names_from_outside_are_inert(run: Run, shop: Shop) -> None:
    chain(shop.ok.s()).apply_async(name="\x1b[31mred\n", task_id="{x} ; rm")
    said = run("flow", "list").stdout + run("flow", "show", "{x} ; rm").stdout
    assert "\x1b" not in said and "\\x1b[31mred\\n" in said


def test_a_drawing_of_a_part_and_of_a_long_chain() -> None:
    nodes = [NodeSeen(n, NodeState.DONE, f"m{n}", "t", followers=((n + 1, n + 1),)) for n in range(3_000)]
    assert len(Drawing(nodes).tree()) == 3_000
    assert len(Drawing(nodes[10:20]).tree()) == 10
    fan = [NodeSeen(0, NodeState.DONE, "m0", "t", followers=((1, 10**12),)), NodeSeen(5, NodeState.READY, "m5", "t")]
    assert Drawing(fan).tree() == ["✓ t  DONE  m0", "▸ t  READY  m5"]
