"""Nothing waits for a slow neighbour, and what is due later comes once."""

from __future__ import annotations

import time
from pathlib import Path

from tests.waiting import wait_for


def _rss(pid: int) -> int:
    """KiB of private and shared memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def test_tasks_that_slow_down_keep_nobody_waiting(sqlite_arena):
    """A hundred quick runs teach the child to claim many; then the same task takes 0.9 s each, with short ones behind."""
    arena = sqlite_arena
    arena.worker().ready()
    for n in range(100):
        arena.send("slow", f"quick{n}", 0)
    arena.all_ran([f"quick{n}" for n in range(100)])
    for n in range(4):
        arena.send("slow", f"late{n}", 0.9)
    for n in range(200):
        arena.send("mark", f"short{n}")
    arena.all_ran([f"late{n}" for n in range(4)] + [f"short{n}" for n in range(200)], timeout=30)
    marks = arena.marks()
    first = min(m[0].at for n, m in marks.items() if n.startswith("late"))
    shorts = sorted(marks[f"short{n}"][0].at - first for n in range(200))
    # two children, four tasks of 0.9 s in front: 1.8 s, and no short one waits behind a third
    assert shorts[-1] < 2 * 0.9 + 1.0
    assert all(len([m for m in marks[f"short{n}"] if m.kind == "run"]) == 1 for n in range(200))


def test_a_hundred_thousand_scheduled_messages_cost_the_worker_no_memory(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker(concurrency=1).ready()
    arena.send("mark", "warm")
    arena.all_ran(["warm"])
    child = worker.children()[0]
    before = _rss(child) + _rss(worker.pid)
    arena.app.tasks["mark"].delay_many(({"n": f"later{n}"} for n in range(100_000)), countdown=3600)
    arena.send("mark", "after", countdown=0.2)
    arena.all_ran(["after"])
    assert _rss(child) + _rss(worker.pid) - before < 8_000


def test_an_eta_is_met(sqlite_arena):
    """Each once, none early; the 99th percentile of an idle worker within 100 ms, as a bound on the better half here."""
    arena = sqlite_arena
    arena.worker().ready()
    due = {}
    for n in range(100):
        at = time.time() + 1.0 + n * 0.02
        due[str(n)] = at + time.monotonic() - time.time()
        arena.send("mark", n, countdown=at - time.time())
    arena.all_ran(range(100))
    late = sorted(arena.runs(n)[0].at - due[str(n)] for n in range(100))
    assert late[0] > -0.02
    assert late[50] < 0.1
    assert all(len(arena.runs(n)) == 1 for n in range(100))
    wait_for(lambda: len(arena.marks()) == 100)
