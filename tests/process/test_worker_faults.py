"""A broker that hangs, children that nobody has seen, orders that come twice: on real workers."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.conftest import IN_CI
from tests.process.arena import Arena, _session
from tests.process.blackhole import BlackHole, ports_of
from tests.servers import REDIS_SERVER, RedisServer
from tests.waiting import wait_for


@pytest.fixture
def server(tmp_path_factory):
    if REDIS_SERVER is None:
        pytest.fail("redis-server is not installed") if IN_CI else pytest.skip("redis-server is not installed")
    with RedisServer(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.fixture
def redis_arena(tmp_path, server):
    made = Arena(tmp_path, server.url)
    yield made
    os.kill(server.pid, signal.SIGCONT)
    made.close()


# -- a broker that accepts and does not answer


def test_a_hard_limit_strikes_on_time_while_the_broker_hangs(redis_arena, server):
    arena = redis_arena
    worker = arena.worker(concurrency=1).ready()
    arena.send("catastrophe", "c")  # a limit of 1 s
    begun = wait_for(lambda: arena.runs("c", "begin"))[0]
    os.kill(server.pid, signal.SIGSTOP)
    wait_for(lambda: begun.pid not in worker.children(), 20)
    assert time.monotonic() - begun.at < 1 + 2.0
    os.kill(server.pid, signal.SIGCONT)
    wait_for(lambda: sum(q.dead for q in arena.stats()) == 1, 30)
    arena.send("mark", "after")
    arena.all_ran(["after"])
    assert len(arena.runs("c", "begin")) == 1


def test_a_child_that_dies_while_the_broker_hangs_is_not_forgotten(redis_arena, server):
    arena = redis_arena
    worker = arena.worker(concurrency=2).ready()
    arena.send("slow", "s", 0.5)
    begun = wait_for(lambda: arena.runs("s", "begin"))[0]
    os.kill(server.pid, signal.SIGSTOP)
    os.kill(begun.pid, signal.SIGKILL)
    wait_for(lambda: begun.pid not in worker.children(), 20)
    worker.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: worker.said("runs nothing"), 2)  # signals are heard meanwhile
    os.kill(server.pid, signal.SIGCONT)
    arena.all_ran(["s"])
    assert len(arena.runs("s", "begin")) == 2


def test_quit_ends_a_worker_whose_broker_hangs(redis_arena, server):
    arena = redis_arena
    worker = arena.worker(concurrency=1).ready()
    arena.send("slow", "s", 60)
    wait_for(lambda: arena.runs("s", "begin"))
    os.kill(server.pid, signal.SIGSTOP)
    worker.stop(signal.SIGQUIT, 20)
    os.kill(server.pid, signal.SIGCONT)
    assert not _session(worker.pid)
    arena.worker(concurrency=1).ready()
    wait_for(lambda: len(arena.runs("s", "begin")) == 2, 30)


def test_what_the_broker_did_not_answer_is_asked_again(tmp_path, server):
    """A child's retirement, and its successor's admission."""
    arena = Arena(tmp_path, f"{server.url}?socket_timeout=1&socket_connect_timeout=1")
    try:
        worker = arena.worker(concurrency=1).ready()
        (child,), template = worker.children(), worker.template()
        os.kill(template, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: worker.said(f"child {child} "))  # it is buried, and the next template still starts
        os.kill(server.pid, signal.SIGSTOP)
        wait_for(lambda: worker.said("not admitted yet"), 20)
        wait_for(lambda: worker.said("given back later"), 20)
        os.kill(server.pid, signal.SIGCONT)
        arena.send("mark", "m")
        arena.all_ran(["m"])
        wait_for(lambda: len(worker.children()) == 1)
        assert worker.stop() == 0
    finally:
        os.kill(server.pid, signal.SIGCONT)
        arena.close()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("new_ones", [False, True], ids=["its connection", "all its connections"])
def test_a_child_that_could_fetch_and_does_not(tmp_path, server, new_ones, pool):
    """Its own way to the broker is a black hole, the supervisor's is not: it connects anew, or else it is replaced."""
    hole = BlackHole(server.port)
    arena = Arena(tmp_path, f"redis://127.0.0.1:{hole.port}/0?socket_timeout=120")
    arena.environment["UMBEL_TEST_SPANS"] = "reconnect=7 stuck=14"  # more than the 5 s for which an idle child waits
    try:
        worker = arena.worker("-P", pool, concurrency=1).ready()
        (child,) = worker.children()
        # one to ask, one to wait; of a pool, whose lookout has a broker of its own, another one to ask
        wait_for(lambda: len(ports_of(child)) == (2 if pool == "prefork" else 3))
        hole.swallow(child, new_ones=new_ones)
        arena.send("mark", "m")
        arena.all_ran(["m"], 60)
        assert worker.said("told to connect anew")
        assert worker.said("nor does a new connection help") == new_ones
        assert (arena.runs("m")[0].pid == child) != new_ones
    finally:
        arena.close()
        hole.close()


