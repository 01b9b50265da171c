"""The stage: starts everyone, kills one child half-way, waits for the end, counts, cleans up."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TextIO, TypeVar

import msgspec

from ..clock import SYSTEM, Clock
from ..errors import ConfigError
from ..message import new_id
from .figures import Figures, recovered_by
from .limits import HARD_LIMIT
from .mailserver_options import ServerOptions
from .processes import Actor, DemoError, MailServer
from .progress import Progress
from .users import addresses, create_users

A = TypeVar("A", bound=Actor)

_REFUSED_EVERY = 100
_HANGS = 5
_DRAIN = 40.0
"""Seconds: the worker's own limit for a shutdown is 25."""


@dataclass(frozen=True)
class Plan:
    """One run. ``unreachable``: so many users are refused for ever, which must make the demo fail."""

    users: int
    kill: bool
    broker: str | None
    patience: float
    unreachable: int

    def trouble(self) -> ServerOptions:
        """Which addresses the mail server makes trouble with."""
        refuses = range(1, self.users + 1, _REFUSED_EVERY)
        hangs = (self.users * part // (_HANGS + 1) for part in range(1, _HANGS + 1))
        return ServerOptions(
            report="report.json",
            refuses=[_address(number) for number in refuses],
            hangs=[_address(number + 1 if number in refuses else number) for number in hangs],
            silent=[_address(number) for number in range(self.users - self.unreachable + 1, self.users + 1)],
        )


def _address(number: int) -> str:
    return f"user{number}@example.org"


def run_demo(
    broker: str | None = None,
    users: int = 20_000,
    kill: bool = True,
    *,
    patience: float = 30.0,
    unreachable: int = 0,
    out: TextIO | None = None,
    clock: Clock = SYSTEM,
) -> int:
    """Send an e-mail to each of ``users`` users, and show what became of them. Returns 0 if every one has his mail, else 1.

    ``broker`` is an address; None for an SQLite file of its own. ``kill``: kill one of the worker's children half-way.
    Gives up when nothing has moved for ``patience`` seconds. The last ``unreachable`` users are refused for ever. Progress
    and the table go to ``out`` (standard output). Raises ``ConfigError`` for what cannot be done, ``DemoError`` when one of
    the processes fails; leaves nothing behind in any case.
    """
    if users < 10 * _HANGS:
        raise ConfigError(f"the demo with {users} users would show nothing; at least {10 * _HANGS} are needed")
    if find_spec("aiosmtpd") is None:
        raise ConfigError("the demo needs aiosmtpd for its mail server: pip install 'umbel[demo]'")
    plan = Plan(users, kill, broker, patience, unreachable)
    with _terminated_as_interrupted(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umbel-demo-", ignore_cleanup_errors=True)))
        figures = _Run(plan, folder, stack, out or sys.stdout, clock).play()
    return _tell(figures, out or sys.stdout)


def _tell(figures: Figures, out: TextIO) -> int:
    faults = figures.faults()
    ending = "\n".join(f"  WRONG: {fault}" for fault in faults) or "  Every user has the mail; nothing was lost."
    print(f"\n{figures.table()}\n\n{ending}", file=out, flush=True)
    return 1 if faults else 0


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """TERM and HUP leave by the same door as Ctrl-C, which cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Called(msgspec.Struct):
    count: int
    seconds: float


class _Run:
    """The processes of one run; each is ended by ``stack``."""

    def __init__(self, plan: Plan, folder: Path, stack: ExitStack, out: TextIO, clock: Clock) -> None:
        self._plan = plan
        self._folder = folder
        self._stack = stack
        self._clock = clock
        self._name = f"umbel-demo-{new_id(clock.now())[-12:]}"
        self._broker = plan.broker or f"sqlite:///{folder / 'umbel.db'}"
        self._killed = 0
        self._progress = Progress(out, plan.users, clock)

    def play(self) -> Figures:
        database = self._folder / "users.db"
        create_users(database, self._plan.users)
        # Settings of the one who runs the demo are for his own app, not for this one
        environment = {key: value for key, value in os.environ.items() if not key.startswith("UMBEL_")}
        environment |= {"UMBEL_BROKER": self._broker, "UMBEL_NAME": self._name, "DEMO_USERS": str(database)}
        self._stack.callback(_forget_redis, self._broker, self._name)
        server = self._start(MailServer(self._plan.trouble(), self._folder, environment))
        environment["DEMO_SMTP_PORT"] = str(server.port)
        serve = ["umbel", "-A", "umbel.demo.app:app", "worker", "-c", "2", "-l", "warning"]
        worker = self._start(Actor("worker", serve, self._folder, environment))
        self._stack.callback(self._progress.close)
        self._progress.say(f"{self._plan.users:,} users, a mail server on port {server.port}, a worker with 2 children")
        caller = self._start(Actor("caller", ["umbel.demo.caller"], self._folder, environment))
        self._await_mails(server, worker, caller)
        return self._count(server, worker, caller, database)

    def _start(self, actor: A) -> A:
        self._stack.callback(actor.end)
        return actor

    def _await_mails(self, server: MailServer, worker: Actor, caller: Actor) -> None:
        """Until every user has the mail, or nothing moves any more."""
        last, moved = server.status, self._clock.monotonic()
        while server.status.sent < self._plan.users or not caller.ended:
            time.sleep(0.02)
            for actor in (server, worker):
                if actor.ended:
                    raise actor.gone_wrong()
            if caller.process.poll():
                raise caller.gone_wrong()
            status = server.status
            if status != last:
                last, moved = status, self._clock.monotonic()
            elif self._clock.monotonic() - moved > self._plan.patience:
                self._progress.say(f"  nothing has moved for {self._plan.patience:g} s: giving up\n{worker.last_words()}")
                return
            self._maybe_kill(status.sent, status.pid, worker)
            self._progress.show(status)

    def _maybe_kill(self, sent: int, pid: int, worker: Actor) -> None:
        if self._plan.kill and not self._killed and sent >= self._plan.users // 2 and worker.runs(pid):
            os.kill(pid, signal.SIGKILL)
            self._killed = pid
            self._progress.say(f"  child {pid}, which sent the last mail, is killed (SIGKILL)")

    def _count(self, server: MailServer, worker: Actor, caller: Actor, database: Path) -> Figures:
        self._progress.close()
        code = worker.ask_to_end(_DRAIN)
        if code:
            raise worker.gone_wrong()
        report = server.close()
        if self._plan.kill and not self._killed and not report.deliveries:
            raise DemoError(f"not one mail was sent\n{worker.last_words()}")
        called = msgspec.json.decode(caller.log.read_bytes().splitlines()[-1], type=_Called) if caller.ended else _Called(0, 0.0)
        recovered = recovered_by(worker.log, self._killed) if self._killed else 0
        return Figures(frozenset(addresses(database)), called.count, report, self._killed, recovered, HARD_LIMIT)


def _forget_redis(broker: str, name: str) -> None:
    """Leave no key of the demo's app behind on a Redis server."""
    if not broker.startswith(("redis://", "rediss://", "unix://")):
        return
    import redis

    try:
        with redis.Redis.from_url(broker) as server:
            for key in server.scan_iter(match=f"{{umbel:{name}}}*", count=1000):
                server.delete(key)
    except redis.RedisError:
        pass  # the server is gone, and what it keeps is out of reach
