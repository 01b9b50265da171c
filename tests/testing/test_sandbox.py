"""A sandbox: nothing leaves it, tasks run as in a worker, time passes when it is told to."""

from __future__ import annotations

import contextvars
import dataclasses
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from umbel import Discard, Middleware, Retry, RetryLater, Snooze, State, Task, Umbel, current_app, registry, shared_task
from umbel.clock import SYSTEM
from umbel.errors import ResultNotKept, TaskExpired, TaskFailed
from umbel.events import TaskEnqueued, TaskSucceeded
from umbel.events import TaskFailed as FailedEvent
from umbel.facets import Place
from umbel.outcome import Dead, Done
from umbel.testing import FrozenClock, Sandbox, SandboxError, assert_enqueued


@dataclasses.dataclass
class Line:
    item: str
    price: Decimal


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An app whose real broker is a file that must never come into being."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_current", [])
    app = Umbel("shop", broker=f"sqlite:///{tmp_path}/real.db")
    yield app
    app.close()
    assert not (tmp_path / "real.db").exists()


@pytest.fixture
def box(app):
    with Sandbox(app) as box:
        yield box


def test_a_task_runs_when_the_worker_is_told_to(app, box):
    ran = []
    job = app.task(name="job")(ran.append)
    job.delay(1)
    job.delay(2)
    assert ran == []
    run = box.worker.run_one()
    assert (run.task, run.state, run.attempt, run.outcome) == ("job", State.SUCCESS, 1, Done())
    assert ran == [1]
    assert [run.state for run in box.worker.run_until_idle()] == [State.SUCCESS]
    assert ran == [1, 2]
    assert box.worker.run_one() is None
    assert box.worker.run_until_idle() == []


def test_arguments_arrive_as_in_a_worker(app, box):
    got = []

    @app.task(name="typed")
    def typed(lines: list[Line], on: date, free: object) -> Decimal:
        got.append((lines, on, free))
        return lines[0].price

    typed.delay([Line("tea", Decimal("2.50"))], date(2026, 11, 23), free=(1, 2))
    assert box.worker.run_one().value == Decimal("2.50")
    assert got == [([Line("tea", Decimal("2.50"))], date(2026, 11, 23), [1, 2])]


def test_records_progress_and_results(app, box):
    @app.task(name="tracked", bind=True, track=True)
    def tracked(self, n: int) -> Decimal:
        self.progress(n, 10, "half")
        return Decimal(n)

    result = tracked.delay(5)
    assert result.state is State.PENDING
    box.worker.run_one()
    assert result.get(timeout=0) == Decimal(5)
    assert (result.progress.done, result.progress.note) == (5, "half")
    box.clock.advance(timedelta(days=2))
    box.worker.run_until_idle()
    with pytest.raises(ResultNotKept):
        result.get()


def test_waiting_for_what_nobody_runs_says_so_at_once(app, box):
    job = app.task(name="job", track=True)(lambda: 1)
    result = job.apply_async(countdown=60)
    with pytest.raises(SandboxError, match=r"job\[.*\] is SCHEDULED, and nothing runs here by itself: call worker.run_until_idle\(\)"):
        result.get(timeout=180)


