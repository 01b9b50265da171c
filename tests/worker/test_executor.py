"""What a run's end means, whatever the user's code is and does."""

import dataclasses
import functools
from datetime import timedelta

import pytest

from umbel import RetryLater, Snooze, Task, Umbel
from umbel.envelope import Delivery, Envelope, Receipt
from umbel.message import encode_body
from umbel.outcome import Dead, Done, Released
from umbel.worker.executor import Executor, Prepared
from umbel.worker.slots import Slots
from umbel.worker.softlimit import SoftLimit


@pytest.fixture
def slots():
    made = Slots.create(1)
    made.clear(0)
    yield made
    made.close()


@pytest.fixture
def app():
    return Umbel("executor", broker="memory://")


def _run(app, slots, task, args=None):
    app.finalize()
    soft = SoftLimit(slots.child(0))
    executor = Executor(app, soft, app.clock.now, lambda delivery, data: False)
    prepared = executor.prepare(Delivery(Receipt("h", 1, 0), Envelope("m", "q", encode_body(task.name, args, None))))
    assert isinstance(prepared, Prepared)
    try:
        return executor.run(prepared, 1)
    finally:
        if soft._loop is not None:
            soft._loop.close()


def _plain(fn):
    """As most decorators are written: a plain function, whatever it is around."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("decorate", [lambda fn: fn, _plain, lambda fn: _plain(_plain(fn))], ids=["bare", "once", "twice"])
def test_a_coroutine_is_run_whatever_stands_around_it(app, slots, decorate):
    ran = []

    async def body():
        ran.append(True)

    task = app.task(name="coro")(decorate(body))
    assert isinstance(_run(app, slots, task), Done)
    assert ran == [True]


def test_a_coroutine_behind_a_decorator_can_fail(app, slots):
    async def body():
        raise OSError("in the coroutine")

    assert isinstance(_run(app, slots, app.task(name="fails")(_plain(body))), Dead)


@pytest.mark.parametrize("leaves_by", [SystemExit, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("hook", ["on_success", "after_return"])
def test_a_hook_that_raises_changes_nothing(app, slots, hook, leaves_by):
    def raises(self, *args):
        raise leaves_by("from a hook")

    task = app.task(name="hooked", base=type("Hooked", (Task,), {hook: raises}))(lambda: 1)
    assert isinstance(_run(app, slots, task), Done)


@pytest.mark.parametrize("leaves_by", [SystemExit, KeyboardInterrupt])
def test_a_task_cannot_end_its_child(app, slots, leaves_by):
    def body():
        raise leaves_by("from a task")

    assert isinstance(_run(app, slots, app.task(name="leaves")(body)), Dead)


@pytest.mark.parametrize(
    "odd", [Snooze("soon"), RetryLater("soon"), RetryLater(1, max_retries="3")], ids=["no span", "no countdown", "no number of retries"]
)
def test_a_signal_that_makes_no_sense_fails_its_task_and_not_the_child(app, slots, odd):
    def body():
        raise odd

    outcome = _run(app, slots, app.task(name="odd")(body))
    assert isinstance(outcome, Dead)
    assert outcome.reason == "failed"


@pytest.mark.parametrize(
    ("span", "after"),
    [(timedelta(seconds=5), 5_000), (float("nan"), 1), (float("inf"), 365 * 86_400_000), (-3, 1), (0.5, 500)],
)
def test_a_snooze_is_any_span_and_none_is_without_end(app, slots, span, after):
    def body():
        raise Snooze(span)

    assert _run(app, slots, app.task(name="snoozes")(body)) == Released(after, "snoozed")


@dataclasses.dataclass
class Picky:
    value: int

    def __post_init__(self):
        {}[self.value]


def test_what_an_argument_s_own_type_raises_does_not_end_the_child(app, slots):
    def body(x: Picky):
        pass

    outcome = _run(app, slots, app.task(name="picky")(body), b'[{"value":1}]')
    assert isinstance(outcome, Dead)
    assert outcome.reason == "bad_arguments"
