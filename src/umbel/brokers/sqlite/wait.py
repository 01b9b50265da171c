"""Waiting for a fact of the store."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...broker import WAIT_MAX
from ...errors import WireError
from .lanes import next_heads
from .rows import FAR, read
from .statements import SQL
from .store import Store

if TYPE_CHECKING:
    from .watch import Watch

T = TypeVar("T")
Look = Callable[[int], tuple[T | None, float | None]]
"""At a moment: the fact or None, and the seconds until time alone may change that."""

_LOCKED_AGAIN = 0.002
"""Seconds until the next look when somebody writes just now."""
_FIRST_REST, _LAST_REST = 0.0003, 0.010
"""Seconds between being woken and looking. The kernel tells of a commit's first byte, and it can be seen a moment later.
It rises with every wake-up for nothing: others' traffic must not cost an idle worker its CPU."""


class Waiter:
    """The waiting of one handle; it keeps its watch from one wait to the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watch: Watch | None = None

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def wait(self, queues: Sequence[str], timeout: float, stop: int | None, alone: bool = True) -> bool:
        """See ``Broker.wait``."""
        return self.until(lambda now: claimable(self._store, queues, now, alone), min(timeout, WAIT_MAX), stop) is not None

    def until(self, look: Look[T], timeout: float, stop: int | None = None) -> T | None:
        """The first fact that ``look`` finds, or None after ``timeout`` seconds or when ``stop`` became readable."""
        if timeout <= 0:
            return self._store.read(look)[0]
        clock, watch = self._store.clock, self._armed()
        begin, slept, rest = clock.monotonic(), 0.0, _FIRST_REST
        while True:
            watch.drain()  # before the look: what is written after it ends the sleep
            fact, soon = self._look(look)
            # what was slept counts by itself, since a clock that is handed in may stand still
            left = timeout - max(slept, clock.monotonic() - begin)
            if fact is not None or left <= 0:
                return fact
            nap = max(0.0, min(left, watch.longest, left if soon is None else soon))
            woken = watch.sleep(nap, stop)
            if stop is not None and _readable(stop):
                return self._store.read(look)[0]
            if woken:
                time.sleep(rest)
                slept, rest = slept + rest, min(rest * 2, _LAST_REST)
            else:
                slept += nap

    def _look(self, look: Look[T]) -> tuple[T | None, float | None]:
        """A cheap look, and one that is sure if that found nothing."""
        fact, soon = self._store.read(look)
        if fact is not None:
            return fact, soon
        settled, answer = self._store.read_settled(look)
        return answer if settled and answer is not None else (None, _LOCKED_AGAIN)

    def _armed(self) -> Watch:
        if self._watch is None:
            from .watch import watch  # late: a producer never waits

            store = self._store
            self._watch = watch(Path(f"{store.path}-wal"), store.version)
        return self._watch


def _readable(fd: int) -> bool:
    """Now. ``select`` refuses descriptors from 1024 on, which a process with many connections has."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def claimable(store: Store, queues: Sequence[str], now: int, alone: bool = True) -> tuple[bool | None, float | None]:
    """Has one of ``queues``, not paused, a message that is ready or due, or a lane with room? And the seconds until the next one may."""
    execute, soonest = store.connection.execute, FAR
    for queue in queues:
        found = execute(SQL["queue_asked"], (now, queue)).fetchone()
        if found is None or found[1]:
            continue
        number, _, opens = found
        if _has_any(store, number, opens, now) and (alone or is_for_all(store, number, now)):
            return True, None
        due = execute(SQL["next_due"], (number,)).fetchone()
        soonest = min(soonest, due[0] if due else FAR, opens if opens is not None and opens > now else FAR)
    if soonest >= FAR:
        return None, None
    return (True, None) if soonest <= now else (None, (soonest - now) / 1000)


def _has_any(store: Store, queue: int, opens: int | None, now: int) -> bool:
    return (opens is not None and opens <= now) or store.connection.execute(SQL["any_ready"], (queue,)).fetchone() is not None


def is_for_all(store: Store, queue: int, now: int) -> bool:
    """Is what comes next, in the plain list and in the lanes of the highest priority, dropped or given to a holder that holds others?"""
    execute = store.connection.execute
    plain = execute(SQL["ready"], (queue, 1)).fetchone()
    lanes = execute(SQL["lanes_priority"], (queue, 1 << 32, now, now)).fetchone()[0]
    top = max(-1 if plain is None else plain[1], -1 if lanes is None else lanes)
    heads = [(plain[2], plain[5])] if plain is not None and plain[1] == top else []
    if lanes == top:
        heads += next_heads(store, queue, top, now)
    # none at all: lanes that have no room, as the next claim will note, and whatever stands behind them
    return all(_may_share(expires, data, now) for expires, data in heads)


def _may_share(expires: int, data: bytes, now: int) -> bool:
    try:
        return not read(data, "", 0).handed_alone or 0 < expires <= now
    except WireError:
        return True
