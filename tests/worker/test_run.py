"""A run of many: what it was told, and who finds out."""

import threading

import pytest

from umbel.errors import SoftTimeLimitExceeded, TaskInterrupted
from umbel.worker.run import Run


class _Task:
    name = "one"


class _Prepared:
    task = _Task()


class _EndsIt:
    """Strikes so well that the run has come to its end before the striker goes on."""

    def __init__(self, run):
        self.run, self.found = run, []
        self.asks = threading.Event()
        self.thread = threading.Thread(target=self._end)

    def _end(self):
        self.asks.set()
        self.found.append(self.run.was_told())

    def strike(self, kind):
        self.thread.start()
        assert self.asks.wait(180)
        self.thread.join(0.1)
        return True


@pytest.mark.parametrize(("kind", "told"), [(SoftTimeLimitExceeded, True), (TaskInterrupted, False)])
def test_what_ends_by_its_strike_was_told(kind, told):
    run = Run(_Prepared(), 1, 0, 0.0, 1.0, 0.0)
    aim = run.aim = _EndsIt(run)
    assert run.strike(kind)
    aim.thread.join(180)
    assert aim.found == [told]


def test_what_could_not_be_struck_was_not_told():
    run = Run(_Prepared(), 1, 0, 0.0, 1.0, 0.0)
    assert not run.strike(SoftTimeLimitExceeded)
    assert not run.was_told()
