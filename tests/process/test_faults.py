"""Poison, zombies, held GILs, limits, hostages, unknown tasks: on real workers."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.process.arena import _session
from tests.waiting import wait_for


def _broker(arena):
    broker = arena.app.make_broker()
    broker.open()
    return broker


def _dead(arena, queue="default"):
    """Dead letters, by (reason, id); on brokers that cannot show them, their count."""
    broker = _broker(arena)
    try:
        return sum(q.dead for q in broker.stats())
    finally:
        broker.close()


def _dead_reasons(arena):
    broker = _broker(arena)
    try:
        return [listed.reason for listed in broker.browse(None, "dead").messages]
    finally:
        broker.close()


def test_a_task_that_kills_its_process_runs_three_times_and_all_others_once(arena):
    arena.worker().ready()
    arena.send("suicide", "bad")
    others = [f"n{i}" for i in range(300)]
    for n in others:
        arena.send("mark", n)
    arena.all_ran(others)
    wait_for(lambda: _dead(arena) == 1, 20)
    assert len(arena.runs("bad", "begin")) == 3
    assert {n: len(arena.runs(n)) for n in others} == dict.fromkeys(others, 1)


def test_its_dead_letter_says_poison(sqlite_arena):
    sqlite_arena.worker().ready()
    sqlite_arena.send("suicide", "bad")
    wait_for(lambda: _dead(sqlite_arena) == 1, 20)
    assert _dead_reasons(sqlite_arena) == ["poison"]


def test_on_worker_lost_dead_runs_once(sqlite_arena):
    sqlite_arena.worker().ready()
    sqlite_arena.send("suicide_once", "bad")
    wait_for(lambda: _dead(sqlite_arena) == 1, 20)
    assert len(sqlite_arena.runs("bad", "begin")) == 1
    assert _dead_reasons(sqlite_arena) == ["worker_lost"]


def test_a_task_that_holds_the_gil_keeps_its_lease(arena):
    arena.worker(concurrency=1).ready()
    arena.worker(concurrency=1).ready()
    arena.send("hold_gil", "g", 4.5)  # more than twice the lease of 2 s
    arena.all_ran(["g"])
    assert len(arena.runs("g", "begin")) == 1


def test_a_catastrophic_regular_expression_is_stopped_by_the_hard_limit(sqlite_arena):
    sqlite_arena.worker(concurrency=1).ready()
    sqlite_arena.send("catastrophe", "c")
    sqlite_arena.send("mark", "after")
    sqlite_arena.all_ran(["after"])
    wait_for(lambda: _dead(sqlite_arena) == 1, 20)
    assert _dead_reasons(sqlite_arena) == ["time_limit"]
    assert len(sqlite_arena.runs("c", "begin")) == 1


@pytest.mark.parametrize("task", ["soft", "soft_async"])
def test_the_soft_limit_ends_a_task_and_not_its_child(sqlite_arena, task):
    worker = sqlite_arena.worker(concurrency=1).ready()
    children = worker.children()
    sqlite_arena.send(task, "s")
    sqlite_arena.send("mark", "after")
    sqlite_arena.all_ran(["after"])
    assert _dead_reasons(sqlite_arena) == ["failed"]
    assert worker.children() == children


def test_coroutines_run(arena):
    arena.worker().ready()
    for n in range(20):
        arena.send("coroutine", n)
    arena.all_ran(range(20))


def test_a_stopped_worker_that_wakes_after_its_lease_is_fenced(sqlite_arena):
    arena = sqlite_arena
    zombie = arena.worker(concurrency=1).ready()
    result = arena.send("tracked", "z", 2.0)
    wait_for(lambda: arena.runs("z", "begin"))
    _stop_outside_of_the_store(arena, zombie)
    assert not arena.runs("z", "run"), "it had ended before: nothing is proved"
    arena.worker(concurrency=1).ready()
    wait_for(lambda: len(arena.runs("z", "run")) == 1, 30)
    second = arena.runs("z", "run")[0].pid
    os.killpg(zombie.pid, signal.SIGCONT)
    wait_for(lambda: len(arena.runs("z", "run")) == 2 or not any(p == arena.runs("z", "begin")[0].pid for p in _session(zombie.pid)), 20)
    wait_for(lambda: zombie.said("lease"), 20)
    broker = _broker(arena)
    record = broker.record(result.id)
    broker.close()
    assert record.state == "SUCCESS"
    assert record.result == str(second).encode(), "the zombie's late result was taken"
    arena.send("mark", "later")
    arena.all_ran(["later"])


def _stop_outside_of_the_store(arena, worker):
    """SIGSTOP may strike in the middle of a transaction, and then holds SQLite's lock: let go and stop again."""

    def stopped():
        os.killpg(worker.pid, signal.SIGSTOP)
        try:
            arena.send("mark", f"probe-{time.monotonic()}")
        except Exception:
            os.killpg(worker.pid, signal.SIGCONT)
            return False
        return True

    wait_for(stopped, 30)


