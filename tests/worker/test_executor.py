"""What a run's end means, whatever the user's code is and does."""

import functools

import pytest

from umbel import Task, Umbel
from umbel.envelope import Delivery, Envelope, Receipt
from umbel.message import encode_body
from umbel.outcome import Dead, Done
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


def _run(app, slots, task):
    app.finalize()
    soft = SoftLimit(slots.child(0))
    executor = Executor(app, soft, app.clock.now, lambda delivery, data: False)
    prepared = executor.prepare(Delivery(Receipt("h", 1, 0), Envelope("m", "q", encode_body(task.name, None, None))))
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
