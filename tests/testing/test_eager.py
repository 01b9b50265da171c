"""Calls that run where they are made."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime

import pytest

from umbel import Retry, Snooze, State, Umbel
from umbel.errors import ArgumentError, BrokerUnreachable
from umbel.testing import Sandbox, SandboxError, assert_enqueued


@pytest.fixture
def app():
    return Umbel("eager", broker="memory://", set_as_current=False)


@pytest.fixture
def box(app):
    with Sandbox(app, eager=True) as box:
        yield box


def test_the_result_is_there_when_the_call_returns(app, box):
    add = app.task(name="add", track=True)(lambda a, b: a + b)
    assert add.delay(1, 2).get(timeout=0) == 3
    assert add.s(3, 4).delay().get() == 7
    assert app.send_task("add", (5, 6), track=True).get() == 11
    assert add.delay_many([(1, 1), (2, 2)]) == 2
    assert_enqueued(add, times=5)


def test_arguments_make_the_trip(app, box):
    seen = []
    job = app.task(name="job")(seen.append)
    with pytest.raises(ArgumentError, match="append"):
        job.delay(object())
    job.delay((1, 2))
    assert seen == [[1, 2]]


def test_waits_are_skipped_and_still_seen(app, box):
    @app.task(name="job", bind=True, track=True)
    def job(self) -> datetime:
        return self.request.eta

    before = box.clock.time
    assert (job.apply_async(countdown=3600).get() - before).total_seconds() == 3600
    assert box.clock.time == before
    assert_enqueued(job, countdown=3600)


class TestRetries:
    @pytest.fixture
    def attempts(self):
        return []

    @pytest.fixture
    def shaky(self, app, attempts):
        @app.task(name="shaky", bind=True, retry=Retry(max=5, on=(OSError,), delay=600), track=True)
        def shaky(self, until: int) -> int:
            attempts.append(self.request.attempt)
            if self.request.attempt < until:
                raise OSError(f"attempt {self.request.attempt}")
            return self.request.attempt

        return shaky

    def test_they_follow_at_once(self, box, shaky, attempts):
        assert shaky.delay(3).get() == 3
        assert attempts == [1, 2, 3]

    def test_the_last_error_is_raised(self, box, shaky, attempts):
        with pytest.raises(OSError, match="attempt 6"):
            shaky.delay(10)
        assert len(attempts) == 6

    def test_or_the_first_one(self, app, shaky, attempts):
        with Sandbox(app, eager=True, retry=False), pytest.raises(OSError, match="attempt 1"):
            shaky.delay(3)
        assert attempts == [1]

    def test_or_none(self, app, shaky):
        with Sandbox(app, eager=True, propagate=False):
            result = shaky.delay(10)
            assert result.state is State.FAILURE
            assert "attempt 6" in str(result.error)

    def test_a_thousand_need_no_stack(self, app, box):
        job = app.task(name="job", retry=Retry(max=None, on=(OSError,)), bind=True)(
            lambda self: fail() if self.request.attempt < 900 else 1
        )

        def fail():
            raise OSError

        job.delay()


def test_what_a_task_calls_runs_after_it(app, box):
    """As in a worker: the failure of the one is not the other's, and a chain of calls is no recursion."""
    ran = []

    @app.task(name="count")
    def count(n: int) -> None:
        if n:
            count.delay(n - 1)
        ran.append(n)

    count.delay(300)
    assert ran == list(range(300, -1, -1))


def test_a_caller_does_not_fail_with_what_it_called(app, box):
    fails = app.task(name="fails")(lambda: 1 / 0)
    ran = []

    @app.task(name="outer", track=True)
    def outer() -> str:
        fails.delay()
        ran.append(True)
        return "fine"

    with pytest.raises(ZeroDivisionError):
        outer.delay()
    assert ran == [True]


def test_a_task_that_waits_for_another_gets_it(app, box):
    inner = app.task(name="inner", track=True)(lambda: 41)
    outer = app.task(name="outer", track=True)(lambda: inner.delay().get(timeout=180) + 1)
    assert outer.delay().get() == 42


def test_a_task_that_waits_for_itself_is_told(app, box):
    @app.task(name="selfish", track=True, bind=True)
    def selfish(self) -> None:
        self.AsyncResult(self.request.id).get(timeout=180)

    with pytest.raises(SandboxError, match=r"selfish\[.*\] is STARTED"):
        selfish.delay()


def test_a_snooze_waits(app, box):
    """It waits for something outside, which would never come if it did not."""
    ready = []

    @app.task(name="poll", track=True)
    def poll() -> str:
        if not ready:
            raise Snooze(5)
        return "there"

    result = poll.delay()
    assert result.state is State.SCHEDULED
    ready.append(True)
    box.clock.advance(5)
    box.worker.run_until_idle()
    assert result.get() == "there"


def test_an_error_of_umbels_own_in_a_task_is_not_the_calls(app, box):
    """A task may call other stores: its ``BrokerUnreachable`` must not repeat the call that ran it."""
    ran = []

    def body() -> None:
        ran.append(True)
        raise BrokerUnreachable("another store")

    with pytest.raises(BrokerUnreachable):
        app.task(name="job")(body).delay()
    assert ran == [True]


def test_collected_calls_run_when_they_are_sent(app, box):
    ran = []
    job = app.task(name="job")(ran.append)
    with app.producer.collecting() as calls:
        job.delay(1)
        assert ran == []
    app.producer.flush(calls)
    assert ran == [1]


def test_a_thread_of_a_task_may_call(app, box):
    inner = app.task(name="inner", track=True)(lambda: "from a thread")
    got = []

    def outer() -> None:
        thread = threading.Thread(target=lambda: got.append(inner.delay().get()))
        thread.start()
        thread.join(180)

    app.task(name="outer")(outer).delay()
    assert got == ["from a thread"]


def test_coroutines(app, box):
    loops = []

    @app.task(name="coro", track=True)
    async def coro(n: int) -> int:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return n + 1

    assert coro.delay(1).get() == 2
    assert coro.delay(2).get() == 3
    assert loops[0] is loops[1], "a client that is kept between tasks belongs to its loop"

    async def test() -> int:
        assert coro.delay(5).get() == 6  # in a running loop too
        return await (await coro.adelay(7))

    assert asyncio.run(test()) == 8


def test_it_can_be_turned_on_and_off(app):
    ran = []
    job = app.task(name="job")(ran.append)
    with Sandbox(app) as box:
        job.delay(1)
        box.eager = True
        job.delay(2)
        assert ran == [1, 2]
        box.eager = False
        job.delay(3)
        assert ran == [1, 2]
