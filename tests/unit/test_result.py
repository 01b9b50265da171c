"""Handles: what they say while a worker (played here, on the real store) does its part."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from umbel import (
    AsyncResult,
    NotSupported,
    Progress,
    ResultNotKept,
    ResultTimeout,
    ResultUnreadable,
    State,
    Task,
    TaskExpired,
    TaskFailed,
    TaskRevoked,
    Umbel,
)
from umbel.broker import Broker, Settle
from umbel.codec import encode_failure, encode_result
from umbel.envelope import Delivery
from umbel.facets import Cancelled, Remembers
from umbel.outcome import Dead, Done, Dropped, Outcome, Retry
from umbel.request import encode_progress
from umbel.result import _serves

WHEN = datetime(2026, 5, 1, tzinfo=UTC)


class PlayedWorker:
    """One holder that claims by hand."""

    def __init__(self, store: Broker, queues: list[str]) -> None:
        self.store, self.queues, self.seq = store, queues, 0
        store.renew("worker", 20, msgspec.json.encode({"queues": queues}))
        store.admit("worker", "holder")

    def claim(self) -> Delivery:
        self.seq += 1
        (delivery,) = self.store.exchange("holder", self.seq, [], self.queues, 1).deliveries
        return delivery

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        self.seq += 1
        self.store.exchange("holder", self.seq, [Settle(delivery.receipt, outcome)], [], 0)

    def do(self, outcome: Outcome) -> None:
        self.settle(self.claim(), outcome)


@pytest.fixture
def worker(store: Broker) -> PlayedWorker:
    return PlayedWorker(store, ["default"])


@pytest.fixture
def job(app: Umbel) -> Task[[int], datetime]:
    @app.task(track=True, name="job")
    def job(n: int) -> datetime:
        return WHEN

    return job


def test_a_life_that_ends_well(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    assert (result.state, result.ready(), result.result, result.error, result.traceback, result.progress) == (
        State.PENDING,
        False,
        None,
        None,
        None,
        None,
    )
    delivery = worker.claim()
    assert result.state is State.STARTED
    assert isinstance(worker.store, Remembers)
    worker.store.report(delivery.receipt, result.id, encode_progress(Progress(1, 2)))
    assert result.progress == Progress(1, 2)
    worker.settle(delivery, Done(encode_result(WHEN, 1000)))
    assert (result.state, result.ready(), result.successful(), result.failed()) == (State.SUCCESS, True, True, False)
    assert result.get(timeout=0) == result.result == WHEN, "read as what the function says that it returns"
    assert result.error is None


def test_a_life_that_ends_badly(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    worker.do(Retry(0, encode_failure(OSError("first"))))
    assert str(result.error) == "OSError: first"
    assert (result.state, result.ready()) == (State.RETRY, False)
    worker.do(Dead("failed", encode_failure(OSError("down"))))
    assert (result.state, result.failed(), result.successful()) == (State.FAILURE, True, False)
    with pytest.raises(TaskFailed, match="OSError: down") as caught:
        result.get(timeout=0)
    assert (caught.value.type, caught.value.message, caught.value.reason) == ("OSError", "down", "failed")
    returned: Any = result.get(timeout=0, propagate=False)
    assert isinstance(returned, TaskFailed)
    assert "OSError: down" in (result.traceback or "")
    assert result.result is None


def test_a_success_after_a_retry_is_a_success(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    worker.do(Retry(0, encode_failure(OSError("first"))))
    worker.do(Done(encode_result(WHEN, 1000)))
    assert result.get(timeout=0) == WHEN
    assert result.error is None


def test_a_poisonous_task_says_so(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    worker.do(Dead("poison"))
    with pytest.raises(TaskFailed, match="killed the process"):
        result.get(timeout=0)


def test_cancelled_discarded_expired(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    cancelled, discarded = job.delay(1), job.delay(2)
    assert cancelled.revoke() is Cancelled.WAITING
    with pytest.raises(TaskRevoked, match="cancelled"):
        cancelled.get(timeout=0)
    worker.do(Dropped("discarded", encode_failure(ValueError("not needed"))))
    with pytest.raises(TaskRevoked, match="discarded: not needed"):
        discarded.get(timeout=0)
    expired = job.delay(3)
    worker.do(Dropped("expired"))
    with pytest.raises(TaskExpired):
        expired.get(timeout=0)
    assert discarded.revoke() is Cancelled.UNKNOWN


def test_a_result_that_was_not_kept(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    worker.do(Done(encode_result("x" * 100, 10)))
    assert result.successful()
    with pytest.raises(ResultUnreadable, match="max_result"):
        result.get(timeout=0)


def test_get_waits_for_the_end(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    delivery = worker.claim()
    thread = threading.Thread(target=lambda: worker.settle(delivery, Done(encode_result(WHEN, 1000))))
    timer = threading.Timer(0.05, thread.start)
    timer.start()
    assert result.get(timeout=180) == WHEN
    timer.join()
    thread.join()


def test_await_waits_without_blocking_the_loop(app: Umbel, job: Task[[int], datetime], worker: PlayedWorker) -> None:
    async def main() -> tuple[datetime, int]:
        result = await job.adelay(1)
        ticks = 0

        async def finish() -> None:
            nonlocal ticks
            for _ in range(3):
                await asyncio.sleep(0.005)
                ticks += 1
            worker.do(Done(encode_result(WHEN, 1000)))

        value, _ = await asyncio.gather(result, finish())
        return value, ticks

    assert asyncio.run(main()) == (WHEN, 3)


def test_await_raises_what_get_raises(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    async def main() -> datetime:
        result = await job.adelay(1)
        worker.do(Dead("failed", encode_failure(ValueError("no"))))
        return await result

    with pytest.raises(TaskFailed, match="ValueError: no"):
        asyncio.run(main())


def test_an_await_can_be_given_up(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    async def main() -> None:
        result = await job.adelay(1)
        await asyncio.wait_for(result, 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_time_runs_out(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    result = job.delay(1)
    with pytest.raises(ResultTimeout, match=r"not ended within 0\.01 s: it is PENDING$"):
        result.get(timeout=0.01)
    with pytest.raises(TimeoutError):
        result.get(timeout=0)


def test_no_worker_on_the_queue_is_said(app: Umbel, worker: PlayedWorker, caplog: pytest.LogCaptureFixture) -> None:
    emails = app.task(queue="emails", track=True, name="emails")(lambda: None).delay()
    with pytest.raises(ResultTimeout, match="no worker serves 'emails'"):
        emails.get(timeout=0)
    with caplog.at_level(logging.WARNING, "umbel"), pytest.raises(ResultTimeout):
        emails.get(timeout=1.2)
    assert [record.getMessage() for record in caplog.records] == [f"{emails.id}: no worker serves 'emails' (umbel worker -Q emails)"]


def test_untracked_tasks_name_the_option(app: Umbel) -> None:
    result = app.task(name="t")(lambda: None).delay()
    assert result.state is State.UNKNOWN
    with pytest.raises(ResultNotKept, match=r"t keeps no record.*track=True"):
        result.get()
    with pytest.raises(ResultNotKept):
        asyncio.run(awaited(result))


async def awaited(result: AsyncResult[Any]) -> Any:
    return await result


def test_ids_that_nobody_knows(app: Umbel, job: Task[[int], datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.producer.broker(), "await_record", None)  # there is nothing to wait for
    result = app.AsyncResult("nobody")
    assert (result.state, result.ready(), result.successful(), result.result, result.error, result.progress) == (
        State.UNKNOWN,
        False,
        False,
        None,
        None,
        None,
    )
    with pytest.raises(ResultNotKept, match="no record of nobody"):
        result.get()
    assert job.AsyncResult("x") == app.AsyncResult("x")
    assert len({app.AsyncResult("x"), app.AsyncResult("x"), app.AsyncResult("y")}) == 2
    assert repr(result) == "<AsyncResult nobody>"


def test_track_of_one_call(app: Umbel, worker: PlayedWorker) -> None:
    task = app.task(name="t")(lambda: None)
    result = task.apply_async(track=True)
    worker.do(Done(b"null"))
    assert result.get(timeout=0) is None


def test_a_duplicate_shows_the_first_calls_record(job: Task[[int], datetime], worker: PlayedWorker) -> None:
    job.apply_async((1,), task_id="mine")
    again = job.apply_async((1,), task_id="mine")
    worker.do(Done(encode_result(WHEN, 1000)))
    assert again.duplicate_of == "mine"
    assert again.get(timeout=0) == WHEN


def test_a_broker_without_records_says_so(app: Umbel, job: Task[[int], datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    result = job.delay(1)

    class Bare:
        capabilities = app.producer.broker().capabilities

    monkeypatch.setattr(app.producer, "broker", Bare)
    for ask in (lambda: result.state, lambda: result.get(timeout=0), result.revoke):
        with pytest.raises(NotSupported, match="does not support"):
            ask()


@pytest.mark.parametrize(
    ("about", "serves"),
    [
        (b'{"queues": ["emails@2", "emails"]}', True),
        (b'{"queues": ["emails@1"]}', True),
        (b'{"queues": ["emails@2", "other"]}', False),
        (b"{}", True),
        (b"not json", True),
    ],
)
def test_a_queue_of_a_release_is_served_by_who_would_take_it_over(about: bytes, serves: bool) -> None:
    assert _serves(about, "emails@1") is serves
