"""What a twin is told over its socket, and when there is none."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from umbel.worker import twin as twins
from umbel.worker.options import Inherited, WorkerOptions
from umbel.worker.twin import Orders, Twin

MANY = 600
"""More file descriptors than fit in two messages."""


@pytest.fixture
def process():
    one = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield one
    one.kill()
    one.wait()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("rosters", [False, True])
def test_every_file_descriptor_arrives_in_its_place(pair, rosters):
    ours, theirs = pair
    counters = [os.eventfd(n + 1) for n in range(MANY)]
    life, events = os.pipe()
    slots, roster = os.memfd_create("slots"), os.memfd_create("roster")
    inherited = Inherited(-1, life, events, slots, MANY, tuple((fd, fd) for fd in counters), roster if rosters else -1)
    options = WorkerOptions(app="tasks:app", queues=("a", "b"))
    sending = threading.Thread(target=lambda: Twin(0, ours).instruct(Orders(options, inherited)))
    sending.start()
    orders = twins._await_orders(theirs)
    sending.join()
    assert orders is not None
    assert orders.options == options
    got = orders.inherited
    assert (got.control, got.slot_count) == (theirs.fileno(), MANY)
    assert [os.eventfd_read(fd) for fd, _ in got.permits] == [n + 1 for n in range(MANY)]
    assert all(read == write for read, write in got.permits)
    same = [(got.life, life), (got.events, events), (got.slots, slots), *([(got.rosters, roster)] if rosters else [])]
    assert all(os.path.sameopenfile(there, here) for there, here in same)
    assert (got.rosters >= 0) == rosters
    assert not any(os.get_inheritable(fd) for fd in got.fds), "programs that a task starts would get them"
    for fd in [*counters, life, events, slots, roster, *got.fds]:
        os.close(fd)


def test_pairs_of_pipes_keep_their_ends(pair):
    """Where there is no eventfd, a permit counter is a pipe."""
    pipes = (os.pipe(), os.pipe())
    inherited = Inherited(-1, *os.pipe(), os.memfd_create("slots"), 2, pipes)
    Twin(0, pair[0]).instruct(Orders(WorkerOptions(app="a"), inherited))
    orders = twins._await_orders(pair[1])
    assert orders is not None
    for (read, _), (_, write) in zip(pipes, orders.inherited.permits, strict=True):
        os.write(write, b"x")
        assert os.read(read, 1) == b"x"
    for fd in (*inherited.fds, *orders.inherited.fds):
        os.close(fd)


def test_without_orders_there_is_nothing_to_do(pair):
    pair[0].close()
    assert twins._await_orders(pair[1]) is None


def test_a_twin_that_is_gone_takes_no_orders(pair, process):
    """Its socket is closed, and it is not left behind as a zombie."""
    process.kill()
    pair[1].close()
    life, events = os.pipe()
    inherited = Inherited(-1, life, events, os.memfd_create("slots"), 1, ((life, life),))
    one = Twin(process.pid, pair[0])
    assert not one.instruct(Orders(WorkerOptions(app="a"), inherited))
    assert one.wait() == signal.SIGKILL
    one.kill()  # its number may be somebody else's by now
    for fd in inherited.fds:
        os.close(fd)


def test_waiting_has_an_end(pair, process):
    one = Twin(process.pid, pair[0])
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0.01)
    one.kill()
    assert one.wait(180) == signal.SIGKILL


def test_a_program_of_somebody_elses_is_not_forked():
    """This one, for instance: pytest, which may have anything open."""
    assert twins.split(WorkerOptions(app="a")) is None


# -- whose library is imported before the fork


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Nobody says an address."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    for name, value in os.environ.items():
        if "://" in value or name.startswith("UMBEL_"):
            monkeypatch.delenv(name)
    return monkeypatch


def _schemes(**settings: str) -> set[str]:
    return set(twins._schemes(WorkerOptions(app="a", settings=settings)))


def test_an_address_that_only_the_code_may_know(bare):
    assert _schemes() == set()


def test_an_address_that_is_said_outside_the_code(bare, tmp_path):
    bare.setenv("ELSEWHERE", "sqlite:///other.db")
    (tmp_path / "pyproject.toml").write_text('[tool.umbel]\nbroker = "redis+sentinel://h:1/s"\n')
    assert _schemes() == {"redis+sentinel"}
    bare.setenv("UMBEL_BROKER", "rediss://h")
    assert _schemes() == {"rediss"}
    assert _schemes(broker="redis://h") == {"redis"}


def test_addresses_of_the_environment_under_other_names(bare):
    bare.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    bare.setenv("HOMEPAGE", "https://example.com")
    assert _schemes() == set()
    bare.setenv("CACHE", "REDIS://cache:6379/1")
    assert _schemes() == {"redis"}


def test_settings_that_are_wrong_are_the_templates_business(bare):
    bare.setenv("UMBEL_BROKR", "redis://h")
    assert _schemes() == set()


def test_a_library_that_does_not_import_is_the_templates_business(bare):
    for address in ("nothing://h", "redis://h"):
        bare.setenv("UMBEL_BROKER", address)
        with bare.context() as broken:
            broken.setattr(twins, "factory_of", lambda _: 1 / 0)
            twins._import_broker(WorkerOptions(app="a"))
        twins._import_broker(WorkerOptions(app="a"))
