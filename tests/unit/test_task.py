"""Task objects: called, sent, patched, subclassed."""

from __future__ import annotations

import asyncio
import inspect
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from umbel import (
    ArgumentError,
    ConfigError,
    MaxRetriesExceeded,
    PayloadTooLarge,
    Retry,
    RetryLater,
    State,
    Task,
    Umbel,
    current_task,
)
from umbel.broker import Broker
from umbel.envelope import EXPLICIT, LOST_DEAD, TRACKED, Envelope
from umbel.facets import Inspects, Place
from umbel.message import Body, decode_body
from umbel.request import Request, entered


def waiting(store: Broker, place: Place = Place.READY) -> list[Envelope]:
    assert isinstance(store, Inspects)
    return [listed.envelope for listed in store.browse(None, place, 1000).messages]


def bodies(store: Broker, place: Place = Place.READY) -> list[dict[str, Any]]:
    import msgspec

    return [msgspec.json.decode(envelope.body) for envelope in waiting(store, place)]


@pytest.fixture
def send_email(app: Umbel) -> Task[[int], None]:
    @app.task(queue="emails", track=True)
    def send_email(user_id: int, *, urgent: bool = False) -> str:
        """Send it."""
        return f"{user_id} {urgent}"

    return send_email  # type: ignore[return-value]  # tests call it in wrong ways too


def run_in(task: Task[..., Any], *, attempt: int = 1, id: str = "run-1") -> Request:
    return Request(task, Envelope(id, "q", b"", attempt=attempt), Body(task.name), (), {})


def test_a_plain_call_runs_here_and_now(send_email: Task[..., Any], store: Broker) -> None:
    assert send_email(7, urgent=True) == "7 True"
    assert waiting(store) == []


def test_delay_stores_one_message(send_email: Task[..., Any], store: Broker) -> None:
    result = send_email.delay(7, urgent=True)
    (envelope,) = waiting(store)
    assert envelope.id == result.id
    assert (envelope.queue, envelope.priority, envelope.flags, envelope.crash_limit, envelope.loss_limit) == ("emails", 5, TRACKED, 3, 10)
    assert bodies(store) == [{"t": send_email.name, "a": [7], "k": {"urgent": True}}]
    assert result.state is State.PENDING


def test_a_message_without_arguments_is_as_small_as_can_be(app: Umbel, store: Broker) -> None:
    @app.task(name="t")
    def t() -> None: ...

    t.delay()
    assert waiting(store)[0].body == b'{"t":"t"}'


def test_options_of_one_call(send_email: Task[..., Any], store: Broker) -> None:
    now = store.ping()
    send_email.apply_async((1,), {"urgent": True}, queue="q2", priority=9, headers={"trace": ["a"]}, track=False, expires=60)
    (envelope,) = waiting(store)
    assert (envelope.queue, envelope.priority, envelope.flags) == ("q2", 9, 0)
    assert now + 59_000 < envelope.expires <= store.ping() + 60_000
    assert decode_body(envelope.body).h == {"trace": ["a"]}
    send_email.apply_async([2], expires=datetime(2100, 1, 1, tzinfo=UTC))
    assert waiting(store)[-1].expires == 4_102_444_800_000 or waiting(store)[0].expires == 4_102_444_800_000


def test_task_options_reach_the_envelope(app: Umbel, store: Broker) -> None:
    @app.task(priority=0, expires=10, on_worker_lost="dead", crash_limit=1)
    def t() -> None: ...

    t.delay()
    (envelope,) = waiting(store)
    assert (envelope.queue, envelope.priority, envelope.crash_limit, envelope.flags) == ("default", 0, 1, LOST_DEAD)
    assert envelope.expires > store.ping()


