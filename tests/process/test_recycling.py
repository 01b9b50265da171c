"""Children that are replaced, for what they ran and for what they weigh: on real workers, with real kills."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.arena import _session
from tests.waiting import wait_for
from umbel.facets import Place
from umbel.worker.memory import MIB, anonymous


def _ran_once(arena, numbers):
    arena.all_ran(numbers, 120)
    marks = arena.marks()
    assert [n for n in numbers if sum(m.kind == "run" for m in marks[str(n)]) != 1] == []


def _overlap(arena):
    """How many tasks ran at once, at most."""
    moments = sorted((m.at, 1 if m.kind == "begin" else -1) for marks in arena.marks().values() for m in marks)
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


# -- by the number of tasks


def test_a_child_runs_at_most_so_many_tasks_and_nothing_is_lost_or_doubled(arena):
    worker = arena.worker("--max-tasks-per-child", "20", concurrency=2).ready()
    arena.app.tasks["mark"].delay_many({"n": n} for n in range(600))
    _ran_once(arena, range(600))
    pids = [marks[0].pid for marks in arena.marks().values()]
    assert max(pids.count(pid) for pid in set(pids)) <= 20
    assert len(set(pids)) >= 30
    assert worker.stop() == 0
    assert not worker.said("given back"), "nobody died unexpectedly"


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_children_of_many_tasks_are_replaced_too(arena, pool):
    worker = arena.worker("-P", pool, "--max-tasks-per-child", "20", concurrency=4).ready()
    arena.app.tasks["mark"].delay_many({"n": n} for n in range(200))
    _ran_once(arena, range(200))
    pids = [marks[0].pid for marks in arena.marks().values()]
    assert max(pids.count(pid) for pid in set(pids)) <= 20
    assert worker.stop() == 0
    assert not worker.said("given back"), "nobody died unexpectedly"


def test_a_leak_replaces_a_child_of_many_tasks(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker("-P", "threads", "--max-memory-per-child", "100MB", concurrency=4).ready()
    arena.app.tasks["leak"].delay_many({"n": n} for n in range(200))
    _ran_once(arena, range(200))
    assert len({marks[0].pid for marks in arena.marks().values()}) >= 2
    assert worker.said("max_memory_per_child")


def test_the_heir_is_born_while_its_predecessor_works_and_begins_after_it(arena):
    worker = arena.worker("--max-tasks-per-child", "1", concurrency=1).ready()
    for n in range(3):
        arena.send("slow", n, 0.5)
    wait_for(lambda: arena.runs(0, "begin"))
    wait_for(lambda: arena.runs(0) or len(worker.children()) == 2)
    assert not arena.runs(0), "it was born in time"
    _ran_once(arena, range(3))
    assert _overlap(arena) == 1
    assert len({arena.runs(n)[0].pid for n in range(3)}) == 3


def _heir(worker, arena):
    """A child at work that will leave, and the one that waits for its end."""
    arena.send("slow", "long", 3600)
    begun = wait_for(lambda: arena.runs("long", "begin"))[-1]
    return begun.pid, wait_for(lambda: [pid for pid in worker.children() if pid != begun.pid])[0]


def test_an_heir_begins_when_its_predecessor_is_killed(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker("--max-tasks-per-child", "1", concurrency=1).ready()
    old, heir = _heir(worker, arena)
    os.kill(old, signal.SIGKILL)
    again = wait_for(lambda: arena.runs("long", "begin")[1:])[0]
    assert again.pid == heir


def test_an_heir_that_dies_is_followed_by_another(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker("--max-tasks-per-child", "1", concurrency=1).ready()
    old, heir = _heir(worker, arena)
    os.kill(heir, signal.SIGKILL)
    other = wait_for(lambda: [pid for pid in worker.children() if pid not in (old, heir)])[0]
    os.kill(old, signal.SIGKILL)
    assert wait_for(lambda: arena.runs("long", "begin")[1:])[0].pid == other


def test_an_heir_whose_template_dies_is_followed_by_another(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker("--max-tasks-per-child", "1", concurrency=1).ready()
    old, heir = _heir(worker, arena)
    os.kill(worker.template(), signal.SIGKILL)
    other = wait_for(lambda: [pid for pid in worker.children() if pid not in (old, heir)], 20)[0]
    os.kill(old, signal.SIGKILL)
    assert wait_for(lambda: arena.runs("long", "begin")[1:])[0].pid == other


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_heir_leaves_with_the_others(sqlite_arena, number):
    """At a shutdown, and at a reload."""
    arena = sqlite_arena
    worker = arena.worker("--max-tasks-per-child", "1", concurrency=1).ready()
    old, heir = _heir(worker, arena)
    worker.process.send_signal(number)
    wait_for(lambda: heir not in worker.children(), 20)
    assert old in worker.children()
    assert worker.stop(signal.SIGQUIT) in (0, 75)
    assert not _session(worker.pid)


# -- by their memory


def test_a_leak_stays_under_the_limit(arena):
    """1 MiB a task, 5,000 tasks: 5 GB in all, and no child ever has 200 MB."""
    worker = arena.worker("--max-memory-per-child", "200MB", "-l", "warning", concurrency=2)
    arena.app.tasks["leak"].delay_many({"n": n} for n in range(5000))
    heaviest = 0

    def done():
        nonlocal heaviest
        heaviest = max([heaviest, *(anonymous(pid) or 0 for pid in worker.children())])
        return arena.marks_file.read_bytes().count(b"run") >= 5000

    wait_for(done, 150, every=0.02)
    assert 100 * MIB < heaviest <= 200_000_000
    _ran_once(arena, range(5000))
    assert worker.stop() == 0
    assert not worker.said("child"), "nobody was killed, nor died"


def test_a_task_that_takes_too_much_is_killed_blamed_and_set_aside(arena):
    worker = arena.worker("--max-memory-per-child", "150MB", concurrency=1).ready()
    arena.send("swell", "s", 400 * MIB)
    wait_for(lambda: sum(q.dead for q in arena.stats()) == 1, 60)
    assert len(arena.runs("s", "begin")) == 3
    (letter,) = _dead_letters(arena)
    assert letter.reason == "poison"
    assert b"killed for its memory: it had" in letter.error and b"its limit is 143 MiB" in letter.error
    assert worker.said("killed for its memory")
    arena.send("mark", "after")
    arena.all_ran(["after"])
    assert worker.stop() == 0


def _dead_letters(arena):
    broker = arena.app.make_broker()
    broker.open()
    try:
        return broker.browse(None, Place.DEAD).messages
    finally:
        broker.close()


def test_what_a_child_gains_while_it_waits_counts_too(sqlite_arena):
    arena = sqlite_arena
    arena.environment["UMBEL_TEST_SPANS"] = "weigh=0.3"
    worker = arena.worker("--max-memory-per-child", "150MB", concurrency=1).ready()
    arena.send("swells_later", "s", 400 * MIB)
    (ran,) = wait_for(lambda: arena.runs("s"))
    wait_for(lambda: ran.pid not in worker.children() and worker.children(), 20)
    assert not worker.said("killed")
    assert worker.stop() == 0


def test_what_ended_between_the_weighing_and_the_kill_is_left_alone(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker("--max-memory-per-child", "150MB", concurrency=1).ready()
    arena.arm("supervisor.weighed")
    arena.send("swells_for", "s", 400 * MIB, 1.0)
    supervisor = arena.stopped_at("supervisor.weighed")
    arena.all_ran(["s"])
    wait_for(lambda: not sum(q.leased for q in arena.stats()))
    arena.release("supervisor.weighed", supervisor)
    for n in range(3):
        arena.send("slow", n, 0.2)
    arena.all_ran(range(3))
    assert {arena.runs(n)[0].pid for n in ("s", 0, 1, 2)} == set(worker.children())


def test_a_limit_that_no_child_can_keep_is_refused_at_the_start(sqlite_arena):
    worker = sqlite_arena.worker("--max-memory-per-child", "20MB")
    assert worker.process.wait(180) == 2
    assert worker.said("a child is born with") and worker.said("or more")


def test_a_reload_to_code_that_weighs_more_than_the_limit_keeps_the_worker(sqlite_arena):
    arena = sqlite_arena
    arena.environment["SAMPLE_BALLAST_FILE"] = str(arena.folder / "ballast")
    worker = arena.worker("--max-memory-per-child", "150MB", concurrency=1).ready()
    (old,) = worker.children()
    (arena.folder / "ballast").write_text(str(200 * MIB))
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: worker.children() not in ([], [old]), 20)
    wait_for(lambda: old not in worker.children(), 20)
    arena.send("mark", "m")
    _ran_once(arena, ["m"])
    assert worker.said("have no limit of memory")
    assert worker.stop() == 0


# -- told apart


def test_events_say_why(sqlite_arena):
    arena = sqlite_arena
    arena.worker("-A", "listening:app", "--max-memory-per-child", "150MB", "--max-tasks-per-child", "2", concurrency=1).ready()
    arena.send("mark", 1)
    arena.send("swell", "s", 400 * MIB)
    wait_for(lambda: len([m for m in arena.marks()["causes"] if m.kind == "memory_limit"]) == 3, 60)
    arena.send("mark", 2)
    arena.send("mark", 3)
    wait_for(lambda: [m for m in arena.marks()["causes"] if m.kind == "max_tasks"], 20)


JOIN = """
import os
with open(os.environ["JOIN_GROUP"] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
"""


def _make_group(name, limit):
    """A control group of our own with so much memory; None where we may not make one."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    for controller, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        ours = [line.split(":", 2)[2] for line in lines if controller in line.split(":", 2)[1].split(",")]
        group = Path("/sys/fs/cgroup", controller, *(part.lstrip("/") for part in ours[:1]), name)
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / file).write_text(str(limit))
            return group
        except OSError:
            group.rmdir()
    return None


