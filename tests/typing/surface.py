"""The typed surface, as users' checkers see it. Never run: `make check` has mypy and pyright read it.

`assert_type` says what must be inferred. Where a call is wrong, a comment names the error that must be reported; an
unneeded comment is itself an error.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from umbel import (
    AsyncResult,
    Concurrency,
    FlowResult,
    FlowState,
    Progress,
    Rate,
    Request,
    Retry,
    Schedule,
    Signature,
    State,
    Task,
    Umbel,
    When,
    chain,
    chord,
    cron,
    crontab,
    current_app,
    current_task,
    every,
    flow,
    group,
    shared_task,
)

app = Umbel("typed", broker="memory://", lease_ttl=timedelta(seconds=30), time_limit=None, redact=["card"])
Umbel("typed", hartbeat=1)  # type: ignore[call-arg]  # a misspelt setting
Umbel("typed", heartbeat="5")  # type: ignore[arg-type]  # a setting of the wrong type


@app.task
def plain(user_id: int, *, urgent: bool = False) -> str:
    return str(user_id)


def of_provider(provider: int) -> str:
    return str(provider)


@app.task(
    rate_limit=Rate("70/s", burst=5, key="{provider}"),
    max_concurrency=Concurrency(3, of_provider),
    unique=of_provider,
    unique_until="start",
    atomic=True,
)
def limited(provider: int) -> None: ...


assert_type(limited.delay(7).dropped, str)
assert_type(limited.delay_many([(1,)], max_backlog=10_000), int)
app.task(rate_limit=5, lock="{x}", on_locked="skip", debounce=timedelta(seconds=5), debounce_key="{x}", throttle=None)
app.task(lock=5)  # type: ignore[call-overload]  # no key
app.task(on_locked="fail")  # type: ignore[call-overload]  # neither waits nor skips


@app.task(
    queue="emails",
    soft_time_limit=20,
    time_limit=timedelta(seconds=30),
    expires=3600,
    retry=Retry(max=5, on=(OSError,), backoff=2, max_delay=600, jitter=True),
    throws=(KeyError,),
    aliases=["old.name"],
    on_worker_lost="dead",
    track=True,
)
def with_options(user_id: int) -> None: ...


@app.task(bind=True, autoretry_for=(OSError,), retry_backoff=True, max_retries=None)
def bound(self: Task[..., Any], user_id: int) -> float:
    assert_type(self.request, Request)
    assert_type(self.request.id, str)
    assert_type(self.request.eta, datetime | None)
    assert_type(self.request.retries, int)
    assert_type(self.progress(1, 2, "x"), bool)
    if user_id < 0:
        raise self.retry(exc=ValueError(), countdown=5)
    return 1.0


@app.task
async def asynchronous(user_id: int) -> list[int]:
    return [user_id]


@shared_task
def shared(user_id: int) -> bytes:
    return b""


@shared_task(bind=True, queue="q")
def shared_bound(self: Task[..., Any], user_id: int) -> None: ...


class Base(Task[..., Any]):
    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None: ...


@app.task(base=Base)
def based(user_id: int) -> int:
    return 1


# The parameters stay.
assert_type(plain(7, urgent=True), str)
assert_type(plain.delay(7, urgent=True), AsyncResult[str])
assert_type(with_options.delay(user_id=7), AsyncResult[None])
assert_type(bound(7), float)
assert_type(bound.delay(7), AsyncResult[float])
assert_type(asynchronous.delay(7), AsyncResult[list[int]])
assert_type(asynchronous.apply_async((7,)), AsyncResult[list[int]])
assert_type(shared.delay(7), AsyncResult[bytes])
assert_type(shared_bound.delay(7), AsyncResult[None])
assert_type(based.delay(7), AsyncResult[int])

# Wrong calls are errors.
plain.delay("7")  # type: ignore[arg-type]  # the wrong type
plain.delay()  # type: ignore[call-arg]  # no argument at all is given
plain.delay(7, True)  # type: ignore[call-arg]  # a keyword by position
plain.delay(7, urgnt=True)  # type: ignore[call-arg]  # a misspelt keyword
plain("7")  # type: ignore[arg-type]  # of a plain call too
bound.delay()  # type: ignore[call-arg]  # `self` is not the caller's, user_id is
bound.delay(1, 2)  # type: ignore[call-arg]  # one too many
asynchronous.delay("7")  # type: ignore[call-overload]  # of a coroutine function
shared.delay("7")  # type: ignore[arg-type]  # of a shared task

# Options of a call.
assert_type(
    plain.apply_async(
        args=(7,),
        kwargs={"urgent": True},
        countdown=60,
        eta=None,
        expires=datetime.now(UTC),
        queue="q",
        priority=9,
        task_id="x",
        headers={"a": 1},
    ),
    AsyncResult[str],
)
plain.apply_async((7,), countdwn=1)  # type: ignore[call-arg]  # a misspelt option
plain.apply_async((7,), countdown="1")  # type: ignore[arg-type]  # an option of the wrong type
plain.apply_async(7)  # type: ignore[arg-type]  # no sequence of arguments
assert_type(plain.delay_many(({"user_id": n} for n in range(3)), batch_size=1000, queue="q"), int)
assert_type(plain.delay_many([(1,), (2,)]), int)
plain.delay_many([1, 2])  # type: ignore[list-item]  # neither dicts nor tuples
plain.delay_many([(1,)], task_id="x")  # type: ignore[call-arg]  # one id for many

# Options of a task.
app.task(qeue="x")  # type: ignore[call-overload]  # a misspelt option
app.task(on_worker_lost="retry")  # type: ignore[call-overload]  # not one of the words
app.task(schedule="daily")  # type: ignore[call-overload]  # not a time
assert_type(cron("30 2 * * *", tz="Europe/Moscow", missed="skip"), When)
assert_type(crontab(minute=0, hour="*/3", day_of_week="mon-fri"), When)
cron("30 2 * * *", missed="some")  # type: ignore[arg-type]  # not one of the words
app.schedule("s", plain.s(1), every(30))
app.schedule("s", plain, every(timedelta(hours=1), jitter=5))
app.schedule("s", "add", every(30))  # type: ignore[arg-type]  # a name is no call
assert_type(app.schedules.list(), list[Schedule])
app.task(retry=3)  # type: ignore[call-overload]  # not a policy
Retry(max="3")  # type: ignore[arg-type]  # a policy's field of the wrong type


# Results.
async def results() -> None:
    assert_type(await asynchronous(7), list[int])
    r = plain.delay(7)
    assert_type(r.id, str)
    assert_type(r.state, State)
    assert_type(r.get(timeout=5), str)
    assert_type(r.result, str | None)
    assert_type(r.progress, Progress | None)
    assert_type(r.ready(), bool)
    assert_type(r.traceback, str | None)
    assert_type(r.duplicate_of, str | None)
    assert_type(await r, str)
    assert_type(await plain.adelay(7), AsyncResult[str])
    assert_type(await asynchronous.adelay(7), AsyncResult[list[int]])
    assert_type(await (await asynchronous.adelay(7)), list[int])
    assert_type(await plain.aapply_async((7,), queue="q"), AsyncResult[str])
    await plain.adelay("7")  # type: ignore[arg-type]  # the wrong type


# Signatures, the app, what is current.
assert_type(plain.s(7), Signature[str])
assert_type(plain.si(7).set(queue="q").clone((1,)), Signature[str])
assert_type(plain.s(7).delay(), AsyncResult[str])
assert_type(app.send_task("x", (1,), queue="q"), AsyncResult[Any])
assert_type(app.AsyncResult("x").get(), Any)
assert_type(app.tasks, dict[str, Task[..., Any]])
assert_type(current_app, Umbel)
assert_type(current_task.request, Request)
assert_type(shared_bound.name, str)
decorate: Callable[[Callable[[int], str]], Task[[int], str]] = app.task(queue="q")

# Flows.
assert_type(chain(plain.s(7), plain.si(7)).set(queue="q").delay(), FlowResult[Any])
assert_type(chord([plain.s(7)], plain.s()).apply_async(countdown=1).state, FlowState)
assert_type(group(plain.s(n) for n in range(3)).delay().get(timeout=1), Any)
assert_type(plain.chunks([(1,)], 2), group)
assert_type(plain.s(7).set(on_error="continue").link(plain.s()), Signature[str])
built = flow("nightly")
built.add(plain.s(), after=built.add(plain.s(7), name="first"), on_error="continue")
assert_type(built.delay().retry(), int)
assert_type(app.FlowResult("x").revoke().running, list[str])
