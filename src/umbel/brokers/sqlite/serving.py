"""Who takes from which queue, as the contract's facet."""

from __future__ import annotations

from collections.abc import Sequence

from ...facets import Served, Serves
from .statements import SQL
from .store import Store


class SQLiteServes(Serves):
    """The facet ``Serves`` of the SQLite broker."""

    store: Store

    def serve(self, worker: str, queues: Sequence[str]) -> bool:
        return self.store.write(lambda now: _serve(self.store, worker, queues, now))

    def served(self) -> list[Served]:
        def look(now: int) -> list[Served]:
            rows = self.store.connection.execute(SQL["served"], (now,)).fetchall()
            return [Served(queue, bool(alive), bool(waits and not alive), bool(paused)) for queue, alive, waits, paused in rows]

        return self.store.read(look)


def _serve(store: Store, worker: str, queues: Sequence[str], now: int) -> bool:
    execute = store.connection.execute
    lease = execute(SQL["worker_by_name"], (worker,)).fetchone()
    if lease is None or lease[1] <= now:
        return False
    before = {queue for (queue,) in execute(SQL["serves_of"], (worker,)).fetchall()}
    for queue in before - set(queues):
        execute(SQL["serves_remove"], (queue, worker))
    for queue in queues:
        execute(SQL["serves_add"], (queue, worker))
        execute(SQL["served_say"], (queue, now))
    execute(SQL["serves_sweep"])
    return True


def forget_served(store: Store, since: int, now: int) -> None:
    """Forget what nobody serves, nor has since then, if nothing stands there."""
    execute = store.connection.execute
    for (queue,) in execute(SQL["served_over"], (since,)).fetchall():
        if execute(SQL["served_remove"], (queue, queue, now, queue)).rowcount:
            execute(SQL["serves_clear"], (queue,))
