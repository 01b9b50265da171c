"""One factory per broker; the suite of ``umbel.testing.contract`` runs for each."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

pytest.register_assert_rewrite("umbel.testing.contract")

from umbel.broker import Broker, BrokerSettings  # noqa: E402 - the rewriting must be asked for before the first import
from umbel.brokers import make_broker  # noqa: E402 - the rewriting comes first, see above
from umbel.clock import SYSTEM, Clock  # noqa: E402 - the rewriting comes first, see above
from umbel.testing.clock import ManualClock  # noqa: E402 - the rewriting comes first, see above
from umbel.testing.contract.harness import Harness  # noqa: E402 - the rewriting comes first, see above

MakeHarness = Callable[..., Harness]
NEWER = b"\x63"
"""First byte of a message of a format to come."""
_names = itertools.count(1)
LANES = {b"l:", b"i:", b"x:", b"y:", b"g:", b"u:", b"e:", b"b:"}
LIMITS = {b"rates", b"laned", b"waits", b"changed", b"uniques", b"debounced", b"throttled", b"throttles"}
"""Redis' keys of lanes, limits and keys, but for its rules."""


def maker(url: str, clock: Clock, app: str = "umbel") -> Callable[[BrokerSettings], Broker]:
    return lambda settings: make_broker(url, msgspec.structs.replace(settings, app=app), clock)


def memory(request: pytest.FixtureRequest, live: bool) -> Harness:
    from umbel.brokers.memory import store_of
    from umbel.brokers.memory.row import Row

    url, clock = f"memory://suite-{next(_names)}", None if live else ManualClock()

    def plant(queue: str, data: bytes) -> None:
        store_of(url).behind(Row(queue, 5, data))

    def age(holder: str) -> None:
        for row in store_of(url).holders[holder].held.values():
            row.data = NEWER + row.data[1:]

    def remains() -> list[str]:
        store = store_of(url)
        lanes, keys = store.lanes, store.keys
        return [*map(str, lanes.lanes), *lanes.limits, *keys.uniques, *keys.debounced, *keys.throttled]

    return Harness(maker(url, clock or SYSTEM), plant, age, clock=clock, remains=remains)


def sqlite(request: pytest.FixtureRequest, live: bool) -> Harness:
    folder: Path = request.getfixturevalue("tmp_path")
    path, clock = folder / f"suite-{next(_names)}.db", None if live else ManualClock()

    def plant(queue: str, data: bytes) -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("INSERT INTO queue (name) VALUES (?) ON CONFLICT DO NOTHING", (queue,))
            row = "INSERT INTO message (queue, priority, state, data) SELECT id, 5, 0, ? FROM queue WHERE name = ?"
            connection.execute(row, (data, queue))

    def age(holder: str) -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            row = "UPDATE message SET data = CAST(? || substr(data, 2) AS BLOB) WHERE holder = (SELECT id FROM holder WHERE name = ?)"
            connection.execute(row, (NEWER, holder))

    def remains() -> list[str]:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            tables = ("lane", "lane_group", "lane_limit", "lane_hold", "message_key", "throttle_key")
            return [f"{table}: {row}" for table in tables for row in connection.execute(f"SELECT * FROM {table}")]

    return Harness(maker(f"sqlite:///{path}", clock or SYSTEM), plant, age, clock=clock, remains=remains)


def redis(request: pytest.FixtureRequest, live: bool) -> Harness:
    server = request.getfixturevalue("redis_server")
    from redis import Redis

    from umbel.brokers.redis.keys import Keys

    app = f"suite-{next(_names)}"
    keys = Keys(app)

    def plant(queue: str, data: bytes) -> None:
        with closing(Redis.from_url(server.url)) as client:
            client.sadd(keys.queues, queue)
            client.rpush(keys.root + b"r:5:" + queue.encode(), data)

    def age(holder: str) -> None:
        with closing(Redis.from_url(server.url)) as client:
            key = keys.held(holder)
            for name, value in client.hgetall(key).items():
                if b":" in name:
                    at = 1 + value[0]
                    client.hset(key, name, value[:at] + NEWER + value[at + 1 :])

    def flush() -> None:
        with closing(Redis.from_url(server.url)) as client:
            client.flushdb()

    def remains() -> list[str]:
        with closing(Redis.from_url(server.url)) as client:
            names = [key.removeprefix(keys.root) for key in client.scan_iter(count=1000)]
        return [repr(name) for name in names if name[:2] in LANES or name in LIMITS]

    return Harness(maker(server.url, SYSTEM, app), plant, age, close=flush, remains=remains)


BROKERS = {"memory": memory, "sqlite": sqlite, "redis": redis}


@pytest.fixture(params=list(BROKERS))
def make_harness(request: pytest.FixtureRequest) -> Iterator[MakeHarness]:
    """Makes harnesses of one broker, each on a store of its own; ``live`` for one on the machine's clock."""
    made: list[Harness] = []

    def make(live: bool = False) -> Harness:
        made.append(BROKERS[request.param](request, live))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def harness(make_harness: MakeHarness) -> Harness:
    return make_harness()


@pytest.fixture
def live_harness(make_harness: MakeHarness) -> Harness:
    """On the machine's clock, for tests that wait."""
    return make_harness(live=True)
