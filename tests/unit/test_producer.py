"""From a call to the broker: errors, collecting, middleware, events, parents, connections, bulk."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from umbel import ArgumentError, EnqueueRefused, EnqueueUnknown, Middleware, PayloadTooLarge, Progress, Request, Task, Umbel
from umbel.broker import Broker, Receipted
from umbel.codec import CallSignature
from umbel.connections import Connections
from umbel.envelope import Envelope
from umbel.errors import BrokerUnreachable, ReplyLost, StoreFull, StoreUnusable
from umbel.events import Emitter, Event, TaskEnqueued
from umbel.facets import Inspects, Place
from umbel.message import Body, Message, decode_body
from umbel.middleware import run_through
from umbel.producer import Collector
from umbel.request import current, decode_progress, encode_progress, entered
from umbel.settings import Settings


def stored(store: Broker) -> list[Envelope]:
    assert isinstance(store, Inspects)
    return [listed.envelope for place in (Place.READY, Place.SCHEDULED) for listed in store.browse(None, place, 5000).messages]


def arguments(store: Broker) -> list[Any]:
    bodies = [decode_body(envelope.body) for envelope in stored(store)]
    return [CallSignature(None).decode(body.a, body.k) for body in bodies]


@pytest.fixture
def job(app: Umbel) -> Task[..., None]:
    @app.task(name="job")
    def job(n: int = 0, *, note: str = "") -> None: ...

    return job


class Failing:
    """The producer's broker, with ``enqueue`` failing as told: before it does anything, or after it did."""

    def __init__(self, app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real = app.producer.broker()
        self.before: Exception | None = None
        self.after: Exception | None = None
        self.calls: list[int] = []
        enqueue = self.real.enqueue

        def failing(envelopes: Sequence[Envelope]) -> list[Receipted]:
            self.calls.append(len(envelopes))
            if self.before:
                raise self.before
            answers = enqueue(envelopes)
            if self.after:
                raise self.after
            return answers

        monkeypatch.setattr(self.real, "enqueue", failing)


@pytest.fixture
def failing(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(app, monkeypatch)


# -- errors


@pytest.mark.parametrize("error", [StoreFull("full"), StoreUnusable("newer")])
def test_what_is_certainly_not_stored_is_refused(job: Task[..., None], failing: Failing, store: Broker, error: Exception) -> None:
    failing.before = error
    with pytest.raises(EnqueueRefused, match=str(error)) as caught:
        job.delay(1)
    assert caught.value.__cause__ is error
    assert stored(store) == []
    assert failing.calls == [1]


def test_a_lost_reply_is_unknown_and_its_id_safe_to_repeat(job: Task[..., None], failing: Failing, store: Broker) -> None:
    failing.after = ReplyLost("cut")
    with pytest.raises(EnqueueUnknown) as caught:
        job.apply_async((1,), task_id="mine")
    assert (caught.value.id, caught.value.ids, caught.value.repeatable) == ("mine", ("mine",), True)
    assert "is safe" in str(caught.value)
    failing.after = None
    assert job.apply_async((1,), task_id=caught.value.id).duplicate_of == "mine"
    assert len(stored(store)) == 1
    assert failing.calls == [1, 1]


def test_a_lost_reply_of_a_call_without_an_own_id_promises_nothing(job: Task[..., None], failing: Failing) -> None:
    failing.after = ReplyLost("cut")
    for send in (job.delay, lambda: job.delay_many([()])):
        with pytest.raises(EnqueueUnknown, match="may double it") as caught:
            send()
        assert not caught.value.repeatable, "the store does not remember ids that umbel made"


def test_a_broker_that_does_not_open_refuses(app: Umbel, job: Task[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Any) -> None:
        raise BrokerUnreachable("nobody there")

    monkeypatch.setattr(type(app.make_broker()), "open", closed)
    with pytest.raises(EnqueueRefused, match="nobody there"):
        job.delay()


# -- collecting


def test_collected_calls_are_sent_by_whoever_collects(app: Umbel, job: Task[..., None], store: Broker) -> None:
    told: list[TaskEnqueued] = []
    app.events.subscribe(TaskEnqueued, told.append)
    with app.producer.collecting() as calls:
        result = job.delay(1)
        assert job.delay_many([(2,), (3,)]) == 2
        app.send_task("other", (4,))
    assert stored(store) == []
    assert told == []
    assert calls.envelopes[0].id == result.id
    assert len(app.producer.flush(calls)) == 4
    assert arguments(store) == [((n,), {}) for n in (1, 2, 3, 4)]
    assert [event.task for event in told] == ["job", "job", "job", "other"]
    assert calls.envelopes == []
    job.delay(5)
    assert len(stored(store)) == 5


def test_collected_calls_can_be_dropped_and_checks_still_hold(app: Umbel, job: Task[..., None], store: Broker) -> None:
    with pytest.raises(RuntimeError, match="rolled back"), app.producer.collecting():
        job.delay(1)
        with pytest.raises(TypeError):
            job.delay(1, 2, 3)
        raise RuntimeError("rolled back")
    job.delay(2)
    assert arguments(store) == [((2,), {})]


def test_collectors_nest_and_may_refuse(app: Umbel, job: Task[..., None]) -> None:
    class AtMostOne(Collector):
        def add(self, envelopes: Sequence[Envelope]) -> None:
            if len(self.envelopes) + len(envelopes) > 1:
                raise EnqueueRefused("at most one call")
            super().add(envelopes)

    with app.producer.collecting() as outer, app.producer.collecting(AtMostOne()) as inner:
        job.delay(1)
        with pytest.raises(EnqueueRefused, match="at most one"):
            job.delay(2)
    assert (len(outer.envelopes), len(inner.envelopes)) == (0, 1)


def test_other_threads_are_not_collected(app: Umbel, job: Task[..., None], store: Broker) -> None:
    with app.producer.collecting() as calls:
        thread = threading.Thread(target=job.delay)
        thread.start()
        thread.join()
    assert calls.envelopes == []
    assert len(stored(store)) == 1


def test_many_collected_calls_go_in_steps(app: Umbel, job: Task[..., None], failing: Failing) -> None:
    with app.producer.collecting() as calls:
        job.delay_many((n,) for n in range(2500))
    app.producer.flush(calls)
    assert failing.calls == [1000, 1000, 500]


# -- middleware and events


class Tagging(Middleware):
    def __init__(self, tag: str, seen: list[str]) -> None:
        self.tag, self.seen = tag, seen

    def send(self, message: Message, call_next: Any) -> str:
        self.seen.append(f"{self.tag}>")
        id: str = call_next(message.replace(headers={**message.headers, self.tag: len(self.seen)}))
        self.seen.append(f"<{self.tag}")
        return id


def test_middleware_is_an_onion_around_the_call(app: Umbel, job: Task[..., None], store: Broker) -> None:
    seen: list[str] = []
    app.middleware += [Tagging("a", seen), Tagging("b", seen)]
    job.apply_async((1,), headers={"own": 1})
    assert seen == ["a>", "b>", "<b", "<a"]
    assert decode_body(stored(store)[0].body).h == {"own": 1, "a": 1, "b": 2}


def test_middleware_may_change_anything_of_a_call(app: Umbel, job: Task[..., None], store: Broker) -> None:
    class Changing(Middleware):
        def send(self, message: Message, call_next: Any) -> str:
            assert (message.task, message.args, message.queue) == ("job", (1,), "default")
            id: str = call_next(message.replace(args=(2,), kwargs={"note": "x"}, queue="other", priority=1, id="changed", after=60_000))
            return id

    app.middleware.append(Changing())
    assert job.delay(1).id == "changed"
    (envelope,) = stored(store)
    assert (envelope.id, envelope.queue, envelope.priority) == ("changed", "other", 1)
    assert arguments(store) == [((2,), {"note": "x"})]
    assert job.delay_many([(1,)]) == 1


def test_middleware_may_refuse(app: Umbel, job: Task[..., None], store: Broker) -> None:
    class Refusing(Middleware):
        def send(self, message: Message, call_next: Any) -> str:
            raise PermissionError("not you")

    class Forgetting(Middleware):
        def send(self, message: Message, call_next: Any) -> str:
            return message.id

    app.middleware.append(Forgetting())
    with pytest.raises(EnqueueRefused, match="0 times"):
        job.delay(1)
    app.middleware[:] = [Refusing()]
    with pytest.raises(PermissionError):
        job.delay(1)
    assert stored(store) == []


def test_middleware_around_a_run(job: Task[..., None]) -> None:
    class Around(Middleware):
        def run(self, request: Request, call_next: Any) -> Any:
            return [request.task, call_next(request)]

    request = Request(job, Envelope("1", "q", b""), Body("job"), (), {})
    assert run_through([Around(), Middleware(), Around()], request, lambda request: request.id) == ["job", ["job", "1"]]


def test_events_tell_each_call_and_who_listens_changes_nothing(app: Umbel, job: Task[..., None], store: Broker) -> None:
    told: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("a subscriber's fault")

    app.events.subscribe(TaskEnqueued, broken)
    end = app.events.subscribe(Event, told.append)
    job.apply_async(task_id="a")
    job.apply_async(task_id="a")
    assert told == [
        TaskEnqueued(id="a", task="job", queue="default"),
        TaskEnqueued(id="a", task="job", queue="default", duplicate_of="a"),
    ]
    end()
    end()
    job.delay()
    assert len(told) == 2
    with pytest.raises(AttributeError):
        told[0].id = "b"  # type: ignore[attr-defined]  # events are frozen


def test_nobody_listens_for_nothing() -> None:
    emitter = Emitter()
    assert not emitter.wanted(TaskEnqueued)
    end = emitter.subscribe(TaskEnqueued, lambda event: None)
    assert emitter.wanted(TaskEnqueued)
    assert not emitter.wanted(Event)
    end()
    assert not emitter.wanted(TaskEnqueued)


# -- from inside a run


def test_calls_know_their_parent_and_their_root(job: Task[..., None], store: Broker) -> None:
    parent = Request(job, Envelope("parent", "q", b""), Body("job"), (), {})
    with entered(parent):
        assert current.get() is parent
        job.delay(1)
    assert current.get() is None
    body = decode_body(stored(store)[0].body)
    assert body.h == {"u-root": "parent", "u-parent": "parent"}
    child = Request(job, stored(store)[0], body, (1,), {})
    assert (child.root_id, child.parent_id, child.headers) == ("parent", "parent", {})
    with entered(child):
        job.apply_async((2,), headers={"x": 1}, queue="z")
    grandchild = next(envelope for envelope in stored(store) if envelope.queue == "z")
    assert decode_body(grandchild.body).h == {"x": 1, "u-root": "parent", "u-parent": child.id}


def test_what_a_request_says(job: Task[..., None], store: Broker) -> None:
    job.apply_async((1,), countdown=60, expires=120, priority=7, task_id="mine")
    (envelope,) = stored(store)
    request = Request(job, envelope, decode_body(envelope.body), (1,), {})
    assert (request.id, request.task, request.attempt, request.retries, request.queue, request.priority) == (
        "mine",
        "job",
        1,
        0,
        "default",
        7,
    )
    assert (request.root_id, request.parent_id, request.flow_id, request.called_directly) == ("mine", None, None, False)
    assert request.eta is not None
    assert request.enqueued_at is not None
    assert request.expires is not None
    # the clock is read for each of them
    assert (request.eta - request.enqueued_at).total_seconds() == pytest.approx(60, abs=5)
    assert (request.expires - request.enqueued_at).total_seconds() == pytest.approx(120, abs=5)
    assert "mine" in repr(request)
    foreign = Request(job, envelope, Body("job", h={"u-eta": "x", "u-root": 3, "u-parent": []}), (), {})
    assert (foreign.eta, foreign.root_id, foreign.parent_id) == (None, "mine", None)


def test_progress_reads_back() -> None:
    assert decode_progress(encode_progress(Progress(1, 4, "x"))) == Progress(1, 4, "x")
    assert Progress(1, 4).fraction == 0.25
    assert Progress(9, 4).fraction == 1
    assert Progress(1).fraction is None
    assert decode_progress(b"") is decode_progress(b"{") is None


# -- connections


class Recorded:
    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.thread = threading.get_ident()

    def open(self) -> None:
        self.opened += 1

    def close(self) -> None:
        assert self.thread == threading.get_ident(), "a broker belongs to the thread that opened it"
        self.closed += 1


def test_one_broker_per_thread_opened_once_closed_by_its_own() -> None:
    settings, made = Settings(), []

    def make() -> Any:
        made.append(Recorded())
        return made[-1]

    connections = Connections(make, lambda: settings)
    assert connections.get() is connections.get()
    go_on, done = threading.Event(), threading.Event()

    def other() -> None:
        connections.get()
        done.set()
        go_on.wait(180)
        connections.get()

    thread = threading.Thread(target=other)
    thread.start()
    done.wait(180)
    connections.close()
    connections.close()
    assert [broker.closed for broker in made] == [1, 0]
    go_on.set()
    thread.join()
    assert [(broker.opened, broker.closed) for broker in made] == [(1, 1), (1, 1), (1, 0)]
    connections.get()
    assert len(made) == 4


def test_new_settings_mean_a_new_broker(app: Umbel, job: Task[..., None]) -> None:
    first = app.producer.broker()
    assert app.producer.broker() is first
    app.conf.broker = "memory://elsewhere-entirely"
    assert app.producer.broker() is not first


def test_nothing_is_opened_before_the_first_call(clean: Any) -> None:
    app = Umbel("x")
    app.task(name="t")(lambda: None)
    assert list(clean.iterdir()) == []
    app.close()


def test_a_fork_forgets_and_does_not_close(clean: Any) -> None:
    app = Umbel("forked", broker="sqlite:///f.db")

    @app.task
    def t(n: int) -> None: ...

    t.delay(1)
    mine = app.producer.broker()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            t.delay(2)
            os.write(write, b"other" if app.producer.broker() is not mine else b"same")
        except BaseException as exc:
            os.write(write, repr(exc).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1000) == b"other"
    os.close(read)
    os.close(write)
    assert app.producer.broker() is mine
    t.delay(3)
    store = app.make_broker()
    store.open()
    assert sorted(args for (args,), _ in arguments(store)) == [1, 2, 3]
    store.close()
    app.close()


# -- many at once


def test_many_calls_in_batches(job: Task[..., None], failing: Failing, store: Broker) -> None:
    assert job.delay_many(({"n": n} for n in range(2500)), batch_size=1000) == 2500
    assert failing.calls == [1000, 1000, 500]
    assert job.delay_many([(1,), [2], {"n": 3, "note": "x"}, ()], queue="mixed", priority=1) == 4
    mixed = [envelope for envelope in stored(store) if envelope.queue == "mixed"]
    assert [envelope.priority for envelope in mixed] == [1] * 4
    assert len({envelope.id for envelope in mixed}) == 4
    assert job.delay_many([]) == 0


def test_the_iterable_is_read_lazily(job: Task[..., None], failing: Failing) -> None:
    given: list[int] = []

    def items() -> Iterator[tuple[int]]:
        for n in range(30):
            given.append(n)
            yield (n,)
            assert len(given) - sum(failing.calls) <= 10

    assert job.delay_many(items(), batch_size=10) == 30
    assert failing.calls[:3] == [10, 10, 10]


def test_memory_is_constant(app: Umbel, job: Task[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.producer.broker(), "enqueue", lambda envelopes: [Receipted(envelope.id) for envelope in envelopes])
    job.delay_many((n,) for n in range(2000))
    tracemalloc.start()
    try:
        job.delay_many((n,) for n in range(2000))
        _, few = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        job.delay_many((n,) for n in range(20_000))
        _, many = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert many < few * 1.5


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (("x",), ArgumentError, "expected `int`"),
        ((1, 2), TypeError, "positional arguments"),
        ({"nope": 1}, TypeError, "unexpected keyword"),
        (7, ArgumentError, r"such as \(x,\)"),
        ("text", ArgumentError, "it is a str"),
        ({"note": "x" * 300_000}, PayloadTooLarge, "max_payload"),
    ],
)
def test_a_bad_item_is_named_and_all_before_it_are_stored(job: Task[..., None], store: Broker, bad: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=rf"item 15 of job.delay_many: (.|\n)*{words}(.|\n)*\(the 15 before it are stored"):
        job.delay_many([*((n,) for n in range(15)), bad, (99,)], batch_size=10)
    assert arguments(store) == [((n,), {}) for n in range(15)]


def test_an_iterable_that_fails_leaves_what_it_gave(job: Task[..., None], store: Broker) -> None:
    def items() -> Iterator[tuple[int]]:
        yield from ((n,) for n in range(15))
        raise ConnectionError("cursor lost")

    with pytest.raises(ConnectionError, match="cursor lost") as caught:
        job.delay_many(items(), batch_size=10)
    assert "all calls that it gave before are stored" in caught.value.__notes__[0]
    assert len(stored(store)) == 15


def test_a_batch_that_is_not_stored_says_what_is(job: Task[..., None], failing: Failing, store: Broker) -> None:
    def items() -> Iterator[tuple[int]]:
        for n in range(30):
            if n == 25:
                failing.before = StoreFull("full")
            yield (n,)

    with pytest.raises(EnqueueRefused, match="the 20 calls before this batch are stored"):
        job.delay_many(items(), batch_size=10)
    failing.before, failing.after = None, ReplyLost("cut")
    with pytest.raises(EnqueueUnknown, match="nothing was stored before it") as caught:
        job.delay_many([(1,), (2,)])
    assert len(caught.value.ids) == 2
    assert len(stored(store)) == 22


@pytest.mark.parametrize("size", [0, 1001, -1, True, 2.5])
def test_batch_sizes_that_cannot_be(job: Task[..., None], size: Any) -> None:
    with pytest.raises(ArgumentError, match="from 1 to 1000"):
        job.delay_many([(1,)], batch_size=size)


def test_one_id_for_many_is_refused(job: Task[..., None]) -> None:
    with pytest.raises(Exception, match="id of one call"):
        job.delay_many([(1,)], task_id="x")  # type: ignore[call-arg]  # what is refused
