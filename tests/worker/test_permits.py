"""A permit has one taker, in whatever process."""

import os

import pytest

from umbel.worker.permits import Permits


def _pipe_permits() -> Permits:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    return Permits(read_fd, write_fd)


@pytest.fixture(params=["best", "pipe"])
def permits(request):
    made = Permits.create() if request.param == "best" else _pipe_permits()
    yield made
    made.close()


def test_as_many_as_were_granted(permits):
    permits.grant(3)
    assert [permits.take() for _ in range(4)] == [True, True, True, False]


def test_drain_takes_the_rest(permits):
    permits.grant(5)
    assert permits.take()
    assert permits.drain() == 4
    assert not permits.take()


def test_granting_none_is_nothing(permits):
    permits.grant(0)
    assert not permits.take()


def test_two_processes_never_take_one_twice(permits):
    total = 2000
    permits.grant(total)
    result_read, result_write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(result_write, str(permits.drain()).encode())
        os._exit(0)
    ours = permits.drain()
    os.waitpid(pid, 0)
    theirs = int(os.read(result_read, 20))
    os.close(result_read)
    os.close(result_write)
    assert ours + theirs == total