class TestTime:
    def test_a_countdown(self, app, box):
        job = app.task(name="job")(lambda: 1)
        job.apply_async(countdown=60)
        box.clock.advance(59.999)
        assert box.worker.run_until_idle() == []
        box.clock.advance(timedelta(milliseconds=1))
        assert len(box.worker.run_until_idle()) == 1

    @pytest.mark.parametrize("wait", [0.0, 0.05])
    def test_an_eta_taken_from_the_machines_clock(self, app, box, wait):
        """The clock stood still meanwhile, and an hour must be an hour all the same."""
        threading.Event().wait(wait)
        job = app.task(name="job")(lambda: 1)
        job.apply_async(eta=datetime.now(UTC) + timedelta(hours=1))
        box.clock.advance(3590)
        assert box.worker.run_until_idle() == []
        box.clock.advance(10)
        assert len(box.worker.run_until_idle()) == 1

    def test_an_eta_taken_from_the_hand_moved_clock(self, app, box):
        job = app.task(name="job")(lambda: 1)
        box.clock.advance(86_400)
        job.apply_async(eta=box.clock.time + timedelta(hours=1))
        box.clock.advance(3600)
        assert len(box.worker.run_until_idle()) == 1

    def test_a_start_of_ones_own(self, app):
        clock = FrozenClock(datetime.fromisoformat("2030-01-01"))
        with Sandbox(app, clock=clock) as box:
            job = app.task(name="job", bind=True)(lambda self: self.request.enqueued_at)
            job.apply_async(eta=datetime.fromisoformat("2030-01-01T01:00"))
            clock.move_to(datetime.fromisoformat("2030-01-01T00:59:59"))
            assert box.worker.run_one() is None
            clock.move_to(datetime(2030, 1, 1, 1, tzinfo=UTC))
            assert box.worker.run_one().value == datetime(2030, 1, 1, tzinfo=UTC)

    def test_retries(self, app, box):
        attempts = []

        @app.task(name="shaky", bind=True, retry=Retry(max=3, on=(OSError,), backoff=2, jitter=False), track=True)
        def shaky(self) -> str:
            attempts.append(self.request.attempt)
            if self.request.attempt < 3:
                raise OSError("away")
            return "done"

        result = shaky.delay()
        run = box.worker.run_one()
        assert (run.state, run.due_in, repr(run.error)) == (State.RETRY, 2.0, "OSError('away')")
        assert result.state is State.RETRY
        assert box.worker.run_one() is None
        box.clock.advance(2)
        assert box.worker.run_one().due_in == 4.0
        box.clock.advance(4)
        assert box.worker.run_one().value == "done"
        assert attempts == [1, 2, 3]
        assert result.get() == "done"

    def test_expiry(self, app, box):
        job = app.task(name="job", expires=60, track=True)(lambda: 1)
        ready, scheduled = job.delay(), job.apply_async(countdown=120)
        box.clock.advance(59)
        later = job.delay()
        box.clock.advance(1)
        runs = box.worker.run_until_idle()
        assert [(run.id, run.task, run.state) for run in runs if run.reason == "expired"] == [
            (ready.id, "job", State.EXPIRED),
            (scheduled.id, "job", State.EXPIRED),
        ]
        assert [run.id for run in runs if run.state is State.SUCCESS] == [later.id]
        with pytest.raises(TaskExpired):
            ready.get()

    def test_drain_moves_the_clock_through_everything(self, app, box):
        seen = []

        @app.task(name="step", bind=True, retry=Retry(max=1, delay=600))
        def step(self, n: int) -> None:
            seen.append((n, round(box.clock.time.timestamp() - begin)))
            if n == 1 and self.request.attempt == 1:
                raise OSError
            if n < 3:
                step.apply_async((n + 1,), countdown=3600)

        begin = round(box.clock.time.timestamp())
        step.apply_async((1,), countdown=10)
        runs = box.worker.drain()
        assert seen == [(1, 10), (1, 610), (2, 4210), (3, 7810)]
        assert [run.state for run in runs] == [State.RETRY, State.SUCCESS, State.SUCCESS, State.SUCCESS]

    def test_the_machines_clock(self, app):
        """For who moves time by other means: what patches the machine's clock moves this too."""
        with Sandbox(app, clock=SYSTEM) as box:
            job = app.task(name="job")(lambda: 1)
            job.apply_async(countdown=3600)
            with pytest.MonkeyPatch.context() as patch:
                later = SYSTEM.now() + 3_600_000
                patch.setattr("time.time_ns", lambda: later * 1_000_000)
                assert len(box.worker.run_until_idle()) == 1
            job.apply_async(countdown=3600)
            with pytest.raises(SandboxError, match="drain"):
                box.worker.drain()

    def test_it_does_not_run_backwards(self, box):
        for move in (
            lambda: box.clock.advance(-1),
            lambda: box.clock.move_to(datetime.fromisoformat("2020-01-01")),
            lambda: box.clock.advance(float("nan")),
        ):
            with pytest.raises(ValueError, match="backwards"):
                move()


