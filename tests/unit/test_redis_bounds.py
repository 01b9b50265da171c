"""No step of the Redis broker reads more than a few megabytes of messages, however large they are: it would hold up everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import REDIS_SERVER, RedisServer
from umbel.broker import Broker, BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.brokers.redis import scripts
from umbel.brokers.redis.connection import Address, Line
from umbel.brokers.redis.keys import Keys
from umbel.envelope import TRACKED, Envelope
from umbel.facets import Inspects, require
from umbel.outcome import Dead

if REDIS_SERVER is None and os.environ.get("CI") != "true":
    pytest.skip("redis-server is not installed", allow_module_level=True)

BODY = bytes(256 << 10)
"""As large as a body may be by default."""
COUNT = 100
MOST = 12 << 20
"""Bytes: what is written down as a few megabytes, and the piece that goes beyond."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def broker(server: RedisServer) -> Iterator[Broker]:
    with closing(opened(server)) as broker:
        broker.renew("w", 600)
        broker.admit("w", "h")
        yield broker


@pytest.fixture
def line(server: RedisServer) -> Iterator[Line]:
    line = Line(Address(server.url, "bounds"))
    yield line
    line.drop()


def opened(server: RedisServer, room: int = 256 << 20) -> Broker:
    broker = make_broker(server.url, BrokerSettings(app="bounds", dead_letter_bytes=room))
    broker.open()
    return broker


def fill(broker: Broker, **fields: int) -> None:
    for n in range(COUNT):
        broker.enqueue([Envelope(f"m{n}", "q", BODY, **fields)])


def let_die(broker: Broker) -> None:
    fill(broker)
    for n in range(COUNT // 10):
        dead = broker.claim("h", 2 * n + 1, ["q"], 10).deliveries
        broker.settle("h", 2 * n + 2, [Settle(d.receipt, Dead("failed")) for d in dead])


ROOT = Keys("bounds").root


def test_promoting(broker: Broker) -> None:
    fill(broker, after=1)
    first = broker.maintain()
    assert 0 < first.promoted * len(BODY) <= MOST
    assert first.more
    promoted = first.promoted
    while promoted < COUNT:
        promoted += broker.maintain().promoted
    got = [d.envelope.id for n in range(COUNT // 10) for d in broker.claim("h", n + 1, ["q"], 10).deliveries]
    assert got == [f"m{n}" for n in range(COUNT)]


def test_a_claim_promotes_no_more_either(broker: Broker) -> None:
    fill(broker, after=1)
    answer = broker.claim("h", 1, ["q"], COUNT)
    assert 0 < len(answer.deliveries) * len(BODY) <= MOST
    assert answer.next_due == 0


def test_redriving(broker: Broker, line: Line) -> None:
    let_die(broker)
    count, rank = line.run(scripts.REDRIVE, 1, ROOT, 1000, b"", 0, 1 << 52)
    assert 0 < count * len(BODY) <= MOST
    assert rank == 0, "it is to be gone on with"
    assert require(broker, Inspects).redrive() == COUNT - count
    assert [(one.ready, one.dead) for one in broker.stats()] == [(COUNT, 0)]


def test_deleting_those_of_another_queue_passes_them_by(broker: Broker) -> None:
    let_die(broker)
    assert require(broker, Inspects).forget_dead(queue="other") == 0
    assert require(broker, Inspects).forget_dead(queue="q") == COUNT


def test_purging(broker: Broker, line: Line) -> None:
    broker.enqueue([Envelope("known", "q", b"", flags=TRACKED)])
    fill(broker)
    count, left = line.run(scripts.PURGE, 1, ROOT, b"q", 1000)
    assert 0 < count * len(BODY) <= MOST
    assert count + left == COUNT + 1
    assert broker.purge("q") == left


def test_searching(broker: Broker, line: Line) -> None:
    fill(broker)
    answer = line.run(scripts.SEARCH, 1, ROOT, b"tnobody", 0, b"q", 0, 0, 1000)
    assert answer[0] == b"more"
    assert 0 < answer[2] * len(BODY) <= MOST
    assert require(broker, Inspects).find("nobody") is None
    assert require(broker, Inspects).find("m0") is not None


def test_trimming(server: RedisServer, broker: Broker) -> None:
    let_die(broker)
    with closing(opened(server, room=1000)) as small:
        first = small.maintain()
        assert 0 < first.trimmed * len(BODY) <= MOST
        assert first.more
        trimmed = first.trimmed
        while trimmed < COUNT:
            trimmed += small.maintain().trimmed
    assert [one.dead for one in broker.stats()] == [0]