# -- children that nobody has seen


def test_slots_of_children_that_nobody_has_seen_are_used_again(sqlite_arena):
    """A template dies between forking a child and saying so, more often than there are slots."""
    arena = sqlite_arena
    worker = arena.worker(concurrency=1).ready()
    for n in range(8):  # one child has 6 slots
        arena.arm("template.forked")
        child = wait_for(worker.children)[0]
        os.kill(child, signal.SIGKILL)
        template = arena.stopped_at("template.forked")
        os.kill(template, signal.SIGKILL)
        arena.release("template.forked", template)
        arena.send("mark", n)
        arena.all_ran([n], 20)
    wait_for(lambda: len(worker.children()) == 1)  # the unseen ones have ended by themselves
    assert worker.stop() == 0


def test_a_child_that_nobody_has_seen_begins_nothing(sqlite_arena):
    arena = sqlite_arena
    worker = arena.worker(concurrency=1).ready()
    arena.arm("template.forked")
    old = worker.children()[0]
    os.kill(old, signal.SIGKILL)
    template = arena.stopped_at("template.forked")
    unseen = wait_for(lambda: [pid for pid in worker.children() if pid != old])[0]
    arena.send("mark", "m")
    os.kill(template, signal.SIGSTOP)  # it lives, and tells nothing
    arena.release("template.forked", template)
    time.sleep(0.5)  # that something does not happen leaves no trace to wait for
    assert not arena.runs("m")
    os.kill(template, signal.SIGKILL)
    arena.all_ran(["m"])
    assert arena.runs("m")[0].pid != unseen
    wait_for(lambda: unseen not in worker.children())


def test_a_system_without_pidfd(sqlite_arena):
    """Deaths are heard of from the template and, when that is gone too, found by asking."""
    arena = sqlite_arena
    folder = arena.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os\ndel os.pidfd_open\n")
    arena.environment["PYTHONPATH"] = str(folder)
    worker = arena.worker(concurrency=1).ready()
    arena.send("slow", "a", 0.5)
    os.kill(wait_for(lambda: arena.runs("a", "begin"))[0].pid, signal.SIGKILL)
    arena.all_ran(["a"])
    arena.send("slow", "b", 1.0)
    begun = wait_for(lambda: arena.runs("b", "begin"))[0]
    os.kill(worker.template(), signal.SIGKILL)
    wait_for(lambda: worker.said("the template is gone"))
    os.kill(begun.pid, signal.SIGKILL)
    arena.all_ran(["b"])
    assert len(arena.runs("b", "begin")) == 2
    assert worker.stop() == 0


# -- what the system does not give, and what it gives more of


def _patch(arena, code):
    """Run ``code`` at the start of every process of the worker."""
    folder = arena.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    arena.environment["PYTHONPATH"] = str(folder)


def test_no_room_for_another_process(sqlite_arena):
    arena = sqlite_arena
    full = arena.folder / "full"
    _patch(
        arena,
        f"""
import errno, os
fork = os.fork
def scarce():
    if os.path.exists({str(full)!r}):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = scarce
""",
    )
    full.touch()
    worker = arena.worker(concurrency=2)
    wait_for(lambda: worker.said("no child could be forked"), 20)
    full.unlink()
    worker.ready()
    arena.send("mark", "m")
    arena.all_ran(["m"])
    assert len(worker.children()) == 2
    assert worker.stop() == 0


def test_file_descriptors_beyond_what_select_can_take(arena):
    _patch(
        arena,
        """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
while os.open(os.devnull, os.O_RDONLY) < 1100:
    pass
""",
    )
    worker = arena.worker(concurrency=1).ready()
    child = worker.children()[0]
    arena.send("slow", "s", 0.5)
    os.kill(wait_for(lambda: arena.runs("s", "begin"))[0].pid, signal.SIGKILL)
    arena.all_ran(["s"])
    arena.send("coroutine", "c")
    arena.send("mark", "later", countdown=0.3)
    arena.all_ran(["c", "later"])
    assert len(arena.runs("s", "begin")) == 2
    assert child not in worker.children()
    assert worker.stop() == 0
    assert not worker.said("Traceback"), worker.log.read_text()


# -- orders that come twice, or at a bad moment


