"""Faults on order: a broker whose calls fail before they begin, or whose answers are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from ..broker import Blame, Broker, Exchanged, Maintained, QueueStats, Receipted, Renewed, Retired, Settle
from ..envelope import Delivery, Envelope, Receipt
from ..errors import BrokerUnreachable, ReplyLost

T = TypeVar("T")


class Fault(StrEnum):
    """When a call fails."""

    BEFORE = "before"
    """``BrokerUnreachable``: the store was not asked, nothing was done."""
    AFTER = "after"
    """``ReplyLost``: the store did it, and the answer was lost."""


class FaultyBroker(Broker):
    """Another broker's core, with faults: ``faulty.fail("exchange", 3, Fault.AFTER)`` loses the answer to its third exchange.

    Calls are counted per verb from 1, failed ones too, so a repeat is the next number. ``settle`` and ``claim`` count as
    ``exchange``, whose halves they are. Facets are asked of ``inner``.
    """

    def __init__(self, inner: Broker) -> None:
        self.inner = inner
        self.capabilities = inner.capabilities
        self.calls: Counter[str] = Counter()
        self._faults: dict[tuple[str, int], Fault] = {}

    def fail(self, verb: str, call: int, fault: Fault) -> None:
        """Let call number ``call`` of ``verb`` fail. ``ValueError`` for a verb that is none, or a call already made."""
        if verb in ("settle", "claim") or verb not in Broker.__abstractmethods__:
            raise ValueError(f"{verb!r} is no verb that can fail; these can: {', '.join(sorted(Broker.__abstractmethods__))}")
        if call <= self.calls[verb]:
            raise ValueError(f"call {call} of {verb} was made already, the next one is {self.calls[verb] + 1}")
        self._faults[verb, call] = fault

    def fail_next(self, verb: str, fault: Fault) -> None:
        """Let the next call of ``verb`` fail."""
        self.fail(verb, self.calls[verb] + 1, fault)

    def _call(self, verb: str, call: Callable[[], T]) -> T:
        self.calls[verb] += 1
        number = self.calls[verb]
        fault = self._faults.pop((verb, number), None)
        if fault is Fault.BEFORE:
            raise BrokerUnreachable(f"as ordered: call {number} of {verb} did not reach the store")
        answer = call()
        if fault is Fault.AFTER:
            raise ReplyLost(f"as ordered: the answer to call {number} of {verb} was lost")
        return answer

    def open(self) -> None:
        self._call("open", self.inner.open)

    def close(self) -> None:
        self._call("close", self.inner.close)

    def ping(self) -> int:
        return self._call("ping", self.inner.ping)

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        return self._call("enqueue", lambda: self.inner.enqueue(envelopes))

    def admit(self, worker: str, holder: str) -> None:
        self._call("admit", lambda: self.inner.admit(worker, holder))

    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        return self._call("exchange", lambda: self.inner.exchange(holder, seq, settles, queues, limit))

    def resume(self, holder: str) -> list[Delivery]:
        return self._call("resume", lambda: self.inner.resume(holder))

    def wait(self, queues: Sequence[str], timeout: float, stop: int | None = None, *, alone: bool = True) -> bool:
        return self._call("wait", lambda: self.inner.wait(queues, timeout, stop, alone=alone))

    def renew(self, worker: str, ttl: float, about: bytes = b"") -> Renewed:
        return self._call("renew", lambda: self.inner.renew(worker, ttl, about))

    def give_back(self, holder: str, receipts: Sequence[Receipt]) -> int:
        return self._call("give_back", lambda: self.inner.give_back(holder, receipts))

    def retire(self, holder: str, blamed: Sequence[Blame] | None = None, reason: str = "") -> Retired:
        return self._call("retire", lambda: self.inner.retire(holder, blamed, reason))

    def leave(self, worker: str) -> Retired:
        return self._call("leave", lambda: self.inner.leave(worker))

    def maintain(self, *, rescue: bool = False, until: int | None = None) -> Maintained:
        return self._call("maintain", lambda: self.inner.maintain(rescue=rescue, until=until))

    def stats(self) -> list[QueueStats]:
        return self._call("stats", self.inner.stats)

    def purge(self, queue: str) -> int:
        return self._call("purge", lambda: self.inner.purge(queue))


def insist(call: Callable[..., T], *args: Any, times: int = 5, **kwargs: Any) -> T:
    """Call, and call the same again when it did not arrive or its answer was lost, at most ``times`` in all."""
    for _ in range(times - 1):
        try:
            return call(*args, **kwargs)
        except (BrokerUnreachable, ReplyLost):
            continue
    return call(*args, **kwargs)
