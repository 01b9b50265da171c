"""A real store with something in every place, and the command line in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click.testing
import msgspec
import pytest

from tests.servers import RedisServer
from umbel.broker import Broker, Settle
from umbel.brokers import make_broker
from umbel.cli.group import umbel
from umbel.clock import SYSTEM
from umbel.envelope import TRACKED, Envelope
from umbel.failure import encode_failure
from umbel.message import encode_body, new_id
from umbel.outcome import Dead

Run = Callable[..., click.testing.Result]


@pytest.fixture(autouse=True)
def _clean_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own that is a project's root, without settings from outside."""
    for key in [key for key in os.environ if key.startswith("UMBEL_")]:
        monkeypatch.delenv(key)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("tasks", "app"):  # another test's, which commands that look for the app have imported in this process
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: RedisServer = request.getfixturevalue("redis_server")
    from redis import Redis

    with closing(Redis.from_url(server.url)) as client:
        client.flushdb()
    return server.url


class Stage:
    """Puts messages into every place of a store."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.seq = 0

    def send(self, task: str, *args: Any, queue: str = "default", **more: Any) -> str:
        id = more.pop("id", None) or new_id(SYSTEM.now())
        kwargs = more.pop("kwargs", {})
        body = encode_body(task, msgspec.json.encode(args) if args else None, msgspec.json.encode(kwargs) if kwargs else None)
        self.broker.enqueue([Envelope(id, queue, body, enqueued=SYSTEM.now(), **more)])
        return id

    def worker(self, *queues: str, tasks: tuple[str, ...] = (), name: str = "w1") -> None:
        about = {"host": "box", "pid": 42, "queues": queues, "concurrency": 2, "started": SYSTEM.now(), "app": "t", "tasks": tasks}
        self.about = json.dumps(about).encode()
        self.broker.renew(name, 60, self.about)
        self.broker.admit(name, f"{name}-child")

    def lapse(self, name: str = "w1") -> None:
        """Let the worker's lease be over, as if it had died."""
        self.broker.renew(name, 0.001, self.about)
        over = SYSTEM.now() + 2
        while SYSTEM.now() < over:
            self.broker.ping()

    def lease(self, queue: str, name: str = "w1") -> str:
        """Take one message as the worker; its id."""
        self.seq += 1
        self.held = self.broker.claim(f"{name}-child", self.seq, [queue], 1).deliveries[0]
        return self.held.envelope.id

    def kill(self, queue: str, reason: str = "failed", error: Exception | None = None) -> str:
        """Take one message as the worker, and make it a dead letter; its id."""
        id = self.lease(queue)
        self.seq += 1
        outcome = Dead(reason, encode_failure(error or ValueError("no such account")))
        self.broker.settle("w1-child", self.seq, [Settle(self.held.receipt, outcome)])
        return id


@pytest.fixture
def stage(url: str) -> Iterator[Stage]:
    broker = make_broker(url)
    broker.open()
    yield Stage(broker)
    broker.close()


@pytest.fixture
def bare(url: str) -> Run:
    """``umbel ARGUMENTS``."""

    def run(*args: str, input: str | None = None) -> click.testing.Result:
        return click.testing.CliRunner().invoke(umbel, list(args), input=input)

    return run


@pytest.fixture
def run(url: str, bare: Run) -> Run:
    """``umbel ARGUMENTS`` on the test's store."""

    def go(*args: str, input: str | None = None) -> click.testing.Result:
        # a server may have several apps' stores
        name = ("--app-name", "umbel") if url.startswith("redis:") else ()
        return bare("--broker", url, *name, *args, input=input)

    return go


def answer(result: click.testing.Result) -> Any:
    """The JSON that a command answered with, after checking that it ended well."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def tracked() -> dict[str, int]:
    return {"flags": TRACKED}