if (_tried := _make_group(f"umbel-try-{os.getpid()}", 300 * MIB)) is not None:  # not skipped elsewhere: nobody there can do it
    _tried.rmdir()

    def test_a_kill_by_the_kernel_is_told_apart(sqlite_arena):
        arena = sqlite_arena
        group = _make_group(f"umbel-{os.getpid()}", 300 * MIB)
        site = arena.folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(JOIN)
        here = {"PYTHONPATH": str(site), "JOIN_GROUP": str(group)}
        try:
            worker = arena.worker("-A", "listening:app", "--max-memory-per-child", "none", concurrency=1, **here).ready()
            arena.send("swell", "s", 600 * MIB)
            wait_for(lambda: arena.marks()["causes"], 30)
            assert {m.kind for m in arena.marks()["causes"]} == {"out_of_memory"}
            wait_for(lambda: worker.said("killed by the kernel"))
            wait_for(lambda: sum(q.dead for q in arena.stats()) == 1, 30)
            assert _dead_letters(arena)[0].error.startswith(b"killed by the kernel")
            arena.send("slow", "k", 0.5)
            os.kill(wait_for(lambda: arena.runs("k", "begin"))[0].pid, signal.SIGKILL)  # by us, and not by the kernel
            wait_for(lambda: worker.said("killed by SIGKILL"))
        finally:
            arena.close()
            wait_for(lambda: not (group / "cgroup.procs").read_text())
            group.rmdir()


def test_where_old_children_keep_all_places_it_is_said(sqlite_arena):
    """Each child of many takes a task that lasts, and is replaced: they must not become ever more, nor the worker stall without a word."""
    arena, gate = sqlite_arena, sqlite_arena.folder / "gate"
    worker = arena.worker("-P", "threads", "--max-tasks-per-child", "2", concurrency=2).ready()
    for n in range(8):
        arena.send("gated", f"long{n}", str(gate))
        wait_for(lambda n=n: arena.runs(f"long{n}", "begin"), 30)
        arena.send("mark", f"short{n}")
        arena.all_ran([f"short{n}"])
    assert len({arena.runs(f"long{n}", "begin")[0].pid for n in range(8)}) == 8
    arena.send("mark", "waits")
    wait_for(lambda: worker.said("1 of 1 children cannot be made: 8 old ones"), 40)
    assert not arena.runs("waits")
    gate.touch()
    arena.all_ran(["waits", *(f"long{n}" for n in range(8))])
    assert all(len(arena.runs(f"long{n}", "begin")) == 1 for n in range(8))
    assert worker.stop() == 0
