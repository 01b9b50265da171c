"""A wire that fails between worker and Redis, at every place of every script: nothing lost, nothing run twice without cause."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.process.arena import Arena, Worker
from tests.process.conftest import KILLS
from tests.process.wires import nothing_is_left
from tests.proxy import Fault, Proxy, Strike, Words
from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel import EnqueueUnknown
from umbel.brokers.redis import scripts

LEASE = 1.5
PATIENCE = 0.5
"""Seconds for a reply (10 unless told otherwise), so that these tests need not wait for ten."""
FAULTS = [Fault.LOSE_REPLY, Fault.SILENCE, *([Fault.LOSE_COMMAND] if KILLS > 3 else [])]
"""A lost command looks to its sender like a lost reply, and asks less of him."""
SCRIPTS = {script.sha(major): script.name + ("" if script.over_limit else "_new") for script in scripts.ALL for major in (6, 7)}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> RedisServer:
    server: RedisServer = request.getfixturevalue("redis_server")
    server.command("FLUSHALL")
    return server


@pytest.fixture
def wires(server: RedisServer) -> Iterator[Callable[[], Proxy]]:
    """Makes proxies in front of the server."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Proxy(server.port, SCRIPTS))


@pytest.fixture
def arena(tmp_path, server) -> Iterator[Arena]:
    made = Arena(tmp_path, server.url, lease=str(LEASE))
    yield made
    made.close()


def behind(arena: Arena, wire: Proxy, concurrency: int = 1) -> Worker:
    return arena.worker(concurrency=concurrency, UMBEL_BROKER=wire.url(socket_timeout=PATIENCE))


def brings_settles(words: Words) -> bool:
    """Does this exchange settle something?"""
    return len(words) - 7 >= int(words[11])


def claims_only(words: Words) -> bool:
    return not brings_settles(words) and int(words[8]) > 0


class Course:
    """One worker behind one wire, through a series of strikes."""

    def __init__(self, arena: Arena, wire: Proxy, fault: Fault) -> None:
        self.arena = arena
        self.wire = wire
        self.fault = fault
        self.sent: list[str] = []
        self.worker = behind(arena, wire, concurrency=2).ready()

    def strike(self, what: str, only: Callable[[Words], bool] | None = None) -> Strike:
        return self.wire.strike(what, self.fault, only=only)

    def pass_through(self, *strikes: Strike) -> None:
        """Work goes on while and after they strike."""
        names = [f"{'-'.join(s.what for s in strikes)}{len(self.sent)}.{n}" for n in range(20)]
        self.sent += names
        for name in names:
            self.arena.send("mark", name)
        for strike in strikes:
            strike.wait()
        self.arena.all_ran(names)


@pytest.mark.chaos
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
def test_a_connection_that_fails_at_any_command_loses_and_repeats_nothing(arena, wires, fault):
    course = Course(arena, wires(), fault)
    course.pass_through(course.strike("exchange", claims_only))
    course.pass_through(course.strike("exchange", brings_settles))
    course.pass_through(course.strike("waiting"))
    course.pass_through(course.strike("renew"))
    course.pass_through(course.strike("TIME"), course.strike("maintain"))
    if fault is not Fault.SILENCE:  # that is noticed when the wait is over: see below
        course.pass_through(course.strike("BLPOP"))
    hostages_are_given_back(course)
    a_dead_child_is_buried(course)
    nothing_is_left(arena)
    assert {name: len(arena.runs(name)) for name in course.sent} == dict.fromkeys(course.sent, 1)
    strike = course.strike("leave")
    assert course.worker.stop() == 0
    strike.wait()


def hostages_are_given_back(course: Course) -> None:
    """One long task in front of short ones, in one batch: the supervisor gives the short ones back."""
    arena, quick = course.arena, [f"quick{n}" for n in range(60)]
    for name in quick:
        arena.send("slow", name, 0)  # teaches the children to claim many
    arena.all_ran(quick)
    strike = course.strike("give_back")
    long, short = [f"long{n}" for n in range(2)], [f"short{n}" for n in range(30)]
    arena.app.tasks["slow"].delay_many({"n": n, "seconds": 1.0 if n in long else 0} for n in [*long, *short])
    strike.wait()
    arena.all_ran([*long, *short])
    course.sent += [*quick, *long, *short]


def a_dead_child_is_buried(course: Course) -> None:
    """Retiring it, and admitting its successor, both meet with the fault."""
    arena = course.arena
    strikes = [course.strike("retire"), course.strike("admit")]
    arena.send("slow", "victim", 0.5)
    begun = wait_for(lambda: arena.runs("victim", "begin"))
    os.kill(begun[0].pid, signal.SIGKILL)
    course.pass_through(*strikes)
    arena.all_ran(["victim"])
    assert len(arena.runs("victim", "begin")) == 2


