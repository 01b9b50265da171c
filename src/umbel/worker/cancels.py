"""Orders to end the run of a message, which are kept until it is known that nobody here holds it any more.

Such an order comes with a heartbeat, and may meet a message that is claimed and not begun, or a broker that fails just now. So the
store is asked again and again which of our children holds it: who runs it is killed, who has not begun it is looked at again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ..clock import Clock
from ..envelope import Receipt
from .clerk import Clerk

_AGAIN = 0.25
"""Seconds until the store is asked again."""

log = logging.getLogger("umbel.worker")


class Holds(Protocol):
    """Who may have a message in hand."""

    @property
    def holder(self) -> str: ...
    @property
    def at_work(self) -> bool:
        """Can it be told anything?"""
        ...


H = TypeVar("H", bound=Holds)


class Cancels(Generic[H]):
    """For the loop of a supervisor or a keeper. All orders are asked about at once, and one question is under way at most."""

    def __init__(self, clerk: Clerk, clock: Clock, end: Callable[[H, Receipt, str], bool]) -> None:
        """``end``: see ``Watch.end_run``."""
        self._clerk = clerk
        self._clock = clock
        self._end = end
        self._wanted: dict[str, None] = {}
        self._asked = False
        self._next = 0.0

    def add(self, id: str) -> None:
        """End the run of message ``id``, if a child of ours has it."""
        log.info("%s is cancelled: whoever runs it here is to be ended", id)
        self._wanted[id] = None
        self._next = 0.0

    def turn(self, members: Sequence[H]) -> None:
        """Ask, if there is something to ask, and it is time."""
        if not self._wanted or self._asked or self._clock.monotonic() < self._next:
            return
        self._asked = True
        living = {m.holder: m for m in members if m.at_work}
        wanted = list(self._wanted)
        self._clerk.ask(
            lambda broker: {d.envelope.id: d.receipt for holder in living for d in broker.resume(holder)},
            lambda held: self._answered(wanted, living, held),
            self._failed,
        )

    def _answered(self, wanted: list[str], living: dict[str, H], held: dict[str, Receipt]) -> None:
        self._asked = False
        self._next = self._clock.monotonic() + _AGAIN
        for id in wanted:
            receipt = held.get(id)
            if receipt is None or self._end(living[receipt.holder], receipt, id):
                del self._wanted[id]

    def _failed(self, error: Exception) -> None:
        """Who runs it is not known, and it may be about to end: ask again."""
        self._asked = False
        self._next = self._clock.monotonic() + _AGAIN
        log.warning("cannot cancel %s yet: %s", ", ".join(self._wanted), error)
