"""How the suite meets a broker: handles on one fresh store, its time, and a few hands to hold deliveries with."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import pytest

from ...broker import Blame, Broker, BrokerSettings, Capabilities, Exchanged, QueueStats, Settle, Verdict
from ...clock import SYSTEM
from ...envelope import TRACKED, Delivery, Envelope, Receipt
from ...errors import NotSupported
from ...facets import Remembers, require
from ...outcome import Done, Outcome
from ..clock import ManualClock

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., None])

LONG = 600.0
"""Seconds of a lease that no test outlives, however slow the machine."""
LAPSE = 0.05
"""Seconds of a lease that a test means to lose, and the span, too, that a real store's test waits for it."""


class Make(Protocol):
    """Makes one more broker object, not yet opened, on the harness's store."""

    def __call__(self, settings: BrokerSettings) -> Broker: ...


class Plant(Protocol):
    """Puts bytes into the store as if they were a ready message of ``queue``, whatever they are."""

    def __call__(self, queue: str, data: bytes) -> None: ...


class Age(Protocol):
    """Makes all that a holder holds messages of a newer format: 0x63 as their first byte."""

    def __call__(self, holder: str) -> None: ...


class Remains(Protocol):
    """Names whatever the store still keeps of lanes, of limits that somebody stands on or whose rate is not full, and of keys; not of
    rules."""

    def __call__(self) -> Collection[str]: ...


def _unseen() -> Collection[str]:
    return ()


class Harness:
    """One fresh store, as many handles on it as a test asks for, and its time.

    ``clock`` is the hand-moved clock that the store was given, or None where the store has a clock of its own; then
    ``advance`` really waits. ``plant`` writes raw bytes, since no verb lets anybody store what cannot be read; ``age(holder)``
    makes what a holder holds a message of a format that no release here reads, as a newer worker's would be. ``remains`` shows that
    nothing is left over when all has ended; without it the suite cannot see that.
    """

    def __init__(
        self,
        make: Make,
        plant: Plant,
        age: Age,
        *,
        clock: ManualClock | None = None,
        close: Callable[[], None] | None = None,
        remains: Remains = _unseen,
    ) -> None:
        self._make = make
        self._close = close
        self._opened: list[Broker] = []
        self.plant = plant
        self.age = age
        self.remains = remains
        self.clock = clock

    def broker(self, **changes: Any) -> Broker:
        """Another handle, opened, of the calling thread; ``changes`` are fields of ``BrokerSettings``. Closed with the harness."""
        broker = self.unopened(**changes)
        broker.open()
        self._opened.append(broker)
        return broker

    def unopened(self, **changes: Any) -> Broker:
        """A handle that is the caller's to open and to close."""
        return self._make(msgspec.structs.replace(BrokerSettings(), **changes))

    @functools.cached_property
    def capabilities(self) -> Capabilities:
        return self.unopened().capabilities

    def advance(self, ms: int) -> None:
        """Let at least ``ms`` pass on the store's clock."""
        if self.clock is not None:
            self.clock.advance(ms)
            return
        broker = self.unopened()
        broker.open()
        try:
            end = broker.ping() + ms
            while (now := broker.ping()) < end:
                time.sleep((end - now) / 1000)
        finally:
            broker.close()

    def lapse(self, broker: Broker, *workers: str) -> None:
        """The leases of ``workers`` run out."""
        for worker in workers:
            broker.renew(worker, LAPSE)
        self.advance(int(LAPSE * 1000) + 1)

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()
        if self._close is not None:
            self._close()


class Hand:
    """A holder of deliveries that counts its exchanges. Its worker is renewed for long enough unless told otherwise."""

    def __init__(self, broker: Broker, name: str = "w1.a", worker: str = "w1", *, admit: bool = True) -> None:
        self.broker, self.name, self.worker, self.seq = broker, name, worker, 0
        if admit:
            broker.renew(worker, LONG)
            broker.admit(worker, name)

    def exchange(self, settles: Sequence[Settle] = (), queues: Sequence[str] = (), limit: int = 0) -> Exchanged:
        answer = self.broker.exchange(self.name, self.seq + 1, settles, queues, limit)
        self.seq += 1
        return answer

    def repeat(self, settles: Sequence[Settle] = (), queues: Sequence[str] = (), limit: int = 0) -> Exchanged:
        """The last exchange once more, as after a lost reply."""
        return self.broker.exchange(self.name, self.seq, settles, queues, limit)

    def claim(self, limit: int = 100, *queues: str) -> list[Delivery]:
        return self.exchange((), queues or ("q",), limit).deliveries

    def claim_one(self, *queues: str) -> Delivery:
        [delivery] = self.claim(1, *queues)
        return delivery

    def ids(self, limit: int = 100, *queues: str) -> list[str]:
        return ids(self.claim(limit, *queues))

    def settle(self, delivery: Delivery, outcome: Outcome, *then: Envelope) -> Verdict:
        [verdict] = self.exchange([Settle(delivery.receipt, outcome, then)]).verdicts
        return verdict

    def done(self, *deliveries: Delivery) -> list[Verdict]:
        return self.exchange([Settle(d.receipt, Done()) for d in deliveries]).verdicts


