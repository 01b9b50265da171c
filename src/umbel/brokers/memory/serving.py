"""Who takes from which queue, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from ...facets import Served, Serves
from . import depth
from .store import Serving, Store


class MemoryServes(Serves):
    """The facet ``Serves`` of the memory broker."""

    store: Store

    @abstractmethod
    def step(self) -> AbstractContextManager[int]: ...

    def serve(self, worker: str, queues: Sequence[str]) -> bool:
        with self.step() as now:
            if not _lives(self.store, worker, now):
                return False
            for queue, serving in self.store.serving.items():
                if queue not in queues:
                    serving.workers.discard(worker)
            for queue in queues:
                serving = self.store.serving.setdefault(queue, Serving())
                serving.workers.add(worker)
                serving.said = now
            return True

    def served(self) -> list[Served]:
        with self.step() as now:
            stats = {one.queue: one for one in depth.stats(self.store, now)}
            found = []
            for queue, serving in sorted(self.store.serving.items()):
                alive = any(_lives(self.store, worker, now) for worker in serving.workers)
                waits = queue in stats and stats[queue].ready + stats[queue].scheduled > 0
                found.append(Served(queue, alive, waits and not alive, queue in self.store.paused))
            return found


def forget_served(store: Store, since: int, now: int) -> None:
    """Forget what nobody serves, nor has since then, if nothing stands there."""
    kept = {one.queue for one in depth.stats(store, now)}
    for queue, serving in list(store.serving.items()):
        if serving.said <= since and queue not in kept and not any(_lives(store, worker, now) for worker in serving.workers):
            del store.serving[queue]


def _lives(store: Store, worker: str, now: int) -> bool:
    lease = store.workers.get(worker)
    return lease is not None and lease.expires > now
