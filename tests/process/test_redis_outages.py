"""A Redis that dies, stands still, has no room or forgets its scripts, under real workers: nothing lost, nothing run twice."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.arena import Arena
from tests.process.conftest import KILLS
from tests.process.wires import insist, nothing_is_left
from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel import EnqueueRefused

LEASE = 1.5
RESTARTS = min(KILLS, 20)
STILL = LEASE * 1.4
SHM = Path("/dev/shm")
BACK = 5.0
"""Seconds after the server answers again within which every worker works again."""

pytestmark = pytest.mark.timeout(600 + 30 * RESTARTS)


@pytest.fixture
def server(tmp_path_factory, redis_server) -> Iterator[RedisServer]:
    """One of one's own, without persistence."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def arena(tmp_path, server) -> Iterator[Arena]:
    made = Arena(tmp_path, server.url, lease=str(LEASE))
    yield made
    made.close()


@pytest.mark.chaos
@pytest.mark.parametrize("fsync, restarts", [("everysec", RESTARTS), ("always", RESTARTS if RESTARTS > 3 else 1)])
def test_a_server_killed_again_and_again_loses_nothing(tmp_path, tmp_path_factory, redis_server, fsync, restarts):
    """Tasks come in all the time; one runs through each outage; every third outage is longer than a lease.

    With ``everysec``, a server whose disk is slow to answer fsync puts off writing, for up to 2 s, what it has said to have
    written; nobody can make that good. So that one's disk is memory here.
    """
    folder = Path(tempfile.mkdtemp(dir=SHM)) if fsync == "everysec" and SHM.is_dir() else tmp_path_factory.mktemp("redis")
    with RedisServer(folder, "--appendfsync", fsync, aof=True) as server:
        arena = Arena(tmp_path, server.url, lease=str(LEASE))
        try:
            workers = [arena.worker().ready() for _ in range(2)]
            names: list[str] = []
            delays = []
            for restart in range(restarts):
                insist(arena, "slow", f"through{restart}", 1.0)
                wait_for(lambda restart=restart: arena.runs(f"through{restart}", "begin"), 20)
                with Stream(arena, f"{restart}-") as stream:
                    wait_for(lambda stream=stream: len(stream.sent) > 10)
                    server.kill()
                    if restart % 3 == 2:
                        time.sleep(LEASE * 1.25)
                    server.start()
                    delays.append(_all_are_back(arena, workers, time.monotonic()))
                names += [*stream.sent, f"through{restart}"]
                arena.all_ran(names)
            nothing_is_left(arena)
            assert {name: len(arena.runs(name)) for name in names} == dict.fromkeys(names, 1)
            assert all(len(arena.runs(f"through{n}", "begin")) == 1 for n in range(restarts))
            assert max(delays) <= BACK, delays
            print(f"{fsync}: {restarts} kills, {len(names)} tasks, back after at most {max(delays):.2f} s")
        finally:
            arena.close()
            server.kill()
            shutil.rmtree(folder)


class Stream:
    """Somebody who sends all the time, and insists."""

    def __init__(self, arena: Arena, prefix: str) -> None:
        self.sent: list[str] = []
        self._arena = arena
        self._prefix = prefix
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(180)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            name = f"{self._prefix}{len(self.sent)}"
            insist(self._arena, "slow", name, 0.01)
            self.sent.append(name)


def _all_are_back(arena, workers, since) -> float:
    """Wait until each child of each worker has run something new; answers with the longest delay."""
    children = {pid for worker in workers for pid in worker.children()}

    def firsts():
        found: dict[int, float] = {}
        for marks in arena.marks().values():
            for mark in marks:
                if mark.kind == "begin" and mark.at > since and mark.pid in children:
                    found[mark.pid] = min(found.get(mark.pid, mark.at), mark.at)
        return found if found.keys() == children else None

    return max(wait_for(firsts, 30, every=0.05).values()) - since