def test_a_long_task_takes_no_hostages(arena):
    """One long task among a thousand short ones, two children: the short ones never wait for it."""
    arena.worker().ready()
    for n in range(50):
        arena.send("mark", f"warm{n}")
    arena.all_ran([f"warm{n}" for n in range(50)])
    for n in range(500):
        arena.send("mark", f"a{n}")
    arena.send("slow", "long", 30)
    for n in range(500):
        arena.send("mark", f"b{n}")
    arena.all_ran([f"{c}{n}" for c in "ab" for n in range(500)], timeout=25)
    assert not arena.runs("long"), "the long one had ended: nothing is proved"
    assert len(arena.runs("long", "begin")) == 1


def test_unknown_tasks_are_parked_and_not_lost(sqlite_arena):
    worker = sqlite_arena.worker(concurrency=1).ready()
    sqlite_arena.send("of_the_next_release", 1)
    sqlite_arena.send("mark", "after")
    sqlite_arena.all_ran(["after"])
    wait_for(lambda: worker.said("parked"))
    broker = _broker(sqlite_arena)
    assert [listed.envelope.parked > 0 for listed in broker.browse(None, "scheduled").messages] == [True]
    broker.close()


def test_term_drains_and_exits_0(arena):
    worker = arena.worker().ready()
    arena.send("slow", "s", 1.0)
    wait_for(lambda: arena.runs("s", "begin"))
    assert worker.stop(signal.SIGTERM) == 0
    assert len(arena.runs("s")) == 1
    assert not _session(worker.pid)


def test_a_drain_out_of_time_gives_back_uncharged_and_exits_75(tmp_path, broker_url):
    from tests.process.arena import Arena

    arena = Arena(tmp_path, broker_url, drain="0.5")
    try:
        worker = arena.worker().ready()
        arena.send("slow", "s", 30)
        wait_for(lambda: arena.runs("s", "begin"))
        assert worker.stop(signal.SIGTERM) == 75
        broker = _broker(arena)
        assert sum(q.ready for q in broker.stats()) == 1
        broker.close()
    finally:
        arena.close()


def test_quit_gives_back_at_once(arena):
    worker = arena.worker().ready()
    arena.send("slow", "s", 30)
    wait_for(lambda: arena.runs("s", "begin"))
    worker.stop(signal.SIGQUIT, timeout=10)
    broker = _broker(arena)
    assert sum(q.ready for q in broker.stats()) == 1
    broker.close()


def test_hup_makes_new_children_while_old_ones_finish(arena):
    worker = arena.worker(concurrency=1).ready()
    old, gate = worker.children(), arena.folder / "gate"
    arena.send("gated", "s", str(gate))
    wait_for(lambda: arena.runs("s", "begin"))
    worker.process.send_signal(signal.SIGHUP)
    arena.send("mark", "new")
    arena.all_ran(["new"])
    gate.touch()
    assert arena.runs("new")[0].pid not in old
    arena.all_ran(["s"])
    assert len(arena.runs("s", "begin")) == 1
    wait_for(lambda: not set(old) & set(worker.children()))


def test_orphans_die_with_their_supervisor(arena):
    worker = arena.worker().ready()
    arena.send("slow", "s", 60)
    wait_for(lambda: arena.runs("s", "begin"))
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    wait_for(lambda: not _session(worker.pid), 5)


def test_an_eta_is_kept_and_runs_once(arena):
    arena.worker(concurrency=1).ready()
    due = {}
    for n in range(20):
        arena.send("mark", n, countdown=0.5 + n * 0.05)
        due[n] = time.monotonic() + 0.5 + n * 0.05
    arena.all_ran(range(20))
    for n in range(20):
        (run,) = arena.runs(n)
        assert run.at >= due[n] - 0.15, "before its time"


def test_revoking_with_terminate_ends_a_running_task(sqlite_arena):
    arena = sqlite_arena
    arena.worker(concurrency=1).ready()
    result = arena.send("tracked", "t", 60)
    wait_for(lambda: arena.runs("t", "begin"))
    result.revoke(terminate=True)
    wait_for(lambda: result.state == "REVOKED", 15)
    arena.send("mark", "after")
    arena.all_ran(["after"])
    assert len(arena.runs("t", "begin")) == 1
    assert not arena.runs("t")


def test_revoking_what_waits_keeps_it_from_running(sqlite_arena):
    arena = sqlite_arena
    result = arena.send("tracked", "w", 0)
    result.revoke()
    arena.send("mark", "after")
    arena.worker(concurrency=1).ready()
    arena.all_ran(["after"])
    assert result.state == "REVOKED"
    assert not arena.runs("w", "begin")


def test_tstp_is_quiet_and_usr1_tells_what_runs(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker(concurrency=1).ready()
    arena.send("slow", "s", 2.0)
    wait_for(lambda: arena.runs("s", "begin"))
    worker.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: worker.said("runs delivery") and worker.said("in slow"), 10)
    worker.process.send_signal(signal.SIGTSTP)
    wait_for(lambda: worker.said("quiet"))
    arena.send("mark", "later")
    arena.all_ran(["s"])
    wait_for(lambda: not worker.children())
    assert not arena.runs("later")
    assert worker.stop() == 0


