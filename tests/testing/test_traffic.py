"""Limits, locks, keys and atomic tasks, in a sandbox: what a user's tests see of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel import Concurrency, EnqueueRefused, Rate, State, Umbel, registry
from umbel.broker import MAX_THEN
from umbel.events import Event, TaskDropped, TaskEnqueued
from umbel.facets import Limits, require
from umbel.testing import Sandbox
from umbel.worker.atomic import MAX_BYTES


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_current", [])
    return Umbel("shop", broker=f"sqlite:///{tmp_path}/never.db")


@pytest.fixture
def box(app):
    with Sandbox(app) as box:
        yield box


def test_a_rate_holds_what_is_too_much(app, box):
    ran = []
    job = app.task(name="job", rate_limit="1/m")(ran.append)
    for number in range(3):
        job.delay(number)
    box.worker.run_until_idle()
    assert ran == [0]
    box.clock.advance(60)
    box.worker.run_until_idle()
    assert ran == [0, 1]
    box.worker.drain()
    assert ran == [0, 1, 2]


def test_what_is_declared_now_counts_for_what_waits(app, box):
    ran = []
    job = app.task(name="job", rate_limit=Rate("1/h", burst=2), max_concurrency=Concurrency(5))(ran.append)
    for number in range(5):
        job.delay(number)
    require(box.broker(), Limits).override("task:job", require(box.broker(), Limits).rules()["task:job"].declared)
    box.worker.run_until_idle()
    assert ran == [0, 1]


def test_unique_debounce_throttle(app, box):
    ran = []
    unique = app.task(name="unique", unique="{x}")(lambda x, n: ran.append(("unique", x, n)))
    debounced = app.task(name="debounced", debounce=5, debounce_key="{x}")(lambda x, n: ran.append(("debounced", x, n)))
    throttled = app.task(name="throttled", throttle=60)(lambda x, n: ran.append(("throttled", x, n)))
    for task in (unique, debounced, throttled):
        first = task.delay("a", 1)
        assert task.delay("a", 2).duplicate_of == first.id
    box.worker.run_until_idle()
    assert ran == [("unique", "a", 1), ("throttled", "a", 1)]
    box.clock.advance(5)
    box.worker.run_until_idle()
    assert ran[2:] == [("debounced", "a", 2)]
    assert [task.delay("a", 3).duplicate_of is None for task in (unique, debounced, throttled)] == [True, True, False]


def test_a_call_that_skips_a_lock(app, box):
    told = list[Event]()
    app.events.subscribe(TaskDropped, told.append)
    job = app.task(name="job", lock="{x}", on_locked="skip", track=True)(lambda x: x)
    first, second = job.delay(1), job.delay(1)
    assert (first.dropped, second.dropped, second.state) == ("", "locked", State.REVOKED)
    assert [(event.id, event.reason) for event in told] == [(second.id, "locked")]
    box.worker.run_until_idle()
    assert job.delay(1).dropped == ""


def test_eager_calls_wait_for_nothing(app):
    ran = []
    with Sandbox(app, eager=True):
        limited = app.task(name="limited", rate_limit="1/h")(ran.append)
        debounced = app.task(name="debounced", debounce=60, debounce_key="{x}")(lambda x: ran.append(x))
        limited.delay(1)
        limited.delay(2)
        debounced.delay(3)
    assert ran == [1, 2, 3]


# -- atomic


def test_calls_of_an_atomic_task_are_stored_when_it_succeeds(app, box):
    told = list[Event]()
    app.events.subscribe(TaskEnqueued, told.append)
    child = app.task(name="child")(lambda n: n)

    @app.task(name="parent", atomic=True)
    def parent() -> None:
        child.delay_many([(n,) for n in range(3)])
        child.apply_async((9,), countdown=60)
        assert len(box.enqueued_calls(child)) == 0 and require(box.broker(), Limits).backlog("default") == 0

    parent.delay()
    box.worker.run_one()
    assert len(box.enqueued_calls(child)) == 4 and len(told) == 5
    assert [run.task for run in box.worker.run_until_idle()] == ["child"] * 3


@pytest.mark.parametrize("end", ["raise", "retry", "discard", "snooze"])
def test_one_that_does_not_has_called_nothing(app, box, end):
    from umbel import Discard, RetryLater, Snooze

    child = app.task(name="child")(lambda: None)
    told = app.task(name="told")(lambda: None)

    class Base(app.Task):
        def on_failure(self, *args: object) -> None:
            told.delay()

    @app.task(name="parent", atomic=True, base=Base)
    def parent() -> None:
        child.delay()
        raise {"raise": ValueError("x"), "retry": RetryLater(5), "discard": Discard("x"), "snooze": Snooze(5)}[end]

    parent.delay()
    box.worker.run_until_idle(propagate=False)
    box.assert_not_enqueued(child)
    assert len(box.enqueued_calls(told)) == (end == "raise"), "a hook that tells of the failure is not part of what failed"


def test_a_coroutine_too(app, box):
    child = app.task(name="child")(lambda: None)

    @app.task(name="parent", atomic=True)
    async def parent(fails: bool) -> None:
        await child.adelay()
        if fails:
            raise ValueError

    parent.delay(True)
    box.worker.run_until_idle(propagate=False)
    box.assert_not_enqueued(child)
    parent.delay(False)
    box.worker.run_until_idle()
    box.assert_enqueued(child, times=1)


def test_the_call_that_is_too_many_is_refused_where_it_stands(app, box):
    reached = []
    child = app.task(name="child")(lambda n: n)

    @app.task(name="parent", atomic=True)
    def parent() -> None:
        for n in range(MAX_THEN):
            child.delay(n)
        reached.append(n)
        with pytest.raises(EnqueueRefused, match=r"parent is atomic.* 5,001 calls are too many"):
            child.delay(n)
        reached.append("after")

    parent.delay()
    box.worker.run_one()
    assert reached == [MAX_THEN - 1, "after"] and len(box.enqueued_calls(child)) == MAX_THEN


def test_and_so_is_the_one_that_is_too_large(app, box):
    child = app.task(name="child", max_payload=2 * MAX_BYTES)(lambda text: None)

    @app.task(name="parent", atomic=True)
    def parent() -> None:
        child.delay("x" * (MAX_BYTES // 2))
        child.delay("x" * MAX_BYTES)

    parent.delay()
    with pytest.raises(EnqueueRefused, match="bytes of calls are too many"):
        box.worker.run_one()
    box.assert_not_enqueued(child)
