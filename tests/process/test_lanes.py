"""Rates, locks and keys under real workers: what the tasks and the store wrote down says that they hold, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from tests.process.conftest import KILLS
from tests.waiting import wait_for
from umbel.facets import Inspects, Limits, Place, Remembers, require
from umbel.gcra import CATCH_UP

HERE = Path(__file__).parent
RATE = 40
"""Of the task ``rated``, a second."""
LOCKS = 10_000 if KILLS >= 20 else 2_000


class Store:
    """The arena's store, looked at directly."""

    def __init__(self, arena) -> None:
        self.broker = arena.app.make_broker()
        self.broker.open()

    def close(self) -> None:
        self.broker.close()

    def handed_out(self, ids):
        """When the store handed each of these out for the last time, in order of time, by its own clock; and how many it had handed out
        before and got back."""
        remembers = require(self.broker, Remembers)
        found = [record for id in ids if (record := remembers.record(id)) is not None]
        return sorted(record.started for record in found), sum(json.loads(record.result) - 1 for record in found)

    def waiting(self, queue):
        """Every message that is ready in a queue."""
        found, cursor = [], None
        while True:
            page = require(self.broker, Inspects).browse(queue, Place.READY, 1000, cursor)
            found += page.messages
            cursor = page.cursor
            if cursor is None:
                return found

    def nothing_stands(self):
        return not any(one.ready or one.scheduled or one.leased for one in self.broker.stats())

    def left_over(self, url):
        """What the store still keeps of lanes, limits and keys."""
        while self.broker.maintain().more:
            pass
        if url.startswith("sqlite:"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection:
                tables = ("lane", "lane_group", "lane_limit", "lane_hold", "message_key", "throttle_key")
                return [row for table in tables for row in connection.execute(f"SELECT '{table}', * FROM {table}")]
        from redis import Redis

        with closing(Redis.from_url(url)) as client:
            names = [key.partition(b"}:")[2] for key in client.scan_iter(count=1000)]
        known = {b"queues", b"workers", b"rules", b"overrides", b"served", b"lost"}
        return [name for name in names if name[:2] in (b"l:", b"i:", b"x:", b"y:", b"g:", b"u:", b"e:", b"b:") and name not in known]


@pytest.fixture
def store(arena):
    made = Store(arena)
    yield made
    made.close()


def settled(store, timeout=60.0):
    wait_for(store.nothing_stands, timeout, 0.05)


class TestRate:
    def test_two_workers_and_one_of_them_restarted_on_the_way(self, arena, store):
        """Counted by the store's own times, so that a slow machine makes nobody guilty: it can only hand out later."""
        first, second = arena.worker().ready(), arena.worker().ready()
        numbers = [f"r{i}" for i in range(160)]
        ids = [arena.send("rated", n).id for n in numbers]
        wait_for(lambda: len(arena.marks()) > 40, 60)
        assert first.stop() == 0
        third = arena.worker().ready()
        arena.all_ran(numbers, 120)
        settled(store)
        times, returned = store.handed_out(ids)
        assert len(times) == len(ids)
        # what the stopped worker had not begun gave its token back: it was taken in one window, and used in another
        assert_within(times, RATE, 1 + returned)
        assert {mark.pid for n in numbers for mark in arena.runs(n)} & set(third.children() + second.children())
        assert all(len(arena.runs(n)) == 1 for n in numbers)

    def test_beside_it_an_unlimited_one_does_not_wait(self, arena, store):
        arena.worker().ready()
        _override(store, "task:rated", 1, 3_600_000)
        for i in range(50):
            arena.send("rated", f"r{i}")
        numbers = [f"m{i}" for i in range(50)]
        for n in numbers:
            arena.send("mark", n)
        arena.all_ran(numbers)
        assert sum(len(arena.runs(f"r{i}")) for i in range(50)) <= 2

    def test_a_rate_that_is_raised_is_in_force_for_what_waits(self, arena, store):
        arena.worker().ready()
        _override(store, "task:rated", 1, 3_600_000)
        numbers = [f"r{i}" for i in range(20)]
        for n in numbers:
            arena.send("rated", n)
        wait_for(lambda: sum(one.ready for one in arena.stats()) == 19 and arena.marks(), 30)
        assert require(store.broker, Limits).clear("task:rated")
        arena.all_ran(numbers)


def _override(store, rule, count, period):
    from umbel.lane import Rule

    require(store.broker, Limits).override(rule, Rule(count, period, 1))


def assert_within(times, rate, burst):
    """No window of any length has more than its share, the burst, and what 100 ms give."""
    interval = 1000 / rate
    windows = ((j - i + 1, times[j] - times[i]) for i in range(len(times)) for j in range(i, len(times)))
    worst = max(count - (span + CATCH_UP + 1) / interval for count, span in windows)  # one ms for times that are whole ones
    assert worst <= burst, f"{worst:.2f} more than the rate allows in some window: {[b - a for a, b in pairwise(times)]}"


class TestLock:
    def test_never_two_of_a_key_and_a_holders_death_frees_it(self, arena, store, tmp_path):
        arena.worker(concurrency=4).ready()
        arena.worker(concurrency=4).ready()
        keys = {f"{key}-{i}": f"key{key}" for key in range(5) for i in range(40)}
        dying = {f"dies-{key}": f"key{key}" for key in range(3)}
        for place, (n, key) in enumerate(keys.items()):
            if place % 40 == 20 and f"dies-{key[3:]}" in dying:
                arena.send("locked_dies_once", f"dies-{key[3:]}", key, str(tmp_path / f"died-{key}"))
            arena.send("locked", n, key, 0.005)
        everything = {**keys, **dying}
        arena.all_ran(everything, 120)
        settled(store)
        for key in sorted(set(keys.values())):
            assert_one_at_a_time(arena, [n for n, its in everything.items() if its == key])
        assert all(len(arena.runs(n, "begin")) == 2 for n in dying)
        assert store.left_over(arena.environment["UMBEL_BROKER"]) == []

    def test_no_slot_is_held_while_waiting(self, arena, tmp_path):
        arena.worker().ready()
        gate = tmp_path / "gate"
        arena.send("locked_gated", "holder", "k", str(gate))
        wait_for(lambda: arena.runs("holder", "begin"), 30)
        waiting = [f"w{i}" for i in range(30)]
        for n in waiting:
            arena.send("locked", n, "k")
        numbers = [f"m{i}" for i in range(30)]
        for n in numbers:
            arena.send("mark", n)
        arena.all_ran(numbers)
        assert not any(arena.runs(n, "begin") for n in waiting)
        gate.touch()
        arena.all_ran(waiting)

    @pytest.mark.parametrize("target", ["child", "tree"])
    def test_the_holder_is_killed_and_the_next_runs(self, arena, tmp_path, target):
        first = arena.worker().ready()
        gate = tmp_path / "gate"
        arena.send("locked_gated", "holder", "k", str(gate))
        [begun] = wait_for(lambda: arena.runs("holder", "begin"), 30)
        arena.send("locked", "next", "k")
        second = arena.worker().ready()
        assert not arena.runs("next", "begin")
        os.kill(begun.pid, signal.SIGKILL) if target == "child" else first.kill_tree()
        wait_for(lambda: len(arena.runs("holder", "begin")) == 2, 60)
        assert not arena.runs("next", "begin"), "the holder's message is in front of its lane"
        gate.touch()
        arena.all_ran(["holder", "next"])
        assert second.process.poll() is None

    def test_nothing_is_left_over(self, arena, store):
        arena.worker().ready()
        arena.app.tasks["locked"].delay_many((f"n{i}", f"key{i}") for i in range(LOCKS))
        settled(store, 200)
        assert len(arena.marks()) == LOCKS
        assert store.left_over(arena.environment["UMBEL_BROKER"]) == []


def assert_one_at_a_time(arena, numbers):
    """Of a key: each begin is followed by its own end, unless its process was killed."""
    marks = sorted((mark.at, mark.kind, n, mark.pid) for n in numbers for mark in arena.marks()[n])
    running = None
    for _, kind, n, pid in marks:
        if kind == "begin":
            assert running is None or not Path(f"/proc/{running[1]}").exists(), f"{n} began while {running[0]} ran: {marks}"
            running = (n, pid)
        else:
            assert running == (n, pid), f"{n} ended, and {running} was to run: {marks}"
            running = None


CALLERS = """
import sample, sys
from concurrent.futures import ThreadPoolExecutor
sample.app.conf.override(broker=sys.argv[1])
task = sample.app.tasks["unique"]
print("ready", flush=True)
sys.stdin.readline()
def call(i):
    made = task.delay(f"{sys.argv[2]}-{i}", "k")
    return made.duplicate_of or "", made.id
with ThreadPoolExecutor(4) as pool:
    for duplicate_of, id in pool.map(call, range(4)):
        print(f"{id},{duplicate_of}")
"""


class TestUnique:
    def test_sixteen_producers(self, arena, store):
        """Four processes of four threads call at once: one message, and all the others say whose duplicates they are."""
        url = arena.environment["UMBEL_BROKER"]
        command = [sys.executable, "-c", CALLERS, url]
        pipe = subprocess.PIPE
        callers = [
            subprocess.Popen([*command, str(i)], cwd=HERE, env=arena.environment, stdin=pipe, stdout=pipe, text=True) for i in range(4)
        ]
        for caller in callers:
            assert caller.stdout.readline() == "ready\n"
        for caller in callers:
            caller.stdin.write("\n")
            caller.stdin.flush()
        answers = [line.split(",") for caller in callers for line in caller.communicate(timeout=180)[0].split()]
        accepted = [id for id, duplicate_of in answers if not duplicate_of]
        assert len(answers) == 16 and len(accepted) == 1
        assert {duplicate_of for _, duplicate_of in answers} == {"", *accepted}
        arena.worker().ready()
        settled(store)
        assert sum(len(marks) for marks in arena.marks().values()) == 2
        assert store.left_over(url) == []

    @pytest.mark.parametrize("how", ["ends", "dies", "fails", "retries"])
    def test_free_after_each_end(self, arena, store, how):
        first = arena.send("unique", "a", "k", how)
        assert arena.send("unique", "b", "k").duplicate_of == first.id
        arena.worker().ready()
        settled(store)
        begun = {"ends": 1, "dies": 3, "fails": 1, "retries": 2}
        assert len(arena.runs("a", "begin")) == begun[how]
        assert arena.send("unique", "c", "k").duplicate_of is None
        arena.all_ran(["c"])

    @pytest.mark.parametrize("how", ["cancel", "purge", "expire"])
    def test_free_when_it_never_ran(self, arena, store, how):
        first = arena.send("unique", "a", "k", **({"expires": 0.05} if how == "expire" else {}))
        if how == "cancel":
            first.revoke()
        elif how == "purge":
            store.broker.purge("default")
        arena.worker().ready()
        settled(store)
        again = wait_for(lambda: (call := arena.send("unique", "b", "k")).duplicate_of is None and call, 20)
        assert again.id != first.id
        arena.all_ran(["b"])
        assert not arena.runs("a", "begin")

    def test_a_change_that_comes_while_it_runs_is_not_missed(self, arena, store, tmp_path):
        source, gate = tmp_path / "source", tmp_path / "gate"
        source.write_text("first")
        arena.worker().ready()
        arena.send("follows", "k", str(source), str(gate))
        wait_for(lambda: arena.runs("first", "begin"), 30)
        source.write_text("second")
        assert arena.send("follows", "k", str(source), str(gate)).duplicate_of is None
        gate.touch()
        arena.all_ran(["first", "second"])


class TestDebounce:
    def test_fifty_calls_a_second(self, arena, store):
        """It runs though the calls do not pause, and in the end with the last arguments."""
        arena.worker().ready()
        sent = 0

        def one_more():
            nonlocal sent
            sent += 1
            arena.send("debounced", f"d{sent}", "k")
            return len(arena.marks()) >= 2

        wait_for(one_more, 60, 0.02)
        while arena.send("debounced", "last", "k").duplicate_of is None:
            pass  # the one before was handed out just now: the next call finds this one waiting
        arena.all_ran(["last"])
        settled(store)
        assert len(arena.marks()) < sent / 5
        assert all(len(marks) == 1 for marks in arena.marks().values())


class TestAtomic:
    @pytest.mark.chaos
    @pytest.mark.timeout(600 + 30 * KILLS)
    @pytest.mark.parametrize("target", ["child", "tree"])
    @pytest.mark.parametrize(
        "point", ["child.after_claim", "child.running", "child.before_settle", "child.in_exchange", "child.after_settle"]
    )
    def test_its_children_exist_exactly_once(self, arena, store, target, point):
        worker, survivor = arena.worker().ready(), arena.worker().ready()
        sent = []
        for kill in range(KILLS):
            arena.arm(point)
            sent += (numbers := [f"p{kill}-{i}" for i in range(4)])
            for n in numbers:
                arena.send("parent", n, 5)
            stopped = arena.stopped_at(point)
            struck, other = (worker, survivor) if worker.owns(stopped) else (survivor, worker)
            os.kill(stopped, signal.SIGKILL) if target == "child" else struck.kill_tree()
            arena.release(point, stopped)
            arena.all_ran(numbers)
            if target == "tree":
                struck.process.wait(180)
                worker, survivor = other, arena.worker().ready()
        wait_for(lambda: not any(one.leased or (one.ready and one.queue != "kept") for one in store.broker.stats()), 60, 0.05)
        children = Counter(json.loads(one.envelope.body)["a"][0] for one in store.waiting("kept"))
        assert children == Counter(f"{n}.{child}" for n in sent for child in range(5))
