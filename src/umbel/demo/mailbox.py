"""The mailbox on the mail server's side: what arrived, what was refused, who was left hanging. Knows no network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from ..clock import Clock

TRACE_HEADER = "X-Umbel"
"""First line of each mail: attempt, delivery, and ms from the call to the beginning of this run."""


class Status(msgspec.Struct, frozen=True):
    """How far it is; a line each moment from the server to the stage."""

    sent: int
    """Addresses that have a mail."""
    refused: int
    hung: int
    pid: int
    """The process that sent the last mail."""


class Report(msgspec.Struct, frozen=True):
    """The whole count. Spans in seconds, moments in seconds from the first mail."""

    deliveries: dict[str, list[float]]
    """Address to the moment of each of its mails."""
    refused: dict[str, int]
    """Address to how many times it was refused with 451."""
    hung: dict[str, float]
    """Address to how long the client held on before it gave up."""
    waited_ms: list[int]
    """For each first attempt that arrived: from the call to its beginning."""
    seconds: float
    """From the first mail to the last address that got its mail."""


@dataclass
class Mailbox:
    """Counts. ``refuses`` and ``hangs`` are the addresses with trouble, each the first time only; ``silent`` ones get 451 for ever."""

    clock: Clock
    refuses: set[str]
    hangs: set[str]
    silent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._deliveries: dict[str, list[float]] = {}
        self._refused: Counter[str] = Counter()
        self._hung: dict[str, float] = {}
        self._waited: list[int] = []
        self._pid = 0
        self._first = 0.0
        self._last = 0.0

    def refuses_now(self, address: str) -> bool:
        """Shall this address be refused? Counts it if so."""
        if address in self.silent or (address in self.refuses and address not in self._refused):
            self._refused[address] += 1
            return True
        return False

    def hangs_now(self, address: str) -> bool:
        """Shall the server fall silent on this address?"""
        if address in self.hangs and address not in self._hung:
            self._hung[address] = 0.0
            return True
        return False

    def gave_up(self, address: str, after: float) -> None:
        """A client that was left hanging has hung up."""
        self._hung[address] = after

    def deliver(self, address: str, pid: int, trace: str) -> None:
        """A mail is accepted. ``trace`` is the value of the task's header."""
        moment = self.clock.monotonic()
        self._first = self._first or moment
        if address not in self._deliveries:
            self._last = moment
        self._deliveries.setdefault(address, []).append(moment - self._first)
        self._pid = pid
        attempt, _, waited = (int(number) for number in trace.split())
        if attempt == 1:
            self._waited.append(waited)

    def status(self) -> Status:
        return Status(len(self._deliveries), self._refused.total(), len(self._hung), self._pid)

    def report(self) -> Report:
        return Report(self._deliveries, dict(self._refused), self._hung, self._waited, self._last - self._first)
