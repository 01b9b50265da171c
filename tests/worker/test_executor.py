"""What a run's end means, whatever the user's code is and does."""

import dataclasses
import functools
from datetime import timedelta

import pytest

from umbel import RetryLater, Snooze, Task, Umbel
from umbel.envelope import Delivery, Envelope, Receipt
from umbel.failure import decode_failure
from umbel.message import encode_body
from umbel.outcome import Dead, Done, Released
from umbel.testing.clock import ManualClock
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


class TestCallsOfOtherReleases:
    """What becomes of a call that this release's function does not fit."""

    def outcome(self, slots, args=None, kwargs=None, *, parked=0, name="t", grace=60, **options):
        clock = ManualClock()
        app = Umbel("others", broker="memory://", clock=clock, deploy_grace=grace)
        ran = []

        @app.task(name="t", **options)
        def task(a: int, b: int = 0):
            ran.append((a, b))

        executor = Executor(app, SoftLimit(slots.child(0)), app.clock.now, lambda delivery, data: False)
        envelope = Envelope("m", "q", encode_body(name, args, kwargs), parked=clock.now() - parked if parked else 0)
        prepared = executor.prepare(Delivery(Receipt("h", 1, 0), envelope))
        outcome = executor.run(prepared, 1) if isinstance(prepared, Prepared) else prepared
        return outcome, ran

    def test_one_without_an_optional_parameter_runs(self, slots):
        assert self.outcome(slots, b"[1]") == (Done(), [(1, 0)])

    @pytest.mark.parametrize("how", ["park", "drop"])
    def test_one_without_a_required_parameter_is_parked(self, slots, how):
        outcome, ran = self.outcome(slots, None, b'{"b":1}', unknown_kwargs=how)
        assert (outcome, ran) == (Released(5_000, "unknown_parameters", parked=True), [])

    @pytest.mark.parametrize(("args", "kwargs"), [(b"[1,2,3]", None), (b"[1]", b'{"c":3}'), (None, b'{"a":1,"b":2,"c":3}')])
    def test_one_with_a_parameter_too_many(self, slots, args, kwargs):
        assert self.outcome(slots, args, kwargs) == (Released(5_000, "unknown_parameters", parked=True), [])
        outcome, ran = self.outcome(slots, args, kwargs, unknown_kwargs="drop")
        assert outcome == Done() and ran[0][0] == 1
        outcome, ran = self.outcome(slots, args, kwargs, unknown_kwargs="error")
        assert isinstance(outcome, Dead) and (outcome.reason, ran) == ("bad_arguments", [])

    def test_what_error_says_is_also_said_of_a_missing_one(self, slots):
        outcome, ran = self.outcome(slots, unknown_kwargs="error")
        assert isinstance(outcome, Dead) and (outcome.reason, ran) == ("bad_arguments", [])

    def test_an_older_name(self, slots):
        assert self.outcome(slots, b"[1]", name="old", aliases=("older", "old")) == (Done(), [(1, 0)])

    def test_no_name_of_ours(self, slots):
        assert self.outcome(slots, b"[1]", name="u")[0] == Released(5_000, "unknown_task", parked=True)

    @pytest.mark.parametrize(("waited", "after"), [(1_000, 5_000), (40_000, 10_000), (10_000_000, 60_000)])
    def test_the_longer_it_waited_the_longer_it_waits(self, slots, waited, after):
        assert self.outcome(slots, name="u", parked=waited, grace=86_400)[0].after == after

    @pytest.mark.parametrize(("name", "reason"), [("u", "unknown_task"), ("t", "unknown_parameters")])
    def test_after_the_grace_it_is_a_dead_letter_that_says_why(self, slots, name, reason):
        outcome, ran = self.outcome(slots, name=name, parked=60_000)
        assert isinstance(outcome, Dead) and (outcome.reason, ran) == (reason, [])
        assert "it waited 60 s for a worker that can run it" in decode_failure(outcome.error).message