def test_a_second_hup_makes_children_of_the_newest_code(arena):
    worker = arena.worker(concurrency=1).ready()
    old, first = worker.children(), worker.template()
    arena.arm("template.fork")  # the first HUP's template is stopped when it is to make its child
    worker.process.send_signal(signal.SIGHUP)
    middle = arena.stopped_at("template.fork")
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: worker.log.read_text().count("SIGHUP") == 2)
    arena.send("mark", "m")
    arena.all_ran(["m"])
    arena.release("template.fork", middle)
    wait_for(lambda: not {first, middle} & set(_session(worker.pid)))
    wait_for(lambda: len(worker.children()) == 1)
    assert not set(old) & set(worker.children())
    arena.send("mark", "n")
    arena.all_ran(["n"])
    assert worker.stop() == 0


def test_hup_again_before_the_new_code_is_read(arena):
    worker = arena.worker(concurrency=1).ready()
    old = worker.children()
    for _ in range(3):
        worker.process.send_signal(signal.SIGHUP)
        time.sleep(0.02)  # two that wait at once are one
    wait_for(lambda: not set(old) & set(worker.children()), 20)
    wait_for(lambda: len(_session(worker.pid)) == 3, 20)  # supervisor, one template, one child
    arena.send("mark", "m")
    arena.all_ran(["m"])
    assert worker.stop() == 0


def test_an_interruption_that_comes_before_the_run_is_armed_is_repeated(tmp_path, broker_url):
    arena = Arena(tmp_path, broker_url, drain="0.3")
    try:
        worker = arena.worker(concurrency=1).ready()
        arena.arm("child.running")  # the slot shows the run; an exception would not yet reach the task
        arena.send("slow", "s", 30)
        child = arena.stopped_at("child.running")
        worker.process.send_signal(signal.SIGTERM)
        wait_for(lambda: worker.said("interrupting what runs"), 20)
        time.sleep(0.3)  # a few rounds, each of which signals in vain
        arena.release("child.running", child)
        assert worker.process.wait(180) == 75
        assert not worker.said("did not end when interrupted")
        assert sum(q.ready for q in arena.stats()) == 1
    finally:
        arena.close()


def test_a_supervisor_killed_between_taking_permits_and_giving_back(arena):
    worker = arena.worker(concurrency=1).ready()
    for n in range(20):
        arena.send("mark", f"warm{n}")  # so that a claim takes several
    arena.all_ran([f"warm{n}" for n in range(20)])
    arena.arm("child.in_exchange")
    arena.send("mark", "provoking")
    stopped = arena.stopped_at("child.in_exchange")
    arena.send("slow", "long", 20)
    hostages = [f"h{n}" for n in range(5)]
    for n in hostages:
        arena.send("mark", n)
    arena.arm("supervisor.took_permits")
    arena.release("child.in_exchange", stopped)
    assert arena.stopped_at("supervisor.took_permits") == worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    arena.worker(concurrency=2).ready()
    arena.all_ran(hostages, 30)
    wait_for(lambda: len(arena.runs("long", "begin")) == 2, 10)
    assert {n: len(arena.runs(n)) for n in hostages} == dict.fromkeys(hostages, 1)


# -- orders and templates that come to nothing


def test_revoking_with_terminate_what_is_claimed_and_not_begun(arena):
    worker = arena.worker(concurrency=1).ready()
    arena.arm("child.after_claim")
    result = arena.send("tracked", "t", 60)
    child = arena.stopped_at("child.after_claim")
    result.revoke(terminate=True)
    wait_for(lambda: worker.said("is to be ended"))
    arena.release("child.after_claim", child)
    wait_for(lambda: result.state == "REVOKED", 20)
    assert not arena.runs("t")
    wait_for(lambda: child not in worker.children())
    arena.send("mark", "after")
    arena.all_ran(["after"])


def test_a_template_that_does_not_fork_is_replaced(sqlite_arena):
    arena = sqlite_arena
    arena.environment["UMBEL_TEST_SPANS"] = "stuck=2"
    worker = arena.worker(concurrency=1).ready()
    (child,), template = worker.children(), worker.template()
    os.kill(template, signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    arena.send("mark", "m")
    arena.all_ran(["m"], 30)
    assert worker.said(f"the template {template} does not fork")
    assert worker.template() != template
    assert worker.stop() == 0
    assert not _session(worker.pid)


def test_an_app_that_hangs_while_it_is_imported_is_told_of_with_its_place(sqlite_arena):
    gate = sqlite_arena.folder / "import-gate"
    gate.touch()
    worker = sqlite_arena.worker(SAMPLE_IMPORT_GATE=str(gate), UMBEL_TEST_SPANS="import=0.5")
    wait_for(lambda: worker.said("the app has been importing for") and worker.said("sample.py"), 30)
    assert worker.process.poll() is None
    gate.unlink()
    worker.ready()
    sqlite_arena.send("mark", 1)
    sqlite_arena.all_ran([1])
