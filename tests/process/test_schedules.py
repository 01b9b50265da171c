"""Schedules fired by several real supervisors, which are killed, stopped and replaced: each tick once, and none is lost."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.process.arena import Arena
from tests.process.test_redis_clocks import skewed
from tests.waiting import wait_for
from umbel import every
from umbel.facets import require
from umbel.ticks import Origin, Ticks

STEP = 400
"""Ms between ticks."""


class Calls:
    """What schedules called, by what the tasks left behind."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena

    def of(self, name: str) -> dict[int, set[str]]:
        """Tick to the ids of its calls. (The same call may run twice, where its worker was killed.)"""
        found: dict[int, set[str]] = defaultdict(set)
        for what, marks in self.arena.marks().items():
            schedule, at, tick = what.rpartition("@")
            if at and schedule == name:
                found[int(tick)] |= {mark.kind for mark in marks}
        return dict(sorted(found.items()))

    def beyond(self, name: str, tick: int, count: int = 3) -> None:
        """Wait for so many later ticks."""
        try:
            wait_for(lambda: sum(one > tick for one in self.of(name)) >= count, 60, 0.02)
        except AssertionError:
            logs = "\n".join(worker.log.read_text()[-3000:] for worker in self.arena.workers)
            raise AssertionError(f"{self.of(name)}\n{logs}") from None

    def last(self, name: str) -> int:
        return max(self.of(name), default=0)

    def whole(self, name: str, step: int = STEP) -> list[int]:
        """The ticks, after checking that each had one call, and that none is missing between the first and the last. (Later ticks may run
        while an earlier one is still with a worker that was killed: what it held comes back with its lease.)"""
        up_to = self.last(name)
        span = list(range(min(self.of(name)), up_to + 1, step))
        try:
            wait_for(lambda: {*span} <= {*self.of(name)}, 60, 0.02)
        except AssertionError:
            raise AssertionError(f"ticks were lost: {sorted({*span} - {*self.of(name)})} of {span}") from None
        calls = self.of(name)
        assert {tick: len(ids) for tick, ids in calls.items() if len(ids) != 1} == {}, "a tick was fired twice"
        assert [tick for tick in calls if tick <= up_to] == span, "a call for a tick that the schedule does not have"
        return span


@contextmanager
def store(arena: Arena):
    broker = arena.app.make_broker()
    broker.open()
    try:
        yield broker
    finally:
        broker.close()


def entries(arena: Arena):
    with store(arena) as broker:
        return {entry.name: entry for entry in require(broker, Ticks).timetable().entries}


def add(arena: Arena, name: str = "s", **options) -> None:
    arena.app.schedules.add(name, arena.app.tasks["ticked"], every(STEP / 1000, missed="all", **options))


def test_two_supervisors_fire_each_tick_once(arena):
    add(arena)
    for _ in range(2):
        arena.worker(concurrency=1).ready()
    calls = Calls(arena)
    calls.beyond("s", calls.last("s"), 8)
    calls.whole("s")


@pytest.mark.parametrize("point", ["scheduler.before_fire", "scheduler.fired"])
def test_the_one_that_fires_is_killed(arena, point):
    """Of three supervisors one dies right before, or right after, the store has fired; twice."""
    add(arena)
    for _ in range(3):
        arena.worker(concurrency=1).ready()
    calls = Calls(arena)
    for _ in range(2):
        calls.beyond("s", calls.last("s"), 1)
        arena.arm(point)
        killed = arena.stopped_at(point)
        os.kill(killed, signal.SIGKILL)
        arena.release(point, killed)
    calls.beyond("s", calls.last("s"))
    calls.whole("s")
    assert sum(worker.process.poll() is None for worker in arena.workers) == 1, "two of three are dead: else nothing is proved"


