"""What an idle worker is made of: what it has imported, and what its processes are called."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.arena import _session
from tests.waiting import wait_for

NOT_IN_A_SUPERVISOR = {
    "umbel.app": "the user's side",
    "umbel.task": "the user's side",
    "umbel.result": "the user's side",
    "umbel.codec": "arguments are a child's business",
    "umbel.worker.child": "a supervisor runs nothing",
    "umbel.worker.executor": "a supervisor runs nothing",
    "umbel.worker.softlimit": "it would bring asyncio",
    "umbel.worker.template": "another process",
    "asyncio": "3 MiB (redis-py brings it all the same)",
    "multiprocessing": "2 MiB",
    "http.client": "nothing is served here",
    "sample": "the user's code",
}
MODULES = """
import os, signal, sys
def tell(*_):
    with open(os.environ["TELL_MODULES"] + f"/{os.getpid()}.part", "w") as file:
        file.write("\\n".join(sys.modules))
    os.rename(file.name, file.name.removesuffix(".part") + ".modules")
signal.signal(signal.SIGWINCH, tell)
"""


def test_a_supervisor_imports_nothing_that_it_does_not_need(arena, broker_url):
    """2 to 3 MiB for each of these, for as long as the worker lives."""
    site = arena.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(MODULES)
    worker = arena.worker(concurrency=1, PYTHONPATH=str(site), TELL_MODULES=str(arena.folder)).ready()
    worker.process.send_signal(signal.SIGWINCH)  # umbel leaves it alone
    modules = wait_for(lambda: list(arena.folder.glob(f"{worker.pid}.modules")))[0].read_text().split()
    unwanted = NOT_IN_A_SUPERVISOR.keys() - ({"asyncio"} if broker_url.startswith("redis") else set())
    assert sorted(unwanted & set(modules)) == []
    assert "umbel.worker.supervisor" in modules


def test_a_child_imports_nothing_that_its_template_has_not(arena):
    """What each child imported, compiled and read for its first claim was 2 MiB that they could have shared."""
    site = arena.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(MODULES)
    worker = arena.worker(concurrency=1, PYTHONPATH=str(site), TELL_MODULES=str(arena.folder)).ready()
    arena.send("mark", "m")
    arena.all_ran(["m"])

    def modules(pid):
        os.kill(pid, signal.SIGWINCH)
        return set(wait_for(lambda: list(arena.folder.glob(f"{pid}.modules")))[0].read_text().split())

    assert modules(worker.children()[0]) - modules(worker.template()) == set()


def _titles(worker):
    return sorted(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in _session(worker.pid))


def test_processes_say_what_they_are(sqlite_arena):
    pytest.importorskip("setproctitle")
    arena = sqlite_arena
    worker = arena.worker("-A", "listening:app", "-Q", "default", concurrency=1).ready()
    fixed = ["umbel herald: sample", "umbel supervisor: sample, queues default", "umbel template: sample"]
    wait_for(lambda: _titles(worker) == ["umbel child: sample, idle", *fixed])
    arena.send("slow", "s", 3)
    wait_for(lambda: _titles(worker)[0].startswith("umbel child: sample, runs slow since "))
    wait_for(lambda: _titles(worker)[0] == "umbel child: sample, idle")
    assert len(arena.runs("s")) == 1


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_child_of_a_pool_says_how_many_it_runs(sqlite_arena, pool):
    pytest.importorskip("setproctitle")
    arena = sqlite_arena
    worker = arena.worker("-P", pool, "--processes", "1", concurrency=3).ready()
    wait_for(lambda: _titles(worker)[0] == "umbel child: sample, idle")
    for n in range(2):
        arena.send("slow", n, 3)
    wait_for(lambda: _titles(worker)[0] == "umbel child: sample, runs 2 of 3")
    wait_for(lambda: _titles(worker)[0] == "umbel child: sample, idle")


def test_without_the_package_there_are_no_titles(sqlite_arena):
    arena = sqlite_arena
    hidden = arena.folder / "hidden"
    hidden.mkdir()
    (hidden / "setproctitle.py").write_text("raise ImportError('hidden')")
    worker = arena.worker(concurrency=1, PYTHONPATH=str(hidden)).ready()
    arena.send("mark", "m")
    arena.all_ran(["m"])
    assert not [title for title in _titles(worker) if title.startswith("umbel ")]
    assert worker.stop() == 0
