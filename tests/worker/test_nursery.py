"""Templates, when the system has no room for one."""

import os
import selectors
import signal

import pytest

from tests.waiting import wait_for
from umbel.testing.clock import ManualClock
from umbel.worker import nursery
from umbel.worker.nursery import Nursery, Pipes
from umbel.worker.options import WorkerOptions
from umbel.worker.places import Places


class Deaf:
    def __getattr__(self, name):
        return lambda *_: None


@pytest.fixture
def made():
    selector, pipes, clock = selectors.DefaultSelector(), os.pipe(), ManualClock()
    one = Nursery(WorkerOptions(app="nothing:here"), Places(1), Pipes(pipes[0], pipes[0]), selector, clock)
    one.listen(Deaf())
    yield one, selector, clock
    one.end()
    selector.close()
    for fd in pipes:
        os.close(fd)


def _refuse(*_):
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_template_that_cannot_be_started_is_started_later(made, monkeypatch):
    one, selector, clock = made
    first = one.template
    with monkeypatch.context() as full:
        full.setattr(nursery, "TemplateProcess", _refuse)
        first.process.send_signal(signal.SIGKILL)

        def gone():
            for key, _ in selector.select(0.1):
                key.data()
            return first.gone()

        wait_for(gone)
        clock.advance(2_000)
        one.turn()
        one.renew()
        assert one.template is first
    clock.advance(2_000)
    one.turn()
    assert one.template is not first
    assert not one.template.gone()