def test_countdown_and_eta(send_email: Task[..., Any], app: Umbel, store: Broker) -> None:
    app.conf.timezone = "Europe/Moscow"
    send_email.apply_async((1,), countdown=timedelta(hours=1))
    send_email.apply_async((2,), eta=datetime(2100, 1, 1, 3))  # noqa: DTZ001 - naive: in the app's zone
    send_email.apply_async((3,), eta=datetime(2100, 1, 1, tzinfo=UTC))
    send_email.apply_async((4,), countdown=-5)
    assert len(waiting(store)) == 1
    assert isinstance(store, Inspects)
    listed = store.browse(None, Place.SCHEDULED).messages
    assert [entry.due for entry in listed[1:]] == [4_102_444_800_000] * 2
    assert abs((listed[0].due or 0) - store.ping() - 3_600_000) < 60_000
    assert decode_body(listed[1].envelope.body).h == {"u-eta": 4_102_444_800_000}


def test_an_id_of_ones_own_is_deduplicated(send_email: Task[..., Any], store: Broker) -> None:
    first = send_email.apply_async((1,), task_id="mine")
    again = send_email.apply_async((1,), task_id="mine")
    assert (first.id, first.duplicate_of) == ("mine", None)
    assert (again.id, again.duplicate_of) == ("mine", "mine")
    (envelope,) = waiting(store)
    assert envelope.flags & EXPLICIT


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"countdwn": 1}, ConfigError, "did you mean 'countdown'"),
        ({"time_limit": 1}, ConfigError, "option of the task"),
        ({"link": 1}, ConfigError, "belongs to a call that is not made yet"),
        ({"countdown": 1, "eta": datetime(2100, 1, 1, tzinfo=UTC)}, ArgumentError, "not both"),
        ({"countdown": "1"}, ArgumentError, "seconds"),
        ({"countdown": float("nan")}, ArgumentError, "no time"),
        ({"countdown": float("inf")}, ArgumentError, "no time"),
        ({"eta": 5}, ArgumentError, "datetime"),
        ({"priority": 10}, ArgumentError, "0 to 9"),
        ({"queue": "a\x00b"}, ArgumentError, "control characters"),
        ({"queue": "x" * 300}, ArgumentError, "200 bytes"),
        ({"task_id": ""}, ArgumentError, "empty"),
        ({"task_id": "\ud800"}, ArgumentError, "surrogate"),
        ({"headers": [1]}, ArgumentError, "dict"),
        ({"headers": {"u-root": "x"}}, ArgumentError, "umbel's own"),
        ({"headers": {"x": datetime(2100, 1, 1, tzinfo=UTC)}}, ArgumentError, "plain JSON"),
        ({"headers": {"x": float("nan")}}, ArgumentError, "plain JSON"),
        ({"headers": {1: 2}}, ArgumentError, "header name"),
    ],
)
def test_options_that_cannot_be_meant(send_email: Task[..., Any], store: Broker, options: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        send_email.apply_async((1,), **options)
    assert waiting(store) == waiting(store, Place.SCHEDULED) == []


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"nope": 1}), ((1,), {"user_id": 1})])
def test_wrong_parameters_are_refused_as_by_a_plain_call(
    send_email: Task[..., Any], store: Broker, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError) as plain:
        send_email(*args, **kwargs)
    with pytest.raises(TypeError) as sent:
        send_email.delay(*args, **kwargs)
    assert str(sent.value) == str(plain.value)
    assert waiting(store) == []


@pytest.mark.parametrize(("args", "kwargs"), [("abc", None), (7, None), ((1,), [1])])
def test_args_and_kwargs_of_the_wrong_kind(send_email: Task[..., Any], args: Any, kwargs: Any) -> None:
    with pytest.raises(ArgumentError, match="must be a"):
        send_email.apply_async(args, kwargs)


