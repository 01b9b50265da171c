"""What the conformance suite cannot reach of the facet Serves: a day on a server's own clock, and files that are older than it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.servers import RedisServer
from umbel.broker import BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.brokers.redis.keys import Keys
from umbel.brokers.sqlite.schema import APPLICATION_ID, migrations, statements
from umbel.envelope import Envelope
from umbel.facets import Inspects, Serves, require
from umbel.outcome import Dead, Released


def test_redis_forgets_what_is_empty_a_day_after_it_was_served(redis_server: RedisServer) -> None:
    from redis import Redis

    keys = Keys("serving")
    with closing(make_broker(redis_server.url, BrokerSettings("serving"))) as broker, closing(Redis.from_url(redis_server.url)) as client:
        client.flushdb()
        broker.open()
        serves = require(broker, Serves)
        broker.renew("w", 600)
        broker.admit("w", "h")
        serves.serve("w", ["gone", "ready", "later", "running", "dead", "paused"])
        queues = ("gone", "ready", "running", "dead")
        broker.enqueue([Envelope(queue, queue, b"{}") for queue in queues] + [Envelope("l", "later", b"{}", after=600_000)])
        broker.purge("gone")
        require(broker, Inspects).pause_queue("paused")
        serves.serve("w", [])
        [dying, running] = broker.claim("h", 1, ["dead", "running"], 2).deliveries
        broker.settle("h", 2, [Settle(dying.receipt, Dead("failed"))])

        def a_day_later() -> list[str]:
            for queue, said in client.zrange(keys.served, 0, -1, withscores=True):
                client.zadd(keys.served, {queue: said - 86_401_000})
            broker.maintain()
            return [one.queue for one in serves.served()]

        assert a_day_later() == ["dead", "later", "paused", "ready", "running"]
        assert b"gone" not in client.smembers(keys.queues) and client.exists(keys.root + b"v:gone") == 0
        broker.settle("h", 3, [Settle(running.receipt, Released(600_000))])
        broker.purge("ready")
        assert a_day_later() == ["dead", "later", "paused", "running"]
        broker.enqueue([Envelope("again", "gone", b"{}")])
        assert {one.queue for one in broker.stats()} >= {"gone"}, "a queue that was forgotten is there again with its next message"


def test_redis_sweeps_out_workers_that_an_older_release_forgot(redis_server: RedisServer) -> None:
    from redis import Redis

    keys = Keys("sweep")
    with closing(make_broker(redis_server.url, BrokerSettings("sweep"))) as broker, closing(Redis.from_url(redis_server.url)) as client:
        client.flushdb()
        broker.open()
        for number in range(20):
            broker.renew(f"w{number}", 600)
            require(broker, Serves).serve(f"w{number}", ["q"])
            if number:
                broker.leave(f"w{number}")
        assert client.scard(keys.root + b"v:q") <= 3


def test_a_file_of_before_gets_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        for number, text in migrations():
            for statement in statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.commit()
        before = connection.execute("PRAGMA user_version").fetchall()
    for _ in range(2):
        with closing(make_broker(f"sqlite:///{path}", BrokerSettings())) as broker:
            broker.open()
            broker.renew("w", 600)
            assert require(broker, Serves).serve("w", ["q"])
            assert [one.queue for one in require(broker, Serves).served()] == ["q"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == before, "older code, which refuses a newer schema, cannot go on"
