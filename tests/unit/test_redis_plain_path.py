"""The plain path of ``exchange.lua`` decides nothing otherwise than the rest of it: two apps live the same life, one without that path."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha1
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.redis_lanes import unsound
from tests.servers import REDIS_SERVER, RedisServer
from umbel.broker import Broker, BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.brokers.redis import scripts
from umbel.brokers.redis.connection import Address, Line
from umbel.brokers.redis.keys import Keys
from umbel.envelope import ALONE, EXPLICIT, LOST_DEAD, SKIPS, TRACKED, Delivery, Envelope
from umbel.facets import Inspects, require
from umbel.lane import Mark, Rule
from umbel.outcome import Dead, Done, Outcome, Released, Retry

if REDIS_SERVER is None and os.environ.get("CI") != "true":
    pytest.skip("redis-server is not installed", allow_module_level=True)

QUEUES = ("q", "p")
NOW = 1_700_000_000_000
FAR = 4_000_000_000_000
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "soon": {"after": 3000},
    "later": {"after": 600_000},
    "overdue": {"due": NOW},
    "expired": {"expires": NOW},
    "fresh": {"expires": FAR},
    "tracked": {"flags": TRACKED},
    "alone": {"flags": ALONE},
    "once": {"flags": LOST_DEAD},
    "explicit": {"flags": EXPLICIT},
    "extra": {"extras": {99: b"of a newer release"}},
    "locked": {"extras": {1: Mark("lock:a", "lock", Rule(concurrency=1)).pack()}},
    "shared": {"extras": {1: Mark("lock:b", "lock", Rule(concurrency=1)).pack(), 2: Mark("task:t", "task:t", Rule(concurrency=2)).pack()}},
    "rated": {"extras": {1: Mark("task:r", "task:r", Rule(2, 3_600_000, 2)).pack()}},
    "skips": {"extras": {1: Mark("lock:a", "lock", Rule(concurrency=1)).pack()}, "flags": SKIPS},
    "unique": {"extras": {5: b"key"}},
    "until start": {"extras": {5: b"key", 6: b"start"}},
    "debounced": {"extras": {7: b"60000,600000\0key"}},
    "throttled": {"extras": {9: b"600000\0key"}},
}
OUTCOMES: list[Outcome] = [Done(), Done(), Done(b"1"), Retry(0, b"no"), Dead("failed", b"no"), Released(0, "unbegun")]
FOREIGN = [b"", b"\x01\x29\x40\x00", b"\x01\x29\x40\x00" + b"\0" * 37 + b"\x11" + b"x" * 30, b"\x02" + b"x" * 80]


TIMED: dict[bytes, Callable[[bytes], Any]] = {
    b"laned": lambda value: struct.unpack(">d", value[:8])[0] > 0,
    b"debounced": len,
    b"throttled": len,
}
"""Hashes whose values hold times, and what is compared of them."""


class Slow(scripts.Script):
    """``exchange`` as it would be without its plain path."""

    def text(self, server_major: int) -> bytes:
        return _slow(scripts.Script.text(self, server_major))

    def sha(self, server_major: int) -> bytes:
        return sha1(self.text(server_major), usedforsecurity=False).hexdigest().encode()


@cache
def _slow(text: bytes) -> bytes:
    slow, count = re.subn(rb"\nlocal plain = ", b"\nlocal plain = false and ", text)
    assert count == 1
    return slow


@contextmanager
def without_plain_path() -> Iterator[None]:
    kept = scripts.EXCHANGE
    scripts.EXCHANGE = Slow("exchange")
    try:
        yield
    finally:
        scripts.EXCHANGE = kept


class Life:
    """One app on the server."""

    def __init__(self, server: RedisServer, app: str) -> None:
        self.keys, self.line = Keys(app), Line(Address(server.url, app))
        for key in self.line.call("KEYS", self.keys.root.replace(b"{", b"\\{") + b"*"):
            self.line.call("DEL", key)
        self.broker: Broker = make_broker(server.url, BrokerSettings(app=app))
        self.broker.open()
        self.broker.renew("w", 600)
        self.broker.admit("w", "h")
        self.seq = 0
        self.held: list[Delivery] = []

    def close(self) -> None:
        self.broker.close()
        self.line.drop()

    def do(self, step: tuple[Any, ...]) -> Any:
        do, *about = step
        return getattr(self, do)(*about)

    def enqueue(self, number: int, kind: str, queue: str, priority: int, text: bool) -> Any:
        id = f"a text {number}" if text else f"0198c5d2-6c5f-7000-8000-{number:012d}"
        options: dict[str, Any] = {"queue": queue, "body": b"body", "enqueued": NOW, "priority": priority} | KINDS[kind]
        return self.broker.enqueue([Envelope(id, **options)])

    def plant(self, data: bytes, queue: str) -> None:
        self.broker.enqueue([Envelope("0198c5d2-6c5f-7000-8000-0000000f0000", queue, b"body")])  # the queue is known, and rung for
        self.line.call("RPUSH", self.keys.ready(queue.encode(), 5), data)

    def cancel(self, number: int) -> Any:
        return require(self.broker, Inspects).cancel(f"0198c5d2-6c5f-7000-8000-{number:012d}")

    def pause(self, queue: str) -> None:
        require(self.broker, Inspects).pause_queue(queue)

    def resume(self, queue: str) -> None:
        require(self.broker, Inspects).resume_queue(queue)

    def wake(self, queue: str) -> Any:
        """What one who waits does."""
        return self.line.call("LPOP", self.keys.token(queue.encode()))

    def exchange(self, queues: tuple[str, ...], limit: int, settled: int, outcomes: list[int], repeat: bool) -> Any:
        self.seq += 1
        taken, self.held = self.held[:settled], self.held[settled:]
        ends = [OUTCOMES[outcomes[i % len(outcomes)]] for i in range(len(taken))]
        settles = [Settle(d.receipt, end) for d, end in zip(taken, ends, strict=True)]
        answer = self.broker.exchange("h", self.seq, settles, queues, limit)
        if repeat:
            assert self.broker.exchange("h", self.seq, settles, queues, limit).deliveries == answer.deliveries
        self.held += answer.deliveries
        return answer.verdicts, answer.deliveries, answer.dropped, _about(answer.next_due)

    def left(self) -> dict[bytes, Any]:
        """All that lies on the server, without its times."""
        found = {}
        for key in self.line.call("KEYS", self.keys.root.replace(b"{", b"\\{") + b"*"):
            name = key.removeprefix(self.keys.root)
            kind = self.line.call("TYPE", key)
            if name in (b"workers", b"died"):
                continue
            if kind == b"list":
                found[name] = self.line.call("LRANGE", key, 0, -1)
            elif kind == b"zset":
                found[name] = sorted(m[6:] if name.startswith(b"s:") else m for m in self.line.call("ZRANGE", key, 0, -1))
            elif kind == b"set":
                found[name] = sorted(self.line.call("SMEMBERS", key))
            elif kind == b"hash" and not name.startswith(b"m:") and name != b"dead":
                flat = self.line.call("HGETALL", key)
                found[name] = dict(zip(flat[::2], flat[1::2], strict=True))
        for name, shown in TIMED.items():
            if name in found:
                found[name] = {key: shown(value) for key, value in found[name].items()}
        return found


def _about(ms: int | None) -> int | None:
    return None if ms is None else round(ms / 60_000)


kinds = st.sampled_from(["plain"] * 12 + list(KINDS))
enqueues = st.tuples(
    st.just("enqueue"),
    st.integers(1, 40),
    kinds,
    st.sampled_from(QUEUES),
    st.sampled_from([5, 5, 5, 9, 0]),
    st.sampled_from([False] * 9 + [True]),
)
choices = st.lists(st.integers(0, len(OUTCOMES) - 1), min_size=1, max_size=3)
exchanges = st.tuples(
    st.just("exchange"),
    st.sampled_from([QUEUES, ("q",), ("p", "q"), ()]),
    st.sampled_from([0, 1, 2, 5, 100]),
    st.integers(0, 5),
    choices,
    st.sampled_from([False] * 4 + [True]),
)
others = st.one_of(
    st.tuples(st.just("plant"), st.sampled_from(FOREIGN), st.sampled_from(QUEUES)),
    st.tuples(st.just("cancel"), st.integers(1, 40)),
    st.tuples(st.sampled_from(["pause", "resume", "wake"]), st.sampled_from(QUEUES)),
)
lives = st.lists(st.one_of(enqueues, enqueues, enqueues, exchanges, exchanges, others), min_size=1, max_size=40)


def put(number: int, kind: str = "plain", priority: int = 5) -> tuple[Any, ...]:
    return ("enqueue", number, kind, "q", priority, False)


def take(limit: int, settled: int = 0) -> tuple[Any, ...]:
    return ("exchange", ("q",), limit, settled, [0], True)


@settings(
    max_examples=int(os.environ.get("UMBEL_EXAMPLES", "40")),
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lives)
@example([put(1, "expired"), put(2), take(5)])
@example([put(1), take(0), take(1), put(2), put(3), ("wake", "q"), take(1), take(0, 2)])
@example([put(1, "fresh"), put(2), take(5, 1), take(5, 2)])
@example([put(1), put(2, "alone"), take(5), take(5, 1), take(5, 1), put(3), take(5, 1)])
@example([put(1), put(2, "soon"), ("wake", "q"), take(1), take(0, 1)])
@example([put(1, "tracked"), put(2), take(1), take(5, 1), take(0, 1)])
@example([put(1, priority=0), put(2, priority=9), put(3), take(2), take(2)])
@example([put(1), ("plant", FOREIGN[2], "q"), put(3), take(5)])
@example([put(1), put(2), put(3), take(1), ("pause", "q"), take(2, 1), ("resume", "q"), ("cancel", 3), take(5)])
@example(
    [put(1, "rated"), put(2, "rated"), put(3, "rated"), take(5), put(4), put(5), take(5), take(5, 1), take(5, 1), ("wake", "q"), take(5, 2)]
)
@example([put(1, "locked"), put(2, "locked"), put(3), take(5), put(4), take(1, 2), put(5), put(6), take(5, 1), take(5, 1)])
@example([put(1, "locked"), take(5), put(2), take(5), take(0, 1), take(0, 1), put(3), take(5)])
@example([put(1, "unique"), put(2, "unique"), put(3), take(5), put(4, "unique"), take(5, 1), put(5, "unique"), take(5, 1)])
def test_both_ways_of_an_exchange_do_the_same(redis_server: RedisServer, steps: list[tuple[Any, ...]]) -> None:
    quick, slow = Life(redis_server, "one"), Life(redis_server, "other")
    try:
        for step in [*steps, ("exchange", QUEUES, 100, 100, [0], False)]:
            mine = quick.do(step)
            with without_plain_path():
                assert slow.do(step) == mine, step
            assert slow.left() == quick.left(), step
        assert unsound(quick.line, quick.keys) == []
    finally:
        quick.close()
        slow.close()
