"""Queues of releases, with real workers of two releases beside each other."""

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from tests.process.arena import Arena, Worker
from tests.waiting import wait_for
from umbel import Umbel
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.events import TaskEnqueued
from umbel.facets import Inspects, Serves, require


class Release:
    """One release: its callers and its workers."""

    def __init__(self, arena: Arena, name: str) -> None:
        self.arena, self.name = arena, name
        self.pids: set[int] = set()

    def worker(self, *arguments: str, concurrency: int = 1) -> Worker:
        worker = self.arena.worker(*arguments, concurrency=concurrency, UMBEL_RELEASE=self.name, UMBEL_VERSIONED_QUEUES="1").ready()
        self.pids |= set(worker.children())
        return worker

    def send(self, *numbers: object, task: str = "mark", **options) -> list[str]:
        """From a process that has just begun, which knows nothing yet; answers with the queues that the calls went to."""
        with closing(
            Umbel("sample", broker=self.arena.app.settings.broker, release=self.name, versioned_queues=True, set_as_current=False)
        ) as caller:
            queues = []
            caller.events.subscribe(TaskEnqueued, lambda event: queues.append(event.queue))
            for number in numbers:
                caller.send_task(task, args=(number,), **options)
        return queues

    def ran(self, number: object) -> bool:
        """Did this release's workers run it, once and for all?"""
        marks = self.arena.runs(number)
        return len(marks) == 1 and marks[0].pid in self.pids


@pytest.fixture
def releases(arena):
    return Release(arena, "a"), Release(arena, "b")


def served(arena: Arena) -> dict[str, bool]:
    broker = arena.app.make_broker()
    broker.open()
    with closing(broker):
        return {one.queue: one.alive for one in require(broker, Serves).served()}


def test_each_release_runs_its_own_calls(arena, releases):
    a, b = releases
    a.worker()
    b.worker()
    wait_for(lambda: {"default", "default@a", "default@b"} <= served(arena).keys())
    assert set(a.send(*range(10))) == {"default@a"} and set(b.send(*range(10, 20))) == {"default@b"}
    arena.all_ran(range(20))
    assert all(a.ran(n) for n in range(10)) and all(b.ran(n) for n in range(10, 20))


def test_without_a_worker_of_its_release_a_call_goes_to_all(arena, releases):
    a, b = releases
    assert a.send(1) == ["default"], "nobody lives"
    b.worker()
    assert a.send(2) == ["default"], "only another release lives"
    arena.all_ran([1, 2])


def test_what_a_killed_release_leaves_is_taken_over(arena, releases):
    """Ready, scheduled, in its hands, between two attempts: all of it runs, and each call that succeeded runs once."""
    a, b = releases
    old = a.worker()
    assert a.send("held", task="slow", kwargs={"seconds": 600}) == ["default@a"]
    wait_for(lambda: arena.runs("held", "begin"))
    assert set(a.send(*range(20))) == {"default@a"}
    assert set(a.send("soon", countdown=0.5)) == set(a.send("later", countdown=3)) == {"default@a"}
    assert a.send("flaky", task="flaky") == ["default@a"]
    old.kill_tree()
    b.worker(concurrency=2)  # one of them gets what was held, and goes on with it
    arena.all_ran([*range(20), "soon", "later", "flaky"])
    wait_for(lambda: len(arena.runs("held", "begin")) == 2, 30)
    assert all(b.ran(n) for n in [*range(20), "soon", "later", "flaky"])


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_what_a_release_leaves_in_good_order_is_taken_over_at_once(arena, releases, pool):
    a, b = releases
    old = a.worker()
    b.worker("-P", pool)
    a.send("late", countdown=2)
    assert old.stop() == 0
    assert not served(arena)["default@a"]
    arena.all_ran(["late"])
    assert b.ran("late")
    assert a.send("after") == ["default"]
    arena.all_ran(["after"])