def test_a_server_without_room_refuses_new_work_and_old_work_ends(arena, server):
    worker = arena.worker().ready()
    for name in ("a", "b"):
        arena.send("slow", name, 1.0)
    wait_for(lambda: arena.runs("a", "begin") and arena.runs("b", "begin"))
    for n in range(20):
        arena.send("flaky", f"waits{n}")  # claimed, failed, scheduled and run again without room
    arena.send("slow", "victim", 0.5)
    server.command("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(EnqueueRefused, match=r"was not stored.*maxmemory.*CONFIG SET maxmemory") as refused:
        arena.app.tasks["mark"].delay("refused")
    print(refused.value)
    with pytest.raises(EnqueueRefused, match="nothing was stored before it"):
        arena.app.tasks["mark"].delay_many({"n": f"refused{n}"} for n in range(10))
    os.kill(wait_for(lambda: arena.runs("victim", "begin"), 20)[0].pid, signal.SIGKILL)  # buried, and a new child admitted
    names = ["a", "b", "victim", *(f"waits{n}" for n in range(20))]
    arena.all_ran(names)
    nothing_is_left(arena)
    wait_for(lambda: len(worker.children()) == 2)
    server.command("CONFIG", "SET", "maxmemory", "0")
    arena.send("mark", "after")
    arena.all_ran(["after"])
    assert {name: len(arena.runs(name)) for name in names} == dict.fromkeys(names, 1)
    assert not any(name.startswith("refused") for name in arena.marks())
    assert len(arena.runs("victim", "begin")) == 2


@pytest.mark.chaos
def test_a_server_that_stands_still_for_longer_than_a_lease_is_not_taken_for_dead(arena, server):
    """By SIGSTOP, and with many kills also by CLIENT PAUSE. One worker gives up waiting for replies meanwhile, the other one does not."""
    hasty = arena.worker(UMBEL_BROKER=f"{server.url}?socket_timeout=1").ready()
    patient = arena.worker().ready()
    time.sleep(LEASE)  # until both may rescue; there is no trace of that to wait for
    names: list[str] = []
    ways = ("stopped", "paused") if KILLS > 3 else ("stopped",)
    for how in ways:
        through = [f"through-{how}{n}" for n in range(4)]
        for name in through:
            arena.send("slow", name, 1.5)
        wait_for(lambda through=through: all(arena.runs(name, "begin") for name in through))
        waiting = [f"waits-{how}{n}" for n in range(50)]
        for name in waiting:
            arena.send("mark", name)
        begun = time.monotonic()
        if how == "paused":
            server.command("CLIENT", "PAUSE", int(STILL * 1000), "ALL")
        else:
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(STILL)
            os.kill(server.pid, signal.SIGCONT)
        arena.send("mark", f"late-{how}")
        assert time.monotonic() - begun >= STILL * 0.9, "it did not stand still"
        names += [*through, *waiting, f"late-{how}"]
        arena.all_ran(names)
    nothing_is_left(arena)
    assert {name: len(arena.runs(name)) for name in names} == dict.fromkeys(names, 1)
    assert [len(arena.runs(name, "begin")) for name in names if name.startswith("through")] == [1] * 4 * len(ways)
    for worker in (hasty, patient):
        assert not worker.said("is dead"), worker.log.read_text()
        assert not worker.said("was taken"), worker.log.read_text()


def test_a_server_that_forgets_its_scripts_all_the_time_is_told_again(arena, server):
    workers = [arena.worker().ready() for _ in range(2)]
    over = threading.Event()

    def flush():
        while not over.wait(0.001):
            server.command("SCRIPT", "FLUSH")

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        names = [str(n) for n in range(500)]
        for name in names:
            arena.send("mark", name)
        arena.all_ran(names)
        nothing_is_left(arena)
    finally:
        over.set()
        flusher.join()
    assert {name: len(arena.runs(name)) for name in names} == dict.fromkeys(names, 1)
    for worker in workers:
        assert not worker.said("broker:"), worker.log.read_text()
        assert worker.stop() == 0


def test_a_server_that_comes_back_as_it_was_some_time_ago_is_served_from_there(arena, server):
    """What it had when it last saved itself runs, though it ran before: nobody else knows that it did."""
    worker = arena.worker().ready()
    children = set(worker.children())
    early, late = [f"early{n}" for n in range(20)], [f"late{n}" for n in range(20)]
    for name in early:
        arena.send("mark", name)
    arena.all_ran(early)
    arena.send("slow", "held", 1.0)
    wait_for(lambda: arena.runs("held", "begin"))
    server.command("SAVE")
    for name in late:
        arena.send("slow", name, 0)
    arena.all_ran([*late, "held"])
    nothing_is_left(arena)
    server.kill()
    server.start()
    back = time.monotonic()
    arena.send("mark", "after")
    arena.all_ran(["after"])
    assert arena.runs("after")[0].at - back <= BACK
    nothing_is_left(arena)
    # whoever had exchanged since then cannot go on, as did the one that settled what was held
    wait_for(lambda: len(now := set(worker.children())) == 2 and now != children)
    assert len(arena.runs("held")) == 2
    assert all(len(arena.runs(name)) == 1 for name in [*early, *late])
    assert not worker.said("Traceback"), worker.log.read_text()
