"""Queues that may not become deeper: calls refused, calls that wait, bulk that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.waiting import wait_for
from umbel import ArgumentError, ConfigError, EnqueueRefused, QueueFull, Umbel
from umbel.broker import Broker
from umbel.facets import Limits, require


@pytest.fixture
def make() -> Iterator[Callable[..., Umbel]]:
    made: list[Umbel] = []

    def app(**settings: Any) -> Umbel:
        made.append(Umbel("p", broker=f"memory://pressure-{id(made)}", set_as_current=False, **settings))
        made[-1].producer.broker().purge("default")
        return made[-1]

    yield app
    for one in made:
        one.producer.broker().purge("default")
        one.close()


def backlog(app: Umbel, queue: str = "default") -> int:
    return require(app.producer.broker(), Limits).backlog(queue)


def job(n: int = 0) -> None: ...


def test_a_full_queue_refuses(make: Callable[..., Umbel]) -> None:
    app = make(max_depth={"default": 10})
    task = app.task(name="t")(job)
    for _ in range(10):
        task.delay()
    with pytest.raises(QueueFull, match="10 messages wait in queue 'default', and 10 may; call again later"):
        task.delay()
    assert backlog(app) == 10
    task.apply_async(queue="other")
    app.producer.broker().purge("default")
    task.delay()
    app.producer.broker().purge("other")


def test_one_answer_is_good_for_a_hundredth(make: Callable[..., Umbel], monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(max_depth={"*": 1000})
    task = app.task(name="t")(job)
    asked = []
    original = app.producer.pressure.backlog
    monkeypatch.setattr(app.producer.pressure, "backlog", lambda queue: asked.append(queue) or original(queue))
    with pytest.raises(QueueFull):
        for _ in range(2000):
            task.delay()
    assert 1000 <= backlog(app) <= 1010
    assert len(asked) < 300


def test_a_call_that_blocks(make: Callable[..., Umbel]) -> None:
    app = make(max_depth={"default": 5}, on_max_depth="block")
    task = app.task(name="t")(job)
    for _ in range(5):
        task.delay()
    begun = threading.Event()
    thread = threading.Thread(target=lambda: (begun.set(), task.delay()), daemon=True)
    thread.start()
    assert begun.wait(180) and backlog(app) == 5
    app.producer.broker().purge("default")
    thread.join(180)
    assert not thread.is_alive() and backlog(app) == 1


def test_it_does_not_block_for_ever(make: Callable[..., Umbel]) -> None:
    app = make(max_depth={"default": 1}, on_max_depth="block", max_depth_wait=0.05)
    task = app.task(name="t")(job)
    task.delay()
    with pytest.raises(QueueFull, match="after 0 s of waiting"):
        task.delay()


def test_bulk_waits_for_a_backlog(make: Callable[..., Umbel]) -> None:
    app = make()
    task = app.task(name="t")(job)
    task.delay()
    deepest, sent = [], []

    def send() -> None:
        sent.append(task.delay_many(((n,) for n in range(100)), batch_size=7, max_backlog=10))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    while thread.is_alive():
        wait_for(lambda: backlog(app) == 10 or not thread.is_alive())
        deepest.append(backlog(app))
        app.producer.broker().purge("default")
        thread.join(0.01)
    assert sent == [100] and max(deepest) <= 10


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "10"])
def test_a_backlog_that_is_none(make: Callable[..., Umbel], wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="it must be a whole number over 0"):
        make().task(name="t")(job).delay_many([(1,)], max_backlog=wrong)


def test_a_broker_that_cannot_say(make: Callable[..., Umbel], monkeypatch: pytest.MonkeyPatch) -> None:
    from umbel.errors import NotSupported

    app = make(max_depth={"default": 5})

    def refuse(broker: Broker, facet: object) -> None:
        raise NotSupported("the x broker does not support 'limits'")

    monkeypatch.setattr("umbel.pressure.require", refuse)
    with pytest.raises(EnqueueRefused, match="how deep queue 'default' is cannot be asked: the x broker does not support 'limits'"):
        app.task(name="t")(job).delay()


@pytest.mark.parametrize(
    "settings",
    [{"max_depth": {"emails": 0}}, {"max_depth": {"": 5}}, {"max_depth": 5}, {"max_depth": {"a": True}}, {"on_max_depth": "wait"}],
)
def test_settings_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="it must be"):
        _ = Umbel("p", set_as_current=False, **settings).settings


def test_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_MAX_DEPTH", "emails=1_000, *=5000")
    assert Umbel("p", set_as_current=False).settings.max_depth == {"emails": 1000, "*": 5000}