@pytest.mark.parametrize("point", ["scheduler.before_fire", "scheduler.fired"])
def test_the_only_one_is_killed_and_another_follows(arena, point):
    """Nobody is there for some ticks; ``missed="all"`` makes up for each of them."""
    add(arena)
    arena.worker(concurrency=1).ready()
    calls = Calls(arena)
    calls.beyond("s", calls.last("s"), 1)
    arena.arm(point)
    os.kill(arena.stopped_at(point), signal.SIGKILL)
    arena.worker(concurrency=1).ready()
    calls.beyond("s", calls.last("s"))
    calls.whole("s")


def test_one_that_was_stopped_for_long_fires_nothing_twice(arena):
    """It holds a tick in its hands while others go on for several more, and then asks the store for it."""
    add(arena)
    first, _ = (arena.worker(concurrency=1).ready() for _ in range(2))
    calls = Calls(arena)
    calls.beyond("s", calls.last("s"), 1)
    arena.arm("scheduler.before_fire")
    stopped = arena.stopped_at("scheduler.before_fire")
    assert stopped in [worker.pid for worker in arena.workers]
    os.kill(stopped, signal.SIGSTOP)
    calls.beyond("s", calls.last("s"), 4)
    arena.release("scheduler.before_fire", stopped)
    os.kill(stopped, signal.SIGCONT)
    calls.beyond("s", calls.last("s"), 4)
    calls.whole("s")
    assert first.process.poll() is None


def test_after_an_outage(arena):
    """Nobody was there for three hours: one call for all, one for each, or none. And what is due goes first, before a newer release (this
    one has no schedules in its code) removes them."""
    now = datetime.now(UTC)
    start = now - timedelta(hours=3, minutes=30)
    calls, ticked = Calls(arena), arena.app.tasks["ticked"]
    missed = {
        policy: arena.app.schedules.definition(ticked, every(3600, start=start, missed=policy)).planned(policy)
        for policy in ("one", "all", "skip")
    }
    with store(arena) as broker:
        since = broker.ping() - 3 * 3_600_000
        assert require(broker, Ticks).declare_schedules("older", 600, since, list(missed.values()))
    arena.worker().ready()
    wait_for(lambda: not entries(arena), 30, 0.02)
    wait_for(lambda: len(calls.of("one")) >= 1 and len(calls.of("all")) >= 3, 30, 0.02)
    ticks = [round((start + timedelta(hours=n)).timestamp() * 1000) for n in (1, 2, 3)]
    assert list(calls.of("all")) == ticks
    assert list(calls.of("one")) == ticks[-1:], "the newest stands for all"
    assert calls.of("skip") == {}
    assert arena.workers[0].said("3 ticks were missed, and are not made up for")


def test_what_changes_at_run_time_is_in_force_within_a_heartbeat(arena):
    arena.worker(concurrency=1).ready()
    add(arena)
    calls = Calls(arena)
    calls.beyond("s", 0, 2)
    arena.app.schedules.pause("s")
    paused_at = entries(arena)["s"].done
    add(arena, "t")
    calls.beyond("t", 0, 2)
    assert calls.last("s") <= paused_at, "the store refuses at once, whatever the supervisor knows"
    arena.app.schedules.resume("s")
    calls.beyond("s", paused_at, 2)
    assert min(tick for tick in calls.of("s") if tick > paused_at) > paused_at + STEP, "the pause is not made up for"
    arena.app.schedules.remove("t")
    gone = calls.last("t")
    calls.beyond("s", calls.last("s"), 4)
    assert calls.last("t") <= gone + STEP


def of_release(name: str, **spans: float) -> dict[str, str]:
    return {"UMBEL_RELEASE": name, "SAMPLE_SCHEDULES": json.dumps(spans)}


