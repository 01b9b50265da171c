"""Much of everything on Redis: a gigabyte that waits, a fleet that idles."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.process.arena import Arena
from tests.process.conftest import KILLS
from tests.process.wires import nothing_is_left
from tests.servers import RedisServer
from tests.waiting import wait_for

LONG = KILLS > 3
GIGABYTE = 1 << 30
WAITING = GIGABYTE if LONG else GIGABYTE // 20
BODY = 200_000
"""Bytes; a task may carry 256 KiB."""


def _private(pid: int) -> int:
    """Bytes of a process' own memory."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) * 1024 for row in rows if row.startswith("Private"))


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore:.*bytes:UserWarning")
def test_a_gigabyte_that_waits_is_worked_off_with_flat_memory(tmp_path, tmp_path_factory, redis_server):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        arena = Arena(tmp_path, server.url)
        try:
            arena.app.conf.override(warn_payload=1 << 20)
            count = WAITING // BODY
            arena.app.tasks["weigh"].delay_many({"n": f"w{n}", "ballast": "x" * BODY} for n in range(count))
            assert server.figure("memory", "used_memory") > WAITING
            begun = time.monotonic()
            arena.send("mark", "among")
            assert time.monotonic() - begun < 1.0
            worker = arena.worker(concurrency=2).ready()
            children = wait_for(lambda: len(found := worker.children()) == 2 and found)
            highest = 0

            def done() -> bool:
                nonlocal highest
                highest = max(highest, *(_private(pid) for pid in (worker.pid, *children)))
                return bool(arena.runs("among"))

            wait_for(done, 240, every=0.05)
            nothing_is_left(arena)
            assert worker.children() == children
            print(f"{count} messages of {BODY} bytes: a process of the worker had {highest >> 20} MiB of its own at most")
            assert highest < 40 << 20
        finally:
            arena.close()


def test_idle_workers_ask_almost_nothing(tmp_path, tmp_path_factory, redis_server):
    """Figures for 200 of them: ``python -m bench.idle_fleet``."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        arena = Arena(tmp_path, server.url, lease="20")
        try:
            for worker in [arena.worker() for _ in range(3)]:
                worker.ready()
            wait_for(lambda: server.figure("clients", "blocked_clients") == 6, 20)
            begun, before = time.monotonic(), server.client_commands()
            time.sleep(4)  # the passing of time is what is measured
            asked, span = server.client_commands() - before, time.monotonic() - begun
            print(f"3 workers of 2 children: {asked / span:.1f} commands/s")
            assert asked / span < 6 * 1.0 + 3 * 1.3, "more than one a second per child, and one for each worker's lease and upkeep"
        finally:
            arena.close()
