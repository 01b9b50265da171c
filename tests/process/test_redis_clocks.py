"""Time on Redis: long tasks, late tasks, wrong clocks. Each task runs once, and none before its time."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.process.arena import Arena
from tests.process.conftest import KILLS
from tests.process.wires import nothing_is_left

LONG = KILLS > 3
LEASE, ETA, SPAN = (10.0, 30.0, 60.0) if LONG else (1.2, 3.0, 4.0)
"""Seconds: a lease, what is longer than two of them to wait, and what is longer than three of them to run."""
SKEW = Path(__file__).parent / "skew"

pytestmark = pytest.mark.timeout(600 + 3 * SPAN)


def skewed(path: Path, seconds: float) -> dict[str, str]:
    """Variables of a worker whose wall clock is wrong; what ``path`` says can be changed while it runs."""
    path.write_text(str(seconds), encoding="ascii")
    return {"SKEW_FILE": str(path), "PYTHONPATH": os.pathsep.join([str(SKEW), os.environ.get("PYTHONPATH", "")])}


def step(path: Path, seconds: float) -> None:
    """Whole or not at all: a clock that is read meanwhile shows the old time or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(str(seconds), encoding="ascii")
    fresh.rename(path)


@pytest.mark.chaos
def test_waiting_and_running_for_longer_than_a_lease_on_wrong_clocks(tmp_path, redis_server):
    """Of three workers one is an hour ahead, and one steps an hour ahead and then two back in the middle of its task."""
    redis_server.command("FLUSHALL")
    arena = Arena(tmp_path, redis_server.url, lease=str(LEASE))
    stepping = tmp_path / "stepping"
    this_hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    try:
        workers = [
            arena.worker(),
            arena.worker(**skewed(tmp_path / "ahead", 3600)),
            arena.worker(**skewed(stepping, 0)),
        ]
        for worker in workers:
            worker.ready()
        assert this_hour not in workers[1].log.read_text(), "its clock is right: nothing is proved"
        now, due = time.monotonic(), {}
        for n in range(20):
            arena.send("mark", f"countdown{n}", countdown=ETA + n / 100)
            arena.send("mark", f"eta{n}", eta=datetime.now(UTC) + timedelta(seconds=ETA + n / 100))
            due |= {f"countdown{n}": now + ETA + n / 100, f"eta{n}": now + ETA + n / 100}
        long = [f"long{n}" for n in range(5)]  # one child is left, for what is due
        for name in long:
            arena.send("slow", name, SPAN)
        arena.send("mark", "expires", expires=600)
        time.sleep(1)
        step(stepping, 3600)
        time.sleep(1)
        step(stepping, -3600)
        arena.all_ran([*due, *long, "expires"], SPAN + 30)
        nothing_is_left(arena)
        assert {name: len(arena.runs(name)) for name in due} == dict.fromkeys(due, 1)
        assert {name: len(arena.runs(name, "begin")) for name in long} == dict.fromkeys(long, 1)
        early = {name: arena.runs(name)[0].at - at for name, at in due.items() if arena.runs(name)[0].at < at - 0.05}
        assert not early, "before their time"
        busy = {arena.runs(name)[0].pid for name in long}
        assert all(busy & set(worker.children()) for worker in workers), "a worker had no long task: nothing is proved of it"
        for worker in workers:
            assert not worker.said("is dead"), worker.log.read_text()
            assert not worker.said("was taken"), worker.log.read_text()
    finally:
        arena.close()
