"""The tools of the tests: a tool that cannot fail shows nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer
from tests.waiting import wait_for


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def test_the_shared_server_answers(client: redis.Redis) -> None:
    assert client.ping()
    assert client.config_get("save") == {"save": ""}


def test_a_killed_server_comes_back_on_its_port_with_what_it_had_written(redis_server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path, aof=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        wait_for(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        os.kill(server.pid, signal.SIGSTOP)
        server.kill()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(server.url, retry=None).ping()
        server.start()
        server.start()
        assert client.get("kept") == b"yes"
        server.stop()


def test_a_server_that_does_not_start_says_why(redis_server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no-such-option"), RedisServer(tmp_path, "--no-such-option", "1"):
        raise AssertionError("started")


def test_wait_for_answers_with_the_fact() -> None:
    answers = iter([0, None, "there"])
    assert wait_for(lambda: next(answers)) == "there"


def test_wait_for_gives_up_with_the_last_answer() -> None:
    with pytest.raises(AssertionError, match="still answers 0"):
        wait_for(lambda: 0, timeout=0.01)
