"""Flows by a real worker on real stores: threads of this process, SQLite and Redis. What the sandbox cannot see: waiting, reading of
values from many threads, a coroutine on an event loop, a stream that runs while it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RedisServer
from umbel import FlowFailed, FlowResult, Umbel, chain, chord, group
from umbel.joins import Joins

WAIT = 90.0


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: RedisServer = request.getfixturevalue("redis_server")
    from redis import Redis

    with closing(Redis.from_url(server.url)) as client:
        client.flushdb()
    return server.url


class Works:
    """An app whose worker runs in this process."""

    def __init__(self, url: str) -> None:
        self.app = app = Umbel("works", broker=url)
        self.open = threading.Event()
        self.broken = True

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        @app.task(name="total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @app.task(name="twice")
        async def twice(x: int) -> int:
            return 2 * x

        @app.task(name="same")
        def same(values: Any) -> Any:
            return values

        @app.task(name="fails")
        def fails(*args: Any) -> int:
            if self.broken:
                raise ValueError("boom")
            return 7

        @app.task(name="waits")
        def waits() -> bool:
            return self.open.wait(WAIT)

        self.add, self.total, self.twice, self.same, self.fails, self.waits = add, total, twice, same, fails, waits


@pytest.fixture
def works(url: str) -> Iterator[Works]:
    made = Works(url)
    with made.app.start_worker(threads=3):
        yield made
    made.app.close()


def test_shapes(works: Works) -> None:
    add, total, twice = works.add, works.total, works.twice
    assert chain(add.s(1, 2), twice.s(), add.s(1)).delay().get(WAIT) == 7
    assert (group(add.s(i, i) for i in range(10)) | total.s()).delay().get(WAIT) == 90
    assert chain(group(twice.s(1), twice.s(2)), group(total.s(), total.s()), works.same.s()).delay().get(WAIT) == [6, 6]


def test_a_large_value_is_read_from_the_store(works: Works) -> None:
    text = "x" * 100_000
    assert chain(works.same.s([text]), works.same.s()).delay().get(WAIT) == [text]


def test_values_of_thousands_in_order(works: Works) -> None:
    assert chord((works.twice.s(n) for n in range(2_100)), works.same.s()).delay().get(WAIT) == [2 * n for n in range(2_100)]


def test_a_failure_is_heard_while_others_run(works: Works) -> None:
    result = group(works.waits.s(), works.fails.s()).delay()
    with pytest.raises(FlowFailed, match="boom"):
        result.get(WAIT)
    seen = result.seen()
    assert seen is not None
    assert not seen.finished
    works.open.set()


def test_failed_and_resumed(works: Works) -> None:
    result = chain(works.add.s(1, 1), works.fails.s(), works.add.s(1)).delay()
    with pytest.raises(FlowFailed):
        result.get(WAIT)
    works.broken = False
    assert result.retry() == 1
    assert result.get(WAIT) == 8


def test_members_run_while_the_generator_still_gives(works: Works) -> None:
    def members() -> Iterator[Any]:
        for _ in range(1_000):
            yield works.add.s(1, 1)
        yield works.fails.s().set(on_error="continue")
        # the first thousand are stored by now, and this one waits until some of them have run
        ended = threading.Event()
        broker = works.app.make_broker()
        broker.open()
        assert isinstance(broker, Joins)
        while not ended.wait(0.02):
            if broker.flows().flows[0].done > 10:
                ended.set()
        broker.close()
        yield works.add.s(1, 1)

    result: FlowResult[Any] = group(members()).delay()
    assert len(result.get(WAIT)) == 1_002


def test_cancelled(works: Works) -> None:
    result = chain(works.waits.s(), works.add.si(1, 1)).delay()
    answer = result.revoke()
    assert answer.found
    works.open.set()
    assert result.failed() is False
    assert result.state == "REVOKED"
