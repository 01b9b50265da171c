"""The only caller of ``exchange``: it gathers outcomes, settles them in batches, and brings back what was claimed."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ..broker import Exchanged, Settle, Verdict
from ..clock import Clock
from ..envelope import Envelope, Receipt
from ..errors import BrokerError, Fenced, NotSupported, SequenceError, StoreFull
from ..outcome import Outcome
from .points import reach

LATEST = 0.010
"""Seconds after which a finished outcome is settled: what a crash may repeat of finished small tasks."""
HEAVY = 500
"""Calls of atomic tasks in outcomes that wait, above which they are settled at once: no step of a store shall grow without bound."""
_PAUSE_FIRST, _PAUSE_LAST = 0.05, 2.0

log = logging.getLogger("umbel.worker")


class Exchanges(Protocol):
    """What is needed of a broker here."""

    def open(self) -> None: ...
    def close(self) -> None: ...
    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int, /) -> Exchanged: ...


class Settler:
    """Exchanges of one holder, each repeated under its number until it is answered."""

    def __init__(
        self,
        broker: Exchanges,
        holder: str,
        clock: Clock,
        pause: Callable[[float], None] = time.sleep,
        sent: Callable[[Sequence[Envelope]], None] = lambda _: None,
    ) -> None:
        """``sent`` is told of the calls that a settle brought along, once they are stored."""
        self.broker = broker
        self.holder = holder
        self.seq = 0
        self.offset = 0
        """The store's clock minus ours, ms."""
        self._clock = clock
        self._pause = pause
        self._sent = sent
        self._heavy = False
        self._pending: list[Settle] = []
        self._since = 0.0

    def add(self, receipt: Receipt, outcome: Outcome, now: float, then: tuple[Envelope, ...] = ()) -> None:
        """An outcome to settle with the next exchange."""
        if not self._pending:
            self._since = now
        self._pending.append(Settle(receipt, outcome, then))
        if then:
            self._heavy = self._heavy or sum([len(settle.then) for settle in self._pending]) > HEAVY

    @property
    def pending(self) -> bool:
        """Is anything finished and not settled?"""
        return bool(self._pending)

    @property
    def since(self) -> float:
        """When the oldest of that ended (monotonic)."""
        return self._since

    def due(self, now: float) -> bool:
        """Has a finished outcome waited long enough?"""
        return bool(self._pending) and (self._heavy or now - self._since >= LATEST)

    def flush(self) -> None:
        """Settle what is finished, if anything is."""
        if self._pending:
            self.exchange((), 0)

    def exchange(self, queues: Sequence[str], limit: int) -> Exchanged:
        """Settle all that is finished, and claim. Goes on for as long as the broker is away; raises ``Fenced`` (final)."""
        settles, self._pending, self._heavy = self._pending, [], False
        self.seq += 1
        if settles:
            reach("child.before_settle")
        answer = self._insist(settles, queues, limit)
        if settles:
            reach("child.after_settle")
        self.offset = answer.now - self._clock.now()
        if len(answer.verdicts) != answer.verdicts.count(Verdict.WON):
            self._tell_lost(settles, answer.verdicts)
        for settle, verdict in zip(settles, answer.verdicts, strict=True):
            if settle.then and verdict is Verdict.WON:
                self._sent(settle.then)
        return answer

    def _insist(self, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        pause = _PAUSE_FIRST
        failed = 0
        error: BrokerError | None = None
        while True:
            try:
                reach("child.in_exchange")
                answer = self.broker.exchange(self.holder, self.seq, settles, queues, limit)
            except Fenced as fence:
                if fence.final:
                    self._tell_fenced(settles, fence)
                    raise
                if not isinstance(error, Fenced):
                    pause = _PAUSE_FIRST  # the broker is back, and our own heartbeat will be in a moment
                error = fence
            except BrokerError as exc:
                error = exc
                self._mend(exc)
            else:
                if failed:
                    log.warning("broker answers again after %d tries", failed)
                return answer
            failed += 1
            _tell_failure(failed, error)
            self._pause(pause * (0.5 + random.random()))
            pause = min(pause * 2, _PAUSE_LAST)

    def _mend(self, error: BrokerError) -> None:
        if isinstance(error, SequenceError):  # a store that was set back, or lost what it had answered when it was killed
            raise Fenced(f"{error}: the store is not where it was; what is in hand runs again") from error
        if isinstance(error, NotSupported):
            raise error  # a fault of ours, and no repetition mends it
        if isinstance(error, StoreFull):
            return  # what is finished stays in hand until there is room
        try:
            self.broker.close()
            self.broker.open()
        except BrokerError as exc:
            log.debug("broker does not open: %s", exc)

    def _tell_fenced(self, settles: Sequence[Settle], fence: Fenced) -> None:
        for settle in settles:
            log.warning("lease lost: the result of delivery %s is dropped (%s)", settle.receipt, fence)

    def _tell_lost(self, settles: Sequence[Settle], verdicts: Sequence[Verdict]) -> None:
        for settle, verdict in zip(settles, verdicts, strict=True):
            if verdict is not Verdict.WON:
                log.warning("delivery %s: its result is dropped, the store says %s", settle.receipt, verdict)


def _tell_failure(failed: int, error: BrokerError) -> None:
    if failed in (1, 10) or failed % 100 == 0:  # pauses grow to 2 s: about one line in three minutes
        log.warning("broker: %s; trying again", error)