def test_a_worker_comes_back_by_itself_when_redis_was_away(tmp_path_factory):
    from tests.conftest import IN_CI
    from tests.process.arena import Arena
    from tests.servers import REDIS_SERVER, RedisServer

    if REDIS_SERVER is None:
        pytest.fail("redis-server is not installed") if IN_CI else pytest.skip("redis-server is not installed")
    with RedisServer(tmp_path_factory.mktemp("aof"), aof=True) as server:
        arena = Arena(tmp_path_factory.mktemp("arena"), server.url)
        try:
            arena.worker().ready()
            for n in range(50):
                arena.send("mark", f"a{n}")
            arena.all_ran([f"a{n}" for n in range(50)])
            arena.send("slow", "through", 3.0)
            wait_for(lambda: arena.runs("through", "begin"))
            server.kill()
            server.start()
            for n in range(50):
                arena.send("mark", f"b{n}")
            arena.all_ran([*(f"b{n}" for n in range(50)), "through"])
        finally:
            arena.close()


def test_orphans_of_a_dead_template_die_with_their_supervisor(arena):
    worker = arena.worker().ready()
    arena.send("slow", "s", 60)
    child = wait_for(lambda: arena.runs("s", "begin"))[0].pid
    os.kill(worker.template(), signal.SIGKILL)
    wait_for(lambda: worker.said("the template is gone"))
    assert child in _session(worker.pid), "a child went with its template"
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    wait_for(lambda: child not in _session(worker.pid), 5)


def test_what_is_finished_is_settled_before_a_slow_task_begins(sqlite_arena):
    """In one batch: a quick task, and one of unknown length behind it."""
    arena = sqlite_arena
    arena.worker(concurrency=1).ready()
    for n in range(20):
        arena.send("tracked", f"warm{n}", 0)  # so that the quick one's length is known, and a claim takes several
    arena.all_ran([f"warm{n}" for n in range(20)])
    arena.arm("child.in_exchange")
    arena.send("mark", "provoking")
    stopped = arena.stopped_at("child.in_exchange")
    quick = arena.send("tracked", "quick", 0)
    arena.send("slow", "long", 30)
    arena.release("child.in_exchange", stopped)
    wait_for(lambda: arena.runs("long", "begin"))
    wait_for(lambda: quick.state == "SUCCESS", 5)
    assert not arena.runs("long")


@pytest.mark.parametrize("how", ["exit", "raise", "return"])
def test_the_copy_of_a_task_that_forks_never_goes_on_as_the_child(arena, how):
    worker = arena.worker(concurrency=1).ready()
    children = worker.children()
    for n in range(5):
        arena.send("forks", n, how)
    arena.send("mark", "after")
    arena.all_ran([*range(5), "after"])
    assert worker.children() == children
    assert worker.stop() == 0
    assert {n: len(arena.runs(n)) for n in range(5)} == dict.fromkeys(range(5), 1)
    assert _dead(arena) == 0


def test_a_program_that_a_task_started_can_be_terminated(sqlite_arena):
    sqlite_arena.worker(concurrency=1).ready()
    sqlite_arena.send("terminates", "t")
    sqlite_arena.all_ran(["t"], 30)


def _template_of(worker):
    return next(pid for pid in _session(worker.process.pid) if pid != worker.process.pid and pid not in worker.children())


def test_a_child_and_its_template_may_die_at_once(sqlite_arena):
    worker = sqlite_arena.worker(concurrency=1).ready()
    (child,), template = worker.children(), _template_of(worker)
    worker.process.send_signal(signal.SIGSTOP)
    os.kill(template, signal.SIGSTOP)  # it never tells how its child ended
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: child not in worker.children(), 20)
    os.kill(template, signal.SIGKILL)
    wait_for(lambda: template not in _session(worker.process.pid), 20)
    worker.process.send_signal(signal.SIGCONT)
    sqlite_arena.send("mark", "after")
    sqlite_arena.all_ran(["after"], 30)
    assert worker.stop() == 0


def test_term_drains_while_the_template_is_being_replaced(sqlite_arena):
    worker = sqlite_arena.worker(concurrency=1).ready()
    sqlite_arena.send("slow", "s", 2.0)
    wait_for(lambda: sqlite_arena.runs("s", "begin"), 20)
    os.kill(_template_of(worker), signal.SIGKILL)
    wait_for(lambda: "the template is gone" in worker.log.read_text(), 20, every=0.002)
    assert worker.stop() == 0
    assert len(sqlite_arena.runs("s")) == 1


def test_quit_ends_a_worker_whose_template_does_not_answer(sqlite_arena):
    worker = sqlite_arena.worker(concurrency=1).ready()
    template, children = _template_of(worker), worker.children()
    os.kill(template, signal.SIGSTOP)
    os.kill(children[0], signal.SIGKILL)
    wait_for(lambda: "killed by" in worker.log.read_text() or "gone" in worker.log.read_text(), 20)
    time.sleep(0.5)  # it asks for another child, and never hears of one; there is no trace of that to wait for
    assert worker.stop(signal.SIGQUIT, 30) == 0
