"""A fork beside threads that are inside a store's step: the copy has a whole store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.waiting import wait_for
from umbel import forks

FORKS = """
import os, sys, threading
from umbel import Umbel

app = Umbel("forks", broker=sys.argv[1])
job = app.task(name="job")(lambda n: None)


begun = threading.Barrier(3)


def send():
    job.delay(1)
    begun.wait()  # what a first call imports is Python's own business
    while True:
        job.delay(1)


for _ in range(2):
    threading.Thread(target=send, daemon=True).start()
begun.wait()
for n in range(int(sys.argv[2])):
    pid = os.fork()
    if not pid:
        job.apply_async((n,), task_id=f"copy-{n}")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print(n, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_program_that_forks_while_other_threads_send(tmp_path: Path, store: str) -> None:
    """Locks are in the memory that is copied, SQLite's own too: a fork within a step made copies that waited for ever."""
    url = "memory://forks" if store == "memory" else f"sqlite:///{tmp_path / 'umbel.db'}"
    script = [sys.executable, "-W", "ignore", "-c", FORKS, url, "25" if store == "sqlite" else "200"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, start_new_session=True) as program:
        try:
            wait_for(lambda: program.poll() is not None, 60)
        finally:
            try:
                os.killpg(program.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        assert program.returncode == 0


def test_a_step_may_fork_itself() -> None:
    """From a signal handler, or a destructor: it must not wait for itself."""
    with forks.step_lock():
        forks._before_fork()
        forks._after_fork()


def test_a_fork_waits_for_a_step() -> None:
    lock, order = forks.step_lock(), []
    inside, release = threading.Event(), threading.Event()

    def steps() -> None:
        with lock:
            inside.set()
            release.wait(180)
            order.append("step")

    def forked() -> None:
        forks._before_fork()
        order.append("fork")
        forks._after_fork()

    threads = [threading.Thread(target=steps), threading.Thread(target=forked)]
    threads[0].start()
    assert inside.wait(180)
    threads[1].start()
    wait_for(lambda: not forks._register.acquire(blocking=False) or forks._register.release(), 180)
    assert order == []
    release.set()
    for thread in threads:
        thread.join(180)
    assert order == ["step", "fork"]


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "PATIENCE", 0.05)
    inside, release = threading.Event(), threading.Event()
    lock = forks.step_lock()

    def hangs() -> None:
        with lock:
            inside.set()
            release.wait(180)

    thread = threading.Thread(target=hangs)
    thread.start()
    assert inside.wait(180)
    forks._before_fork()
    forks._after_fork()
    release.set()
    thread.join(180)
    assert not thread.is_alive()
