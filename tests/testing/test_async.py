"""Coroutines: of the tasks, of the tests, of both."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from umbel import Umbel
from umbel.testing import Sandbox


@pytest.fixture
def app():
    return Umbel("async", broker="memory://", set_as_current=False)


@pytest.fixture
def box(app):
    with Sandbox(app) as box:
        yield box


@pytest.fixture
def where(app):
    @app.task(name="where", bind=True)
    async def where(self):
        await asyncio.sleep(0)
        assert self.request.id, "the run is current inside of its coroutine"
        return asyncio.get_running_loop(), threading.current_thread()

    return where


def test_on_a_loop_that_stays(box, where):
    where.delay()
    where.delay()
    [one, two] = [run.value for run in box.worker.run_until_idle()]
    assert one == two
    assert one[1] is threading.current_thread()


def test_the_threads_own_loop_is_not_touched(box, where):
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    try:
        where.delay()
        assert box.worker.run_one().value[0] is not mine
        box.worker.close()
        assert asyncio.get_event_loop_policy().get_event_loop() is mine
    finally:
        asyncio.set_event_loop(None)
        mine.close()


def test_in_a_running_loop_a_plain_step_works_too(box, where):
    async def test():
        where.delay()
        where.delay()
        runs = box.worker.run_until_idle()
        assert {run.value for run in runs} == {runs[0].value}
        assert runs[0].value[0] is not asyncio.get_running_loop()
        box.worker.close()

    asyncio.run(test())


def test_awaited_it_runs_on_the_tests_own_loop(app, box, where):
    """So what belongs to that loop, a pool of connections say, can be used by both."""

    async def test():
        await where.adelay()
        [run] = await box.worker.arun_until_idle()
        assert run.value == (asyncio.get_running_loop(), threading.current_thread())
        assert await box.worker.arun_one() is None
        await where.aapply_async(countdown=60)
        [run] = await box.worker.adrain()
        assert run.value[0] is asyncio.get_running_loop()

    asyncio.run(test())


def test_awaited_the_loop_goes_on(app, box):
    app.task(name="blocks")(lambda: gate.wait(180)).delay()
    gate = threading.Event()

    async def test():
        running = asyncio.create_task(box.worker.arun_one())
        await asyncio.sleep(0)
        gate.set()
        assert (await running).value is True

    asyncio.run(test())


def test_errors_come_out(app, box):
    @app.task(name="fails")
    async def fails():
        raise KeyError("in a coroutine")

    async def test():
        fails.delay()
        with pytest.raises(KeyError, match="in a coroutine"):
            await box.worker.arun_one()

    asyncio.run(test())
    fails.delay()
    with pytest.raises(KeyError, match="in a coroutine"):
        box.worker.run_one()


def test_no_context_of_the_caller(app, box):
    tenant = contextvars.ContextVar("tenant", default="none")

    @app.task(name="job")
    async def job():
        await asyncio.sleep(0)
        return tenant.get()

    async def test():
        tenant.set("mine")
        job.delay()
        job.delay()
        assert box.worker.run_one().value == "none"
        assert (await box.worker.arun_one()).value == "none"

    asyncio.run(test())


def test_what_a_coroutine_leaves_behind_is_cancelled(app):
    ended = []

    async def forgotten():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    kept = []

    @app.task(name="job")
    async def job():
        kept.append(asyncio.create_task(forgotten()))
        await asyncio.sleep(0)

    with Sandbox(app) as box:
        job.delay()
        box.worker.run_one()
    assert ended == [True]


def test_no_thread_is_left(app, where):
    before = set(threading.enumerate())

    async def test():
        with Sandbox(app) as box:
            where.delay()
            box.worker.run_one()

    asyncio.run(test())
    assert {one for one in threading.enumerate() if one.name.startswith("umbel")} <= before
