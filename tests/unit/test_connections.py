"""A call is tried again while the broker is certainly out of reach, for a time that is bounded, and never otherwise."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.servers import RedisServer
from umbel import EnqueueRefused, Umbel
from umbel.broker import Broker
from umbel.clock import SYSTEM
from umbel.connections import Connections
from umbel.errors import BrokerUnreachable, ReplyLost, StoreFull
from umbel.settings import Settings


class Nowhere:
    """A broker that nobody reaches, ``times`` times."""

    def __init__(self, times: int = 1_000_000) -> None:
        self.left = times
        self.tried = 0

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def step(self, broker: Broker) -> str:
        self.tried += 1
        if self.left:
            self.left -= 1
            raise BrokerUnreachable(f"try {self.tried}")
        return "done"


def connections(broker: Nowhere, span: float) -> Connections:
    settings = Settings(enqueue_retry=span)
    return Connections(lambda: cast(Broker, broker), lambda: settings)


def test_it_is_tried_until_it_is_done(caplog: pytest.LogCaptureFixture) -> None:
    broker = Nowhere(3)
    with caplog.at_level(logging.WARNING, "umbel.producer"):
        assert connections(broker, 30).do(broker.step) == "done"
    assert broker.tried == 4
    assert [record.getMessage() for record in caplog.records] == ["try 1; trying again for 30 s"]


def test_the_time_is_bounded_and_told() -> None:
    broker = Nowhere()
    began = SYSTEM.monotonic()
    with pytest.raises(BrokerUnreachable, match=r"tried \d+ times in 0.4 s, as the setting enqueue_retry says") as failed:
        connections(broker, 0.4).do(broker.step)
    assert SYSTEM.monotonic() - began >= 0.4
    assert 3 <= broker.tried <= 12, "pauses grow"
    assert isinstance(failed.value.__cause__, BrokerUnreachable)


def test_zero_is_not_at_all() -> None:
    broker = Nowhere()
    with pytest.raises(BrokerUnreachable, match="try 1"):
        connections(broker, 0).do(broker.step)
    assert broker.tried == 1


@pytest.mark.parametrize("error", [ReplyLost("cut"), StoreFull("full")])
def test_what_may_have_been_done_or_does_not_pass_is_not_repeated(error: Exception) -> None:
    tried: list[Any] = []

    def step(broker: Broker) -> None:
        tried.append(broker)
        raise error

    with pytest.raises(type(error)):
        connections(Nowhere(), 30).do(step)
    assert len(tried) == 1


@pytest.fixture
def own_server(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def test_a_call_outlives_a_restart_of_the_server(own_server: RedisServer) -> None:
    app = Umbel("patient", broker=own_server.url, enqueue_retry=30, set_as_current=False)
    job = app.task(name="job")(lambda n: None)
    own_server.kill()
    timer = threading.Timer(0.3, own_server.start)
    timer.start()
    job.delay(1)
    timer.join()
    assert [one.ready for one in app.producer.broker().stats()] == [1]
    app.close()


def test_a_server_that_stays_away_is_refused_by_name(own_server: RedisServer) -> None:
    app = Umbel("refused", broker=own_server.url, enqueue_retry=0.2, set_as_current=False)
    own_server.kill()
    with pytest.raises(EnqueueRefused, match=rf"was not stored: no redis at 127\.0\.0\.1:{own_server.port}.*enqueue_retry"):
        app.task(name="job")(lambda n: None).delay(1)
    app.close()
