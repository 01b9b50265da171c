"""Users' subscribers hear what happens in the supervisor, in a process that can do no harm."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.arena import _session
from tests.waiting import wait_for


def _worker(arena):
    return arena.worker("-A", "listening:app", concurrency=1).ready()


def _kill_running(arena, n):
    result = arena.send("slow", n, 0.5)
    os.kill(wait_for(lambda: arena.runs(n, "begin"))[0].pid, signal.SIGKILL)
    arena.all_ran([n])
    return result.id


def _told(arena, kind="ChildDied"):
    return arena.marks().get(kind, [])


def test_a_childs_death_is_told_with_the_message_that_it_ran(arena):
    worker = _worker(arena)
    blamed = _kill_running(arena, "s")
    (mark,) = wait_for(lambda: _told(arena))
    assert mark.kind == blamed
    assert mark.pid not in (worker.pid, worker.template(), arena.runs("s")[0].pid), "it is a process of its own"
    assert worker.stop() == 0


@pytest.mark.parametrize(("task", "kind"), [("catastrophe", "hard"), ("soft", "soft"), ("soft_async", "soft")])
def test_a_limit_is_told(sqlite_arena, task, kind):
    _worker(sqlite_arena)
    sqlite_arena.send(task, "t")
    (mark,) = wait_for(lambda: _told(sqlite_arena, "TaskTimedOut"), 20)
    assert mark.kind == kind


def test_a_subscriber_that_ends_its_process_is_replaced(sqlite_arena):
    arena = sqlite_arena
    _worker(arena)
    deadly = Path(f"{arena.marks_file}.deadly")
    deadly.touch()
    _kill_running(arena, "a")
    wait_for(lambda: not deadly.exists())
    _kill_running(arena, "b")
    first, second = wait_for(lambda: _told(arena) if len(_told(arena)) == 2 else None)
    assert first.pid != second.pid


def test_a_subscriber_that_hangs_keeps_nothing(sqlite_arena):
    arena = sqlite_arena
    worker = _worker(arena)
    Path(f"{arena.marks_file}.hangs").touch()
    for n in range(3):
        _kill_running(arena, n)
    assert len(_told(arena)) == 1
    assert worker.stop(timeout=10) == 0
    assert not _session(worker.pid)


def test_what_happens_last_is_told_too(sqlite_arena):
    arena = sqlite_arena
    worker = _worker(arena)
    Path(f"{arena.marks_file}.slow").touch()
    arena.send("slow", "s", 60)
    wait_for(lambda: arena.runs("s", "begin"))
    worker.stop(signal.SIGQUIT)
    assert len(_told(arena)) == 1
    assert not _session(worker.pid)


def test_after_the_templates_death_events_are_told_by_the_next_one(sqlite_arena):
    arena = sqlite_arena
    worker = _worker(arena)
    _kill_running(arena, "a")
    (first,) = wait_for(lambda: _told(arena))
    os.kill(worker.template(), signal.SIGKILL)
    wait_for(lambda: first.pid not in _session(worker.pid))
    _kill_running(arena, "b")
    wait_for(lambda: _told(arena)[1:])


def test_nobody_listens_and_nothing_is_made(sqlite_arena):
    worker = sqlite_arena.worker(concurrency=1).ready()
    _kill_running(sqlite_arena, "a")
    assert len(_session(worker.pid)) == 3  # supervisor, template, child