_count = itertools.count(1)


def envelope(id: str | None = None, queue: str = "q", **fields: Any) -> Envelope:
    """A message with a body that is its own; an id is made when none is given."""
    id = id or f"m{next(_count)}"
    fields.setdefault("body", b"body of " + id.encode())
    fields.setdefault("enqueued", 1_700_000_000_000)
    return Envelope(id, queue, **fields)


def several(count: int, queue: str = "q", **fields: Any) -> list[Envelope]:
    return [envelope(queue=queue, **fields) for _ in range(count)]


def ids(items: Sequence[Any]) -> list[str]:
    """The ids of envelopes or of deliveries."""
    return [item.envelope.id if isinstance(item, Delivery) else item.id for item in items]


def crash(delivery: Delivery) -> Blame:
    return Blame(delivery.receipt)


def nowhere(holder: str) -> Receipt:
    """A receipt that no store ever wrote."""
    return Receipt(holder, 999_999, 0)


def stats_of(broker: Broker, queue: str = "q") -> QueueStats:
    """How a queue stands; all zeros for one that does not exist."""
    return next((s for s in broker.stats() if s.queue == queue), QueueStats(queue))


def counts(broker: Broker, queue: str = "q") -> tuple[int, int, int, int]:
    """(ready, scheduled, leased, dead) of a queue."""
    s = stats_of(broker, queue)
    return s.ready, s.scheduled, s.leased, s.dead


def maintain_all(broker: Broker, *, rescue: bool = False) -> None:
    """Rounds of maintenance until none is left to do."""
    for _ in range(1000):
        if not broker.maintain(rescue=rescue).more:
            return
    raise AssertionError("after 1000 rounds of maintenance there is still more to do")


def needs(*facets: type[Any], name: str = "harness") -> Callable[[C], C]:
    """The test is about ``facets``. On a broker without one it asserts that the broker refuses clearly, and nothing is skipped.

    ``name`` is that of the fixture which the test asks for.
    """

    def decorate(test: C) -> C:
        @functools.wraps(test)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            harness: Harness = kwargs[name]
            missing = [facet for facet in facets if not has(harness, facet)]
            if missing:
                refuses(harness, missing[0])
            else:
                test(*args, **kwargs)

        return wrapper  # type: ignore[return-value]  # the wrapper has the test's own signature, through wraps

    return decorate


def has(harness: Harness, facet: type[Any]) -> bool:
    return facet.__name__.lower() in harness.capabilities.facets


def refuses(harness: Harness, facet: type[Any]) -> None:
    """A broker that does not declare a facet says so when it is asked for, by name."""
    with pytest.raises(NotSupported, match=facet.__name__.lower()):
        require(harness.broker(), facet)
    if facet is Remembers:
        with pytest.raises(NotSupported):
            harness.broker().enqueue([envelope(flags=TRACKED)])


def in_thread(harness: Harness, job: Callable[[Broker], T], **changes: Any) -> Callable[[], T]:
    """Run ``job`` in a thread with a handle opened and closed there; the answer waits for its end and returns what it did."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            broker = harness.unopened(**changes)
            broker.open()
            try:
                answers.append(job(broker))
            finally:
                broker.close()
        except BaseException as exc:  # whatever it was, the test's own thread shall see it
            errors.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> T:
        thread.join(30)
        assert not thread.is_alive(), "a thread of the test still runs after 30 s"
        if errors:
            raise errors[0]
        return answers[0]

    return join


def timed(job: Callable[[], T]) -> tuple[T, float]:
    """What ``job`` answers, and the seconds that it took."""
    begin = SYSTEM.monotonic()
    answer = job()
    return answer, SYSTEM.monotonic() - begin