class TestFailures:
    def test_the_very_exception_comes_out(self, app, box):
        raised = KeyError("nobody")

        @app.task(name="fails", track=True)
        def fails() -> None:
            raise raised

        result = fails.delay()
        with pytest.raises(KeyError) as caught:
            box.worker.run_one()
        assert caught.value is raised
        assert result.state is State.FAILURE
        with pytest.raises(TaskFailed, match="nobody"):
            result.get()
        assert [letter.reason for letter in box.broker().browse(None, Place.DEAD).messages] == ["failed"]

    def test_it_may_be_kept_instead(self, app, box):
        fails = app.task(name="fails")(lambda: 1 / 0)
        fails.delay()
        run = box.worker.run_one(propagate=False)
        assert (run.state, type(run.error), run.reason) == (State.FAILURE, ZeroDivisionError, "failed")

    def test_all_is_run_before_the_first_error_is_raised(self, app, box):
        ran = []

        @app.task(name="some")
        def some(n: int) -> None:
            ran.append(n)
            if n != 2:
                raise ValueError(n)

        for n in (1, 2, 3):
            some.delay(n)
        with pytest.raises(ValueError, match="1") as caught:
            box.worker.run_until_idle()
        assert ran == [1, 2, 3]
        assert "ValueError" in caught.value.__notes__[0]

    def test_a_retry_is_no_failure_and_the_last_one_is(self, app, box):
        job = app.task(name="job", retry=Retry(max=1, delay=1))(lambda: 1 / 0)
        job.delay()
        assert box.worker.run_one().state is State.RETRY
        box.clock.advance(1)
        with pytest.raises(ZeroDivisionError):
            box.worker.run_one()

    def test_the_cause_of_a_retry_that_was_asked_for_once_too_often(self, app, box):
        def ask() -> None:
            raise RetryLater(1, exc=ConnectionError("gone"), max_retries=0)

        app.task(name="ask")(ask).delay()
        with pytest.raises(ConnectionError, match="gone"):
            box.worker.run_one()

    @pytest.mark.parametrize(
        ("signal", "state", "reason"), [(Snooze(5), State.SCHEDULED, "snoozed"), (Discard("x"), State.REVOKED, "discarded")]
    )
    def test_signals(self, app, box, signal, state, reason):
        def body() -> None:
            raise signal

        app.task(name="signals")(body).delay()
        run = box.worker.run_one()
        assert (run.state, run.reason, run.due_in) == (state, reason, 5.0 if isinstance(signal, Snooze) else None)

    def test_an_unknown_task_is_said(self, app, box):
        app.send_task("typo.of.mine", (1,))
        with pytest.raises(SandboxError, match=r"typo\.of\.mine\[.*unknown_task"):
            box.worker.run_until_idle()

    def test_an_error_of_the_run_before_is_not_this_ones(self, app, box):
        app.task(name="fails")(lambda: 1 / 0).delay()
        app.task(name="plain", unknown_kwargs="error")(lambda: None)
        box.worker.run_one(propagate=False)
        with Sandbox(app) as other:
            pass
        plain = Umbel("other", set_as_current=False).task(name="plain")(lambda n: None)
        plain._owner = lambda: app
        plain.delay(1)
        run = box.worker.run_one(propagate=False)
        assert (run.reason, type(run.error)) == ("bad_arguments", SandboxError)
        assert other is not box

    @pytest.mark.parametrize("leaves", [KeyboardInterrupt, pytest.fail.Exception])
    def test_what_is_meant_for_the_test_leaves_at_once(self, app, box, leaves):
        def body() -> None:
            raise leaves("now")

        app.task(name="leaves", retry=Retry(on=(BaseException,)))(body).delay()
        with pytest.raises(leaves):
            box.worker.run_until_idle(propagate=False)

    def test_a_loop_without_end(self, app, box):
        @app.task(name="again")
        def again() -> None:
            again.delay()

        again.delay()
        with pytest.raises(SandboxError, match="20 tasks have run, and there is still work; the last ones were again"):
            box.worker.run_until_idle(limit=20)


