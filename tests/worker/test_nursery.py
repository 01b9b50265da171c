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


def test_modules_that_take_long_to_import_are_told_of(made, caplog):
    one, _, clock = made
    one.mind_imports()
    assert not caplog.records
    said = []
    for _ in range(40):
        clock.advance(5_000)
        one.mind_imports()
        said.append(len(caplog.records))
    assert said[:4] == [0, 1, 1, 2], "after 10 s, after 20 s, and so on"
    assert said[-1] < 8
    assert f"importing for 10 s (process {one.template.process.pid})" in caplog.text
