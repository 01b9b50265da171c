"""Schedules in a sandbox: the test moves the clock, and what is due is called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from umbel import Umbel, cron, current_task, every
from umbel.testing import FrozenClock, Sandbox, SandboxError

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)


@pytest.fixture
def app() -> Umbel:
    return Umbel("sandbox", broker="memory://", set_as_current=False)


def test_a_day_passes(app: Umbel) -> None:
    seen = []

    @app.task(name="nightly", schedule=cron("30 2 * * *", "America/New_York"))
    def nightly() -> None:
        seen.append((current_task.request.schedule, current_task.request.tick))

    with Sandbox(app, clock=FrozenClock(NOON)) as box:
        assert box.worker.run_until_idle() == []
        box.assert_not_enqueued(nightly)
        box.clock.advance(timedelta(days=3))
        runs = box.worker.run_until_idle()
        box.assert_enqueued(nightly, times=3)
    assert [run.task for run in runs] == ["nightly"] * 3
    assert seen == [
        ("nightly", datetime(2026, 3, day, hour, minute, tzinfo=UTC)) for day, hour, minute in ((8, 7, 0), (9, 6, 30), (10, 6, 30))
    ]


def test_several_in_the_order_of_their_ticks(app: Umbel) -> None:
    @app.task(name="a", schedule=every(60))
    def a() -> None: ...

    @app.task(name="b", schedule=every(90))
    def b() -> None: ...

    with Sandbox(app, clock=FrozenClock(NOON)) as box:
        box.clock.advance(180)
        assert [run.task for run in box.worker.run_until_idle()] == ["a", "b", "a", "a", "b"]
        assert box.worker.run_until_idle() == []
        box.clock.advance(59)
        assert box.worker.run_one() is None
        box.clock.advance(1)
        run = box.worker.run_one()
        assert run is not None and run.task == "a"


def test_at_run_time_and_paused(app: Umbel) -> None:
    @app.task(name="a")
    def a(n: int) -> None: ...

    with Sandbox(app) as box:
        app.schedules.add("mine", a.s(7), every(3600))
        box.clock.advance(3600)
        assert [run.task for run in box.worker.run_until_idle()] == ["a"]
        app.schedules.pause("mine")
        box.clock.advance(7200)
        assert box.worker.run_until_idle() == []
        app.schedules.resume("mine")
        box.clock.advance(3600)
        assert len(box.worker.run_until_idle()) == 1
    with Sandbox(app):
        assert app.schedules.list() == [], "each sandbox has a store of its own"


def test_overlap(app: Umbel) -> None:
    @app.task(name="a", schedule=every(60, overlap=False))
    def a() -> None: ...

    with Sandbox(app, clock=FrozenClock(NOON)) as box:
        box.clock.advance(600)
        assert len(box.worker.run_until_idle()) == 1, "nothing ran in between, so the first one still waited"


def test_draining_comes_to_an_end(app: Umbel) -> None:
    @app.task(name="a", schedule=every(60))
    def a() -> None: ...

    @app.task(name="later")
    def later() -> None: ...

    with Sandbox(app, clock=FrozenClock(NOON)) as box:
        later.apply_async(countdown=3600)
        assert sorted(run.task for run in box.worker.drain()) == [*["a"] * 60, "later"]
        assert box.worker.run_until_idle() == []


def test_eager_calls_run_no_schedules(app: Umbel) -> None:
    @app.task(name="a", schedule=every(1))
    def a() -> None: ...

    @app.task(name="b")
    def b() -> None: ...

    with Sandbox(app, eager=True) as box:
        box.clock.advance(10)
        b.delay()
        box.assert_not_enqueued(a)


def test_a_clock_that_catches_up_fires_nothing(app: Umbel) -> None:
    """Else a test would see a schedule's call where an absolute time was named, if a full second passed just then."""

    @app.task(name="a", schedule=every(0.001))
    def a() -> None: ...

    @app.task(name="b")
    def b() -> None: ...

    with Sandbox(app) as box:
        b.apply_async(eta=datetime.now(UTC))
        runs = box.worker.run_until_idle()
        assert {run.task for run in runs} <= {"b"}


def test_too_many(app: Umbel) -> None:
    @app.task(name="a", schedule=every(1))
    def a() -> None: ...

    with Sandbox(app) as box:
        box.clock.advance(timedelta(days=1))
        with pytest.raises(SandboxError, match="move the clock less"):
            box.worker.run_until_idle()
