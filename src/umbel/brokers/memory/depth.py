"""How the queues stand."""

from __future__ import annotations

from collections import Counter

from ...broker import QueueStats
from .store import Store


def stats(store: Store, now: int) -> list[QueueStats]:
    """Every queue that holds something or is paused, by name."""
    ready = Counter({queue: sum(1 for _ in store.ready_rows(queue)) for queue in store.ready_queues()})
    scheduled = Counter(row.queue for _, _, row in store.scheduled)
    leased = Counter(row.queue for _, _, _, row in store.leased())
    dead = Counter(letter.row.queue for letter in store.dead.values())
    names = sorted({q for counter in (ready, scheduled, leased, dead) for q, n in counter.items() if n} | store.paused)
    return [QueueStats(q, ready[q], scheduled[q], leased[q], dead[q], _oldest(store, q, now), q in store.paused) for q in names]


def _oldest(store: Store, queue: str, now: int) -> int | None:
    ages = [now - envelope.enqueued for row in store.ready_rows(queue) if (envelope := row.read())]
    return max(ages, default=None)