def test_a_large_call_is_refused_with_its_largest_argument(app: Umbel, store: Broker, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    def t(a: str, b: str = "") -> None: ...

    with pytest.raises(
        PayloadTooLarge, match=r"t\(\): the call has 2\d{5} bytes, more than max_payload = 262144; the largest argument is b"
    ):
        t.delay("x", b="y" * 270_000)
    assert waiting(store) == []
    with caplog.at_level(logging.WARNING, "umbel"):
        t.delay("x" * 20_000)
        t.delay("x" * 20_000)
        t.delay("x" * 10_000)
    assert len(caplog.records) == 1
    assert "the largest argument is a" in caplog.text
    assert len(waiting(store)) == 3


def test_a_task_has_a_limit_of_its_own(app: Umbel) -> None:
    @app.task(max_payload=100)
    def t(a: str) -> None: ...

    t.delay("x" * 50)
    with pytest.raises(PayloadTooLarge):
        t.delay("x" * 100)


def test_ten_megabytes_and_hostile_text_are_refused_or_inert(app: Umbel, store: Broker) -> None:
    @app.task
    def t(a: str) -> None: ...

    with pytest.raises(PayloadTooLarge):
        t.delay("x" * 10_000_000)
    with pytest.raises(ArgumentError, match="surrogate"):
        t.delay("\udcff")
    hostile = "\x00\x1b[31m{0.__class__}../../etc<script>"
    t.delay(hostile)
    assert bodies(store)[0]["a"] == [hostile]


# -- what tests and callers do with task objects


def test_tests_can_patch_them(send_email: Task[..., Any]) -> None:
    with mock.patch.object(send_email, "apply_async") as sent:
        send_email.delay(7, urgent=True)
        asyncio.run(send_email.adelay(8))
        send_email.s(9).delay()
    assert [call.args for call in sent.call_args_list] == [((7,), {"urgent": True}), ((8,), {}), ((9,), {})]
    with mock.patch.object(send_email, "delay") as delayed:
        send_email.delay(1)
    delayed.assert_called_once_with(1)
    with mock.patch.object(send_email, "run", return_value="patched"):
        assert send_email(1) == "patched"
    assert send_email(1) == "1 False"


def test_they_look_like_their_functions(send_email: Task[..., Any]) -> None:
    assert send_email.__name__ == "send_email"  # type: ignore[attr-defined]  # taken from the function
    assert send_email.__doc__ == "Send it."
    assert send_email.name == f"{__name__}.send_email"
    assert str(inspect.signature(send_email)) == "(user_id: 'int', *, urgent: 'bool' = False) -> 'str'"
    assert repr(send_email) == f"<Task {__name__}.send_email>"


def test_from_a_coroutine(send_email: Task[..., Any], store: Broker) -> None:
    async def main() -> tuple[str, str]:
        return (await send_email.adelay(1)).id, (await send_email.aapply_async((2,), queue="other")).id

    ids = asyncio.run(main())
    assert {envelope.id for envelope in waiting(store)} == set(ids)


def test_async_tasks(app: Umbel, store: Broker) -> None:
    @app.task
    async def t(a: int) -> int:
        return a + 1

    assert t.is_async
    assert asyncio.run(t(1)) == 2
    t.delay(1)
    assert len(waiting(store)) == 1


def test_a_generator_is_refused(app: Umbel) -> None:
    with pytest.raises(ConfigError, match="generator"):

        @app.task
        def t() -> Any:
            yield 1


# -- bound tasks


@pytest.fixture
def bound(app: Umbel) -> Task[..., Any]:
    @app.task(bind=True, max_retries=2)
    def bound(self: Task[..., Any], x: int = 0) -> tuple[Any, ...]:
        return self, x, self.request.id, self.name

    return bound


def test_bind_gives_self(bound: Task[..., Any], store: Broker) -> None:
    assert bound(3) == (bound, 3, "", bound.name)
    assert bound.request.called_directly
    with entered(run_in(bound)):
        assert bound.invoke((3,), {}) == (bound, 3, "run-1", bound.name)
    bound.delay(3)
    assert bodies(store)[0]["a"] == [3]
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        bound.delay(1, 2)


def test_another_tasks_run_is_not_its_own(bound: Task[..., Any], send_email: Task[..., Any]) -> None:
    with entered(run_in(send_email)):
        assert bound.request.id == ""
        assert send_email.request.id == "run-1"
        assert current_task == send_email


def test_retry_asks_for_another_run(bound: Task[..., Any]) -> None:
    cause = OSError("down")
    with entered(run_in(bound)), pytest.raises(RetryLater) as caught:
        bound.retry(exc=cause, countdown=timedelta(seconds=5))
    assert (caught.value.countdown, caught.value.exc, caught.value.max_retries) == (5.0, cause, None)
    with entered(run_in(bound)), pytest.raises(RetryLater) as caught:
        try:
            raise cause
        except OSError:
            bound.retry()
    assert caught.value.exc is cause, "what is being handled is the cause"


def test_retry_ends_when_none_is_left(bound: Task[..., Any]) -> None:
    with entered(run_in(bound, attempt=3)), pytest.raises(MaxRetriesExceeded, match="after 3 attempts"):
        bound.retry()
    with entered(run_in(bound, attempt=3)), pytest.raises(OSError, match="down"):
        bound.retry(exc=OSError("down"))
    with entered(run_in(bound, attempt=3)), pytest.raises(RetryLater):
        bound.retry(max_retries=3)


def test_retry_in_a_plain_call(bound: Task[..., Any]) -> None:
    with pytest.raises(OSError, match="down"):
        bound.retry(exc=OSError("down"))
    with pytest.raises(RetryLater):
        bound.retry()


def test_retry_without_a_policy_is_celerys(app: Umbel) -> None:
    task = app.task(name="t")(lambda: None)
    assert (task.max_retries, task.default_retry_delay, task.options.retry) == (3, 180, None)
    own = app.task(name="u", retry=Retry(max=None, delay=1))(lambda: None)
    assert (own.max_retries, own.default_retry_delay) == (None, 1)


def test_progress_goes_to_the_record(bound: Task[..., Any]) -> None:
    told: list[bytes] = []
    request = run_in(bound)

    def report(data: bytes) -> bool:
        told.append(data)
        return True

    request._report = report
    with entered(request):
        assert bound.progress(3, 10, "rows")
        assert bound.progress(0)
    assert told == [b'{"done":3,"total":10,"note":"rows"}', b"{}"]
    assert not bound.progress(1)


# -- classes


def test_hooks_and_own_ways_of_running(app: Umbel) -> None:
    class Context(Task[Any, Any]):
        entered = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.entered += 1
            return self.run(*args, **kwargs)

        def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None: ...

    task = app.task(base=Context, name="t")(lambda a: a * 2)
    assert isinstance(task, Context)
    assert task.invoke((2,), {}) == 4
    assert task(3) == 6
    assert task.entered == 2
    assert task.has_hooks
    assert not app.task(name="u")(lambda: None).has_hooks


def test_a_class_with_state_of_its_own(app: Umbel) -> None:
    class Stateful(Task[Any, Any]):
        def __init__(self) -> None:
            self.cache: dict[str, int] = {}

    @app.task(base=Stateful, bind=True)
    def t(self: Stateful, a: int) -> int:
        self.cache["a"] = a
        return len(self.cache)

    assert t(1) == 1


def test_class_based_tasks(app: Umbel, store: Broker) -> None:
    class Adder(Task[Any, int]):
        name = "adder"
        queue = "sums"

        def run(self, a: int, b: int = 1) -> int:
            return a + b

    task = app.register_task(Adder())
    assert app.tasks["adder"] is task
    assert task(1, b=4) == 5
    assert task.invoke((1,), {}) == 2
    task.delay(1)
    assert waiting(store)[0].queue == "sums"
    with pytest.raises(TypeError, match="missing 1 required"):
        task.delay()
    with pytest.raises(ConfigError, match="no run"):
        app.register_task(Task)


def test_base_must_be_a_task(app: Umbel) -> None:
    with pytest.raises(ConfigError, match=r"subclass of umbel\.Task"):
        app.task(base=dict)(lambda: None)  # type: ignore[arg-type]  # what is refused
