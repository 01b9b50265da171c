"""The wire that breaks on order: it breaks what was ordered, when it was ordered, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.proxy import Fault, Proxy
from tests.servers import RedisServer
from tests.waiting import wait_for

COUNT = b"return redis.call('INCR', KEYS[1])"
SHA = hashlib.sha1(COUNT).hexdigest()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    redis_server.command("FLUSHALL")
    with Proxy(redis_server.port, {SHA.encode(): "count"}) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    with redis.Redis("127.0.0.1", proxy.port, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=0.3) as client:
        yield client


def counted(server: RedisServer) -> bytes:
    return server.command("GET", "n")


def test_everything_passes(proxy: Proxy, client: redis.Redis) -> None:
    client.rpush("list", b"x" * 300_000, b"", "ü\r\n")
    assert client.lrange("list", 0, -1) == [b"x" * 300_000, b"", "ü\r\n".encode()]
    assert client.lrange("none", 0, -1) == []
    assert client.get("none") is None
    assert client.eval("return {1, {2, {}, 'three'}, false}", 0) == [1, [2, [], b"three"], None]
    with pytest.raises(redis.ResponseError):
        client.execute_command("NONSENSE")
    assert proxy.seen["LRANGE"] == 2


def test_the_reply_to_a_named_script_is_lost_once(proxy: Proxy, client: redis.Redis, redis_server: RedisServer) -> None:
    strike = proxy.strike("count", Fault.LOSE_REPLY, 2)
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(SHA, 1, "n")  # an error does not count: nothing was done
    client.script_load(COUNT)
    assert client.evalsha(SHA, 1, "n") == 1
    with pytest.raises(redis.ConnectionError):
        client.evalsha(SHA, 1, "n")
    assert strike.struck == 1
    assert counted(redis_server) == b"2"
    assert client.evalsha(SHA, 1, "n") == 3


def test_a_lost_command_never_arrives(proxy: Proxy, client: redis.Redis, redis_server: RedisServer) -> None:
    client.incr("n")
    proxy.strike("INCRBY", Fault.LOSE_COMMAND, only=lambda words: words[2] == b"5")
    client.incr("n")
    with pytest.raises(redis.ConnectionError):
        client.incr("n", 5)
    assert counted(redis_server) == b"2"


def test_a_half_open_connection_says_nothing(proxy: Proxy, client: redis.Redis, redis_server: RedisServer) -> None:
    strike = proxy.strike("INCRBY", Fault.SILENCE)
    with pytest.raises(redis.TimeoutError):
        client.incr("n")
    strike.wait()
    assert counted(redis_server) == b"1"
    assert client.incr("n") == 2, "a new connection is another one"


@pytest.mark.parametrize("fault, before", [(Fault.HOLD_COMMAND, b"1"), (Fault.HOLD_REPLY, b"2")])
def test_what_is_held_arrives_when_it_is_released(proxy, client, redis_server, fault, before) -> None:
    client.incr("n")
    strike = proxy.strike("INCRBY", fault)
    with pytest.raises(redis.TimeoutError):
        client.incr("n")
    assert counted(redis_server) == before
    proxy.release(strike)
    wait_for(lambda: counted(redis_server) == b"2")


def test_what_is_sent_into_a_partition_arrives_after_it(proxy: Proxy, client: redis.Redis, redis_server: RedisServer) -> None:
    client.incr("n")
    proxy.partition()
    for _ in range(2):  # on the old connection, and on a new one
        with pytest.raises(redis.TimeoutError):
            client.incr("n")
    assert counted(redis_server) == b"1"
    proxy.heal()
    wait_for(lambda: int(counted(redis_server)) >= 2)
    assert client.incr("n") >= 3


def test_a_cut_connection_is_reset(proxy: Proxy, client: redis.Redis) -> None:
    connection = client.connection_pool.get_connection()
    connection.send_command("BLPOP", "none", 5)
    wait_for(lambda: proxy.seen["BLPOP"])
    proxy.cut()
    with pytest.raises(redis.ConnectionError):
        connection.read_response(timeout=5)
    client.connection_pool.release(connection)
    assert client.ping()


def test_a_strike_that_never_struck_says_what_went_by(proxy: Proxy, client: redis.Redis) -> None:
    strike = proxy.strike("PING", Fault.LOSE_REPLY, 3)
    client.ping()
    with pytest.raises(AssertionError, match="LOSE_REPLY of PING: 1 went by"):
        strike.wait(0.05)