class TestLikeAWorker:
    def test_hooks_middleware_and_events(self, app, box):
        told = []

        class Hooked(Task):
            def before_start(self, task_id, args, kwargs):
                told.append("before")

            def on_failure(self, exc, task_id, args, kwargs, einfo):
                told.append(f"failure {exc}")

        class Around(Middleware):
            def send(self, message, call_next):
                told.append("send")
                return call_next(message.replace(headers={"by": "me"}))

            def run(self, request, call_next):
                told.append(f"run {request.headers}")
                return call_next(request)

        app.middleware.append(Around())
        for kind in (TaskEnqueued, TaskSucceeded, FailedEvent):
            app.events.subscribe(kind, lambda event: told.append(type(event).__name__))
        job = app.task(name="job", base=Hooked)(lambda ok: ok or 1 / 0)
        job.delay(True)
        box.worker.run_one()
        assert told == ["send", "TaskEnqueued", "before", "run {'by': 'me'}", "TaskSucceeded"]
        told.clear()
        job.delay(False)
        box.worker.run_one(propagate=False)
        assert told == ["send", "TaskEnqueued", "before", "run {'by': 'me'}", "failure division by zero", "TaskFailed"]

    def test_a_task_sees_no_context_of_its_caller(self, app, box):
        """As in a worker: what it needs has to be in its arguments."""
        tenant = contextvars.ContextVar("tenant", default="none")
        tenant.set("mine")
        job = app.task(name="job")(tenant.get)
        job.delay()
        assert box.worker.run_one().value == "none"

    def test_calls_of_a_task_know_who_called(self, app, box):
        seen = {}
        inner = app.task(name="inner", bind=True)(lambda self: seen.update(parent=self.request.parent_id, root=self.request.root_id))
        outer = app.task(name="outer")(lambda: inner.delay().id)
        first = outer.delay().id
        box.worker.run_until_idle()
        assert seen == {"parent": first, "root": first}

    def test_queues_and_priorities(self, app, box):
        ran = []
        job = app.task(name="job")(ran.append)
        job.apply_async(("low",), priority=1)
        job.apply_async(("high",), priority=9)
        job.apply_async(("elsewhere",), queue="nobody declares it")
        box.worker.run_until_idle(queue="default")
        assert ran == ["high", "low"]
        box.worker.run_until_idle()
        assert ran == ["high", "low", "elsewhere"]

    def test_pausing_and_cancelling(self, app, box):
        job = app.task(name="job", track=True)(lambda: 1)
        result = job.delay()
        box.broker().pause_queue("default")
        assert box.worker.run_one() is None
        box.broker().resume_queue("default")
        result.revoke()
        assert box.worker.run_one() is None
        assert result.state is State.REVOKED

    def test_a_duplicate_is_no_second_run(self, app, box):
        job = app.task(name="job")(lambda: 1)
        job.apply_async(task_id="mine")
        assert job.apply_async(task_id="mine").duplicate_of == "mine"
        assert len(box.enqueued_calls()) == 1
        assert len(box.worker.run_until_idle()) == 1

    def test_calls_from_other_threads(self, app, box):
        job = app.task(name="job")(lambda n: n)
        thread = threading.Thread(target=lambda: job.delay(1))
        thread.start()
        thread.join()
        assert box.worker.run_one().value == 1


class TestInAndOut:
    def test_the_app_is_as_it_was(self, app):
        before = (app.producer, app.clock, dict(vars(app)))
        registry.replace_current(None)
        with Sandbox(app):
            assert current_app == app
            Umbel("made in a test")
        assert (app.producer, app.clock, dict(vars(app))) == before
        assert not current_app

    def test_also_after_an_error(self, app):
        before = dict(vars(app))
        with pytest.raises(ZeroDivisionError), Sandbox(app):
            1 / 0  # noqa: B018 - it is meant to fail
        assert dict(vars(app)) == before

    def test_one_sandbox_knows_nothing_of_another(self, app):
        job = app.task(name="job")(lambda: 1)
        with Sandbox(app) as outer:
            job.delay()
            with Sandbox(app) as inner:
                assert inner.worker.run_until_idle() == []
                job.delay()
                job.delay()
                assert len(inner.enqueued_calls()) == 2
            assert_enqueued(job, times=1)
            assert len(outer.worker.run_until_idle()) == 1

    def test_shared_tasks_go_to_the_app_under_test(self, app, monkeypatch):
        monkeypatch.setattr(registry, "_shared", [])
        shared = shared_task(name="shared")(lambda: current_app.name)
        Umbel("made later, and current")
        with Sandbox(app) as box:
            shared.delay()
            assert box.worker.run_one().value == "shop"
            assert_enqueued(shared)

    def test_a_closed_sandbox_says_so(self, app):
        box = Sandbox(app)
        with pytest.raises(SandboxError, match="not open"):
            box.worker  # noqa: B018 - asking is what fails
        with box, pytest.raises(SandboxError, match="open already"), box:
            pass
        job = app.task(name="job")(lambda: 1)
        with pytest.raises(SandboxError, match="ask for the fixture umbel_worker, or write with Sandbox"):
            assert_enqueued(job)

    def test_unhandled_outcomes_stay_in_the_store(self, app, box):
        app.task(name="fails")(lambda: 1 / 0).delay()
        assert isinstance(box.worker.run_one(propagate=False).outcome, Dead)
        assert box.broker().redrive() == 1
        assert box.worker.run_one(propagate=False).attempt == 1