def test_a_deploy_with_old_and_new_workers_mixed(arena):
    """The newer code changes one, drops one, and adds one, while workers of both run, and old ones start again."""
    calls, second = Calls(arena), STEP / 1000
    add(arena, "made")
    arena.worker(concurrency=1, **of_release("1", kept=second, changed=second, dropped=second)).ready()
    calls.beyond("kept", 0, 2)
    arena.worker(concurrency=1, **of_release("2", kept=second, changed=2 * second, fresh=second)).ready()
    wait_for(lambda: "fresh" in entries(arena), 30, 0.02)
    newer = entries(arena)
    assert sorted(newer) == ["changed", "fresh", "kept", "made"]
    assert newer["made"].origin == Origin.RUNTIME
    dropped = calls.last("dropped")
    arena.worker(concurrency=1, **of_release("1", kept=second, changed=second, dropped=second)).ready()
    wait_for(lambda: arena.workers[2].said("a newer release's schedules are in force"), 30, 0.02)
    calls.beyond("fresh", calls.last("fresh"), 4)
    # the span from the last tick of the old rule to the first of the new one is either's
    wait_for(lambda: [b - a for a, b in pairwise(calls.of("changed"))][-2:] == [2 * STEP] * 2, 30, 0.02)
    assert {name: (one.revision, one.rule) for name, one in entries(arena).items()} == {n: (e.revision, e.rule) for n, e in newer.items()}
    for name in ("kept", "made", "fresh"):
        calls.whole(name)
    assert calls.last("dropped") <= dropped + STEP
    changed = calls.of("changed")
    assert all(len(ids) == 1 for ids in changed.values())
    spans = [b - a for a, b in pairwise(changed)]
    assert set(spans) <= {STEP, 2 * STEP}, "no tick of either rule was lost where one took over from the other"


def test_one_that_is_killed_before_it_declares(arena):
    """Nothing of the newer code is in force then; another worker of that release puts it in force, and no tick is lost."""
    calls, second = Calls(arena), STEP / 1000
    arena.worker(concurrency=1, **of_release("1", kept=second)).ready()
    calls.beyond("kept", 0, 1)
    arena.arm("scheduler.before_declare")
    newer = of_release("2", kept=second, fresh=second)
    arena.worker(concurrency=1, **newer)
    killed = arena.stopped_at("scheduler.before_declare")
    os.kill(killed, signal.SIGKILL)
    arena.release("scheduler.before_declare", killed)
    assert sorted(entries(arena)) == ["kept"]
    arena.worker(concurrency=1, **newer).ready()
    calls.beyond("fresh", 0, 3)
    calls.whole("kept")


def test_a_worker_whose_clock_is_an_hour_fast(tmp_path, redis_server):
    """The store's clock decides: no tick is early, none is fired twice."""
    redis_server.command("FLUSHALL")
    arena = Arena(tmp_path, redis_server.url)
    try:
        add(arena)
        arena.worker(concurrency=1, **skewed(tmp_path / "fast", 3600)).ready()
        calls = Calls(arena)
        calls.beyond("s", 0, 3)
        arena.worker(concurrency=1, **skewed(tmp_path / "slow", -3600)).ready()
        calls.beyond("s", calls.last("s"), 4)
        ticks = calls.whole("s")
        with store(arena) as broker:
            assert ticks[-1] <= broker.ping()
    finally:
        arena.close()


def test_an_idle_schedule_costs_nothing(tmp_path, redis_server):
    """Between ticks nothing is asked but what a heartbeat asks."""
    redis_server.command("FLUSHALL")
    arena = Arena(tmp_path, redis_server.url, lease="600")
    try:
        arena.app.schedules.add("yearly", arena.app.tasks["ticked"], every(365 * 86_400))
        arena.worker(concurrency=1).ready()
        calls = "cmdstat_evalsha:calls="

        def asked() -> int:
            return int(str(redis_server.command("INFO", "commandstats")).partition(calls)[2].partition(",")[0])

        wait_for(lambda: entries(arena)["yearly"].fired == 0)
        counts = [asked()]
        wait_for(lambda: counts.append(asked()) or len(counts) > 40, 30, 0.1)
        # 4 s: at most two rounds of upkeep (one each 2 s), and what the child asks for every 5 s
        assert counts[-1] - counts[5] <= 8, counts
    finally:
        arena.close()