def test_a_worker_of_a_project_that_gave_up_versions_takes_what_is_left(arena, releases):
    a, _ = releases
    old = a.worker()
    a.send("left", countdown=0.5)
    assert old.stop() == 0
    arena.worker(concurrency=1).ready()
    arena.all_ran(["left"])


def test_a_worker_that_begins_nothing_more_serves_nothing(arena, releases):
    a, b = releases
    old = a.worker()
    b.worker()
    old.process.send_signal(signal.SIGTSTP)
    wait_for(lambda: not served(arena)["default@a"], 20)
    assert a.send(1) == ["default"]
    arena.all_ran([1])
    assert b.ran(1)


def test_a_dead_letter_of_an_old_release_can_be_redriven(arena, releases):
    a, b = releases
    old = a.worker()
    a.send("dies", task="fails", kwargs={"seconds": 0})
    wait_for(lambda: sum(one.dead for one in arena.stats()), 20)
    assert old.stop() == 0
    b.worker()
    broker = arena.app.make_broker()
    broker.open()
    with closing(broker):
        assert require(broker, Inspects).redrive() == 1
    wait_for(lambda: len(arena.runs("dies", "begin")) == 2, 30)
    assert arena.runs("dies", "begin")[1].pid in b.pids


def test_a_paused_queue_is_paused_in_all_releases(arena, releases):
    """Also in one that comes later: its workers ask before their first claim."""
    a, _ = releases
    old = a.worker()
    broker = arena.app.make_broker()
    broker.open()
    with closing(broker):
        require(broker, Inspects).pause_queue("default")
        assert old.stop() == 0
        a.worker("-Q", "default,proof")
        wait_for(lambda: served(arena)["default@a"])
        assert a.send("waits") == ["default@a"]
        assert a.send("proof", queue="proof") == ["proof@a"]
        arena.all_ran(["proof"])  # so its child has claimed from all its queues since
        assert not arena.runs("waits")
        require(broker, Inspects).resume_queue("default")
        arena.all_ran(["waits"])


RELOADED = """
import os
from pathlib import Path
from umbel import Umbel

app = Umbel("reloaded", release=Path("release").read_text(), versioned_queues=True, lease_ttl=2, heartbeat=0.5)

@app.task(name="whose")
def whose(n):
    with open("ran", "a") as file:
        file.write(f"{n} {app.settings.release}\\n")
"""


def test_a_reload_brings_another_release(tmp_path, broker_url):
    """HUP loads the code that is there now: the worker says so, and takes over what its own older release has left."""
    (tmp_path / "reloaded.py").write_text(RELOADED)
    (tmp_path / "release").write_text("1")
    (tmp_path / "ran").touch()
    environment = {**os.environ, "UMBEL_BROKER": broker_url}
    broker = make_broker(broker_url, BrokerSettings("reloaded"))
    broker.open()

    def alive():
        return [one.queue for one in require(broker, Serves).served() if one.alive]

    def send(number):
        with closing(Umbel("reloaded", broker=broker_url, release=number, versioned_queues=True, set_as_current=False)) as caller:
            caller.send_task("whose", (number,), countdown=1)

    command = [sys.executable, "-m", "umbel", "-A", "reloaded:app", "worker", "-c", "1"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: alive() == ["default", "default@1"], 30)
        send("1")
        (tmp_path / "release").write_text("2")
        worker.send_signal(signal.SIGHUP)
        wait_for(lambda: alive() == ["default", "default@2"], 30)
        [seen] = require(broker, Inspects).workers()
        assert b'"release":"2"' in seen.about and b"default@2" in seen.about
        send("2")
        wait_for(lambda: len((tmp_path / "ran").read_text().splitlines()) == 2, 30)
        ran = sorted((tmp_path / "ran").read_text().splitlines())
        assert ran[0] in ("1 1", "1 2") and ran[1] == "2 2"
    finally:
        worker.terminate()
        assert worker.wait(180) == 0
        broker.close()
