"""Many tasks at once in one process: limits, interruptions, deaths and the end reach the one that they are for."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest

from tests.process.arena import Arena
from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel.errors import EnqueueError, TaskFailed

POOLS = ["threads", "asyncio"]
ROUNDS = int(os.environ.get("UMBEL_TEST_ROUNDS", "400"))


def _pool(arena, pool, beside=10, processes=1, **environment):
    return arena.worker("-P", pool, "--processes", str(processes), concurrency=beside, **environment).ready()


def _begun(arena, n, times=1):
    return wait_for(lambda: len(marks := arena.runs(n, "begin")) >= times and marks, 30)


def _quiet_store(arena):
    wait_for(lambda: all(q.ready == q.leased == q.scheduled == 0 for q in arena.stats()), 30)


@pytest.mark.parametrize("pool", POOLS)
def test_both_kinds_of_tasks_run_in_both_pools(arena, pool):
    worker = _pool(arena, pool, 20)
    results = [arena.send(name, n, 0.1) for n in range(40) for name in ("context", "beside")]
    values = [one.get(180) for one in results]
    assert all(values[0::2])
    assert all(clean for _, clean in values[1::2])
    assert arena.send("progresses", 1).get(180) == [True, True, True]
    assert arena.send("retries", 1).get(180) == 2
    _quiet_store(arena)
    assert worker.stop() == 0


def test_a_thousand_coroutines_side_by_side_keep_their_contexts(sqlite_arena):
    _pool(sqlite_arena, "asyncio", 1000)
    results = [sqlite_arena.send("beside", n, 3.0) for n in range(1000)]
    values = [one.get(120) for one in results]
    assert all(clean for _, clean in values)
    assert max(most for most, _ in values) > 500, "they did not run side by side"


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("task", ["soft_steps", "soft_async"])
def test_the_soft_limit_reaches_one_of_many(arena, pool, task):
    worker = _pool(arena, pool)
    others = [arena.send("steps" if n % 2 else "anap", n, 1.0) for n in range(6)]
    arena.send(task, "late")
    _begun(arena, "late")
    wait_for(lambda: worker.said("was told that its soft time limit is over"), 20)
    for one in others:
        one.get(180)
    assert not arena.runs("late")
    wait_for(lambda: sum(q.dead for q in arena.stats()) == 1)
    assert len({arena.runs(n)[0].pid for n in range(6)} | {arena.runs("late", "begin")[0].pid}) == 1
    assert all(len(arena.runs(n)) == 1 for n in range(6))


@pytest.mark.timeout(600 + ROUNDS // 5)
@pytest.mark.parametrize("pool", POOLS)
def test_a_soft_limit_is_for_one_run_round_after_round(sqlite_arena, pool):
    """Tasks that end about when their limit is over, and tasks without one, take turns on the same threads and the same loop."""
    arena, kinds = sqlite_arena, ["tight", "tight_async", "free", "free_async"]
    worker = _pool(arena, pool, 40)
    [child] = worker.children()
    for kind in kinds:
        arena.app.tasks[kind].delay_many(
            (f"{kind}-{n}", 20.0 if n % 50 == 0 and "tight" in kind else 0.04 + n % 20 * 0.001) for n in range(ROUNDS // 4)
        )
    wait_for(lambda: all(q.ready == q.leased == q.scheduled == 0 for q in arena.stats()), 120 + ROUNDS / 10, every=0.2)
    marks = arena.marks()
    names = [f"{kind}-{n}" for kind in kinds for n in range(ROUNDS // 4)]
    assert [name for name in names if [m.kind for m in marks[name]] != ["begin"]] == [], "lost, run twice, or struck for another"
    dead = sum(q.dead for q in arena.stats())
    print(f"{pool}: {ROUNDS} rounds, {dead} were told")
    assert dead >= 2 * len(range(0, ROUNDS // 4, 50)), "those that go on and on were all told"
    assert worker.children() == [child], "a limit that nobody heard costs the process"
    assert not worker.said("stumbled")
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", *POOLS])
def test_a_coroutine_is_told_at_its_await(sqlite_arena, pool):
    sqlite_arena.worker("-P", pool).ready()
    assert sqlite_arena.send("soft_told", 1).get(180) == "told"


@pytest.mark.parametrize(("pool", "task"), [("threads", "endless"), ("asyncio", "endless"), ("asyncio", "endless_async")])
def test_the_hard_limit_ends_the_process_once_the_others_have_ended(arena, pool, task):
    worker = _pool(arena, pool)
    for n in range(4):
        arena.send("steps", n, 2.5)
        _begun(arena, n)
    arena.send(task, "late")
    _begun(arena, "late")
    wait_for(lambda: worker.said("the hard time limit of 1 of its 5 tasks is over"), 20)
    arena.send("mark", "next")
    arena.all_ran(["next", 0, 1, 2, 3])
    _quiet_store(arena)
    [dead] = [q.dead for q in arena.stats()]
    assert dead == 1
    assert all(len(arena.runs(n, "begin")) == 1 for n in range(4)), "they had time to end"
    assert arena.runs("next")[0].pid != arena.runs("late", "begin")[0].pid
    assert worker.said("killed: its hard time limit of 1 s is over")


def test_a_blocked_loop_is_told_of_and_killed_at_the_hard_limit(sqlite_arena):
    arena = sqlite_arena
    worker = _pool(arena, "asyncio", SAMPLE_DRAIN="1")
    for n in range(3):
        arena.send("anap", n, 0.5)
        _begun(arena, n)
    arena.send("blocks", "late", 60)
    _begun(arena, "late")
    wait_for(lambda: worker.said("the event loop is blocked") and worker.said("in blocks"), 20)
    arena.all_ran(range(3), 30)
    _quiet_store(arena)
    assert sum(q.dead for q in arena.stats()) == 1, "only the one that blocked"
    assert not arena.runs("late")


@pytest.mark.parametrize("pool", POOLS)
def test_poison_among_innocents(arena, pool):
    worker = _pool(arena, pool)
    for n in range(6):
        arena.send("steps" if n % 2 else "anap", n, 0.4)
    arena.send("suicide", "poison")
    arena.all_ran(range(6))
    wait_for(lambda: sum(q.dead for q in arena.stats()) == 1, 30)
    _quiet_store(arena)
    assert sum(q.dead for q in arena.stats()) == 1, "an innocent became a dead letter"
    assert len(arena.runs("poison", "begin")) == 3
    assert worker.said("poison")


@pytest.mark.parametrize("pool", POOLS)
def test_a_dead_childs_tasks_run_alone_and_within_a_second(arena, pool):
    worker = _pool(arena, pool, 4)
    for n in range(4):
        arena.send("steps", n, 0.5)
        _begun(arena, n)
    [child] = worker.children()
    os.kill(child, signal.SIGKILL)
    at = time.monotonic()
    arena.send("mark", "later")
    arena.all_ran([*range(4), "later"])
    spans = sorted((arena.runs(n, "begin")[-1].at, arena.runs(n)[-1].at) for n in range(4))
    assert spans[0][0] - at < 5.0
    for before, after in itertools.pairwise(spans):
        assert before[1] <= after[0], "two of them ran beside each other"
    assert spans[-1][1] <= arena.runs("later")[0].at, "something else ran beside one of them"
    assert sum(q.dead for q in arena.stats()) == 0


@pytest.mark.parametrize("pool", POOLS)
def test_what_cannot_be_begun_soon_goes_to_others(sqlite_arena, pool):
    """One process of two fills up with long tasks while it holds short ones."""
    arena = sqlite_arena
    first = _pool(arena, pool, 2)
    for n in range(300):
        arena.send("mark", f"fast{n}")
    arena.all_ran([f"fast{n}" for n in range(300)])
    first.process.send_signal(signal.SIGSTOP)
    os.kill(first.children()[0], signal.SIGSTOP)
    for n in range(2):
        arena.send("anap" if pool == "asyncio" else "steps", f"long{n}", 8.0)
    for n in range(30):
        arena.send("mark", n)
    os.kill(first.children()[0], signal.SIGCONT)
    first.process.send_signal(signal.SIGCONT)
    _begun(arena, "long0")
    _begun(arena, "long1")
    _pool(arena, pool, 2)
    arena.all_ran(range(30), 30)
    assert not arena.runs("long0"), "they waited for the long ones"
    arena.all_ran(["long0", "long1"])


@pytest.mark.parametrize("pool", POOLS)
def test_term_waits_for_all_that_runs(arena, pool):
    worker = _pool(arena, pool)
    for n in range(4):
        arena.send("steps" if n % 2 else "anap", n, 1.0)
        _begun(arena, n)
    assert worker.stop() == 0
    assert all(len(arena.runs(n)) == 1 for n in range(4))
    assert all(q.ready == q.leased == 0 for q in arena.stats())


@pytest.mark.parametrize("pool", POOLS)
def test_what_outlasts_the_drain_is_interrupted_and_given_back(arena, pool):
    worker = _pool(arena, pool, SAMPLE_DRAIN="0.5")
    for n in range(4):
        arena.send("steps" if n % 2 else "anap", n, 60)
        _begun(arena, n)
    assert worker.stop() == 75
    assert not any(arena.runs(n) for n in range(4))
    assert [(q.ready, q.leased, q.dead) for q in arena.stats()] == [(4, 0, 0)]


@pytest.mark.parametrize("pool", POOLS)
def test_quit_gives_back_at_once(sqlite_arena, pool):
    worker = _pool(sqlite_arena, pool)
    for n in range(4):
        sqlite_arena.send("slow", n, 60)
        _begun(sqlite_arena, n)
    assert worker.stop(signal.SIGQUIT) in (0, 75)
    assert [(q.ready, q.leased, q.dead) for q in sqlite_arena.stats()] == [(4, 0, 0)]


@pytest.mark.parametrize("pool", POOLS)
def test_one_of_many_is_cancelled(arena, pool):
    worker = _pool(arena, pool)
    results = {n: arena.send("steps" if n % 2 else "anap", n, 4.0) for n in range(6)}
    for n in range(6):
        _begun(arena, n)
    [child] = worker.children()
    for n in (0, 1, 2):
        results[n].revoke(terminate=True)
    for n in (0, 1, 2):
        wait_for(lambda n=n: results[n].state == "REVOKED", 20)
    for n in (3, 4, 5):
        results[n].get(180)
    assert worker.children() == [child]
    assert not any(arena.runs(n) for n in (0, 1, 2))


@pytest.mark.parametrize("pool", POOLS)
def test_hup_makes_new_children_and_the_old_ones_finish(sqlite_arena, pool):
    arena = sqlite_arena
    worker = _pool(arena, pool)
    arena.send("steps", "old", 3.0)
    old = _begun(arena, "old")[0].pid
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: any(pid != old for pid in worker.children()), 20)
    wait_for(lambda: arena.send("mark", "x") and any(m.pid != old for m in arena.runs("x")), 20, every=0.2)
    arena.all_ran(["old"])
    assert len(arena.runs("old", "begin")) == 1


def test_usr1_shows_where_coroutines_wait(sqlite_arena):
    worker = _pool(sqlite_arena, "asyncio")
    sqlite_arena.send("anap", 1, 5)
    _begun(sqlite_arena, 1)
    worker.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: worker.said("runs 1 tasks") and worker.said("waits: ") and worker.said("in anap"), 20)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("how", ["exit", "raise", "return"])
def test_a_copy_that_a_task_forks_ends(sqlite_arena, pool, how):
    _pool(sqlite_arena, pool)
    sqlite_arena.send("forks", 1, how)
    sqlite_arena.all_ran([1])
    assert len(sqlite_arena.runs(1)) == 1
    sqlite_arena.send("mark", 2)
    sqlite_arena.all_ran([2])


def test_a_failure_is_told(sqlite_arena):
    _pool(sqlite_arena, "asyncio")
    with pytest.raises(TaskFailed, match="no such"):
        sqlite_arena.send("raises", 1).get(180)


@pytest.mark.parametrize("pool", POOLS)
def test_a_server_that_is_killed_loses_nothing(tmp_path, tmp_path_factory, redis_server, pool):
    """What runs through the outage is settled once, and what came before and after is run once."""
    with RedisServer(tmp_path_factory.mktemp("redis"), "--appendfsync", "always", aof=True) as server:
        arena = Arena(tmp_path, server.url, lease="1.5")
        try:
            _pool(arena, pool)
            for n in range(3):
                arena.send("steps" if n % 2 else "anap", f"through{n}", 2.0)
                _begun(arena, f"through{n}")
            server.kill()
            server.start()
            names = [f"through{n}" for n in range(3)]
            for n in range(20):
                wait_for(lambda n=n: _sent(arena, n), 30)
                names.append(str(n))
            arena.all_ran(names)
            _quiet_store(arena)
            assert {name: len(arena.runs(name)) for name in names} == dict.fromkeys(names, 1)
        finally:
            arena.close()


def _sent(arena, n):
    try:
        return arena.send("mark", n, task_id=f"mark-{n}")
    except EnqueueError:
        return None