def test_replies_lost_again_and_again_repeat_nothing(arena, wires):
    """Two workers, every fifth exchange unanswered, every third wait, every fourth heartbeat."""
    wire = wires()
    for what, number in (("exchange", 5), ("BLPOP", 3), ("renew", 4)):
        wire.strike(what, Fault.LOSE_REPLY, number, every=True)
    for worker in [behind(arena, wire, concurrency=2) for _ in range(2)]:
        worker.ready()
    exchange = wire.strike("exchange", Fault.LOSE_COMMAND, 7, every=True)
    names: list[str] = []
    while len(names) < 600 or exchange.struck <= 5:  # how many exchanges that takes depends on how much each claims
        some = [str(n) for n in range(len(names), len(names) + 200)]
        names += some
        for n, name in enumerate(some):
            arena.send("flaky" if n % 10 == 0 else "mark", name)
        arena.all_ran(some)
    nothing_is_left(arena)
    assert {name: len(arena.runs(name)) for name in names} == dict.fromkeys(names, 1)


def test_a_call_whose_reply_is_lost_says_so_and_can_be_repeated(arena, wires):
    wire = wires()
    arena.worker(concurrency=1).ready()
    arena.app.conf.override(broker=wire.url(socket_timeout=PATIENCE))
    arena.send("mark", "first")
    for fault in (Fault.LOSE_REPLY, Fault.LOSE_COMMAND, Fault.SILENCE):
        name = fault.name.lower()
        wire.strike("enqueue_new", fault)
        with pytest.raises(EnqueueUnknown, match="same task_id is safe") as unknown:
            arena.send("mark", name, task_id=name)
        assert unknown.value.repeatable
        again = arena.send("mark", name, task_id=unknown.value.id)
        assert (again.duplicate_of == name) == (fault is not Fault.LOSE_COMMAND), "stored at the first call, or at the second"
    arena.all_ran(["first", "lose_reply", "lose_command", "silence"])
    nothing_is_left(arena)
    assert all(len(runs) == 1 for runs in arena.marks().values())


def may_rescue(words: Words) -> bool:
    """Is this round of maintenance one that rescues?"""
    return words[10] != b"0"


def test_a_partition_takes_nobodys_task(arena, wires):
    """Both sides live on, for longer than a lease: who runs something goes on, and settles it afterwards.

    One worker is back before the other, and an order to rescue that it had sent in front of the partition arrives then.
    """
    early, late = wires(), wires()
    for wire in (early, late):
        behind(arena, wire).ready()
    names = ["through0", "through1"]
    held = early.strike("maintain", Fault.HOLD_COMMAND, only=may_rescue)
    held.wait()
    for name in names:
        arena.send("slow", name, 1.0)
        wait_for(lambda name=name: arena.runs(name, "begin"))
    arena.send("mark", "next")
    for wire in (early, late):
        wire.partition()
    arena.all_ran(names)
    time.sleep(30 if KILLS >= 20 else LEASE * 1.25)
    assert not arena.runs("next")
    early.release(held)
    begun = early.seen["maintain"]
    early.heal()
    wait_for(lambda: early.seen["maintain"] >= begun + 2)
    late.heal()
    arena.all_ran(["next"])
    nothing_is_left(arena)
    assert [len(arena.runs(name, "begin")) for name in names] == [1, 1]
    assert len(arena.runs("next")) == 1


def test_half_open_connections_are_noticed(arena, wires):
    """All at once: heartbeat, work, waiting. Two of three children run a task, one waits; nothing hurries their replies."""
    wire = wires()
    worker = arena.worker(concurrency=3, UMBEL_BROKER=wire.url()).ready()
    names = ["through", "beside"]
    for name in names:
        arena.send("slow", name, 4.0)
        wait_for(lambda name=name: arena.runs(name, "begin"))
    other = arena.worker(concurrency=1).ready()
    wait_for(lambda: wire.seen["BLPOP"] >= 3)
    wire.silence()
    arena.all_ran(names)
    wait_for(lambda: worker.said("did not end a wait"), 20)
    nothing_is_left(arena)
    for process in (worker, other):
        assert not process.said("lease"), process.log.read_text()
        assert not process.said("is dead"), process.log.read_text()
    assert [len(arena.runs(name, "begin")) for name in names] == [1, 1]


def test_who_is_cut_off_or_stopped_past_its_lease_settles_nothing(arena, wires):
    """Of three workers one is cut off and one is stopped, in the middle of tasks that end as dead letters."""
    wire = wires()
    cut, stopped = behind(arena, wire).ready(), arena.worker(concurrency=1).ready()
    survivor = arena.worker(concurrency=1).ready()
    for name in "abc":
        arena.send("fails", name, 1.5)
    wait_for(lambda: all(arena.runs(name, "begin") for name in "abc"))
    wire.partition()
    os.killpg(stopped.pid, signal.SIGSTOP)
    wait_for(lambda: all(any(survivor.owns(mark.pid) for mark in arena.runs(name)) for name in "abc"), 30)
    wire.heal()
    os.killpg(stopped.pid, signal.SIGCONT)
    for victim in (cut, stopped):
        wait_for(lambda victim=victim: victim.said("was taken") or victim.said("is not admitted"), 20)
    arena.send("mark", "after")
    arena.all_ran(["after"])
    for victim in (cut, stopped):
        wait_for(lambda victim=victim: victim.children(), 20)
    nothing_is_left(arena, dead=3)
    assert sorted(len(arena.runs(name, "begin")) for name in "abc") == [1, 2, 2]
