"""Waiting: until somebody rings, something is due, or the caller's file descriptor says stop. No polling."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...broker import WAIT_MAX
from ...clock import Clock
from .row import Row
from .store import Store

T = TypeVar("T")


class Waiting:
    """The waiting half of the memory broker."""

    store: Store
    clock: Clock

    def wait(self, queues: Sequence[str], timeout: float, stop: int | None = None, *, alone: bool = True) -> bool:
        wanted, span = set(queues), min(timeout, WAIT_MAX)
        answer = self.until(lambda: self._claimable(wanted, alone) or None, lambda: self._seconds_to_due(wanted), span, stop)
        return answer is not None

    def until(self, fact: Callable[[], T | None], seconds: Callable[[], float | None], timeout: float, stop: int | None = None) -> T | None:
        """The first answer of ``fact`` that is not None, looked for at every ring and after ``seconds``; the last one at the end."""
        ear, bell = self.store.listen()
        try:
            end = self.clock.monotonic() + timeout
            while True:
                with self.store.lock:
                    answer, soon = fact(), seconds()
                left = end - self.clock.monotonic()
                if answer is not None or left <= 0:
                    return answer
                if self._sleep(ear, stop, left if soon is None else min(left, soon)):
                    return fact()
        finally:
            self.store.unlisten(ear, bell)

    @staticmethod
    def _sleep(ear: int, stop: int | None, seconds: float) -> bool:
        """Until a ring, ``stop``, or the time; True for ``stop``."""
        poll = select.poll()
        poll.register(ear, select.POLLIN)
        if stop is not None:
            poll.register(stop, select.POLLIN)
        # rounded up: a millisecond late rather than a busy loop through the last one
        heard = {fd for fd, _ in poll.poll(int(max(0.0, seconds) * 1000) + 1)}
        if ear in heard:
            os.read(ear, 65536)
        return stop in heard

    def _claimable(self, queues: set[str], alone: bool) -> bool:
        store, now = self.store, self.clock.now()
        open_queues = queues - store.paused
        store.lanes.look_at(now)
        due = store.next_due(open_queues)
        return any(self._has_for(queue, alone, now) for queue in open_queues) or (due is not None and due <= now)

    def _has_for(self, queue: str, alone: bool, now: int) -> bool:
        heads = next((found for priority in self.store.priorities(queue) if (found := self.store.heads(queue, priority, now))), [])
        return bool(heads) and (alone or all(self._may_share(row, now) for row in heads))

    @staticmethod
    def _may_share(row: Row, now: int) -> bool:
        envelope = row.read()
        return envelope is None or not envelope.handed_alone or 0 < envelope.expires <= now

    def _seconds_to_due(self, queues: set[str]) -> float | None:
        now = self.clock.now()
        times = (self.store.next_due(queues - self.store.paused), self.store.next_room(queues, now))
        return min(((time - now) / 1000 for time in times if time is not None), default=None)
