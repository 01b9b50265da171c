"""Arenas on the brokers that a worker can use."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.process.arena import Arena

KILLS = int(os.environ.get("UMBEL_KILLS", "3"))
_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "redis"])
def broker_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/umbel.db"
    server = request.getfixturevalue("redis_server")
    import redis

    client = redis.Redis.from_url(server.url)
    client.flushall()
    client.close()
    return server.url


@pytest.fixture
def arena(tmp_path, broker_url):
    made = Arena(tmp_path, broker_url)
    yield made
    made.close()


@pytest.fixture
def sqlite_arena(tmp_path):
    made = Arena(tmp_path, f"sqlite:///{tmp_path}/umbel.db")
    yield made
    made.close()
