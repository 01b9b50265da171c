"""Records, as the contract's facet."""

from __future__ import annotations

from ...envelope import Receipt
from ...facets import Record, Remembers
from . import leases, records
from .rows import Row, slot_of
from .statements import SQL
from .store import Store
from .wait import Waiter


class SQLiteRemembers(Remembers):
    """The facet ``Remembers`` of the SQLite broker."""

    store: Store
    waiter: Waiter

    def record(self, id: str) -> Record | None:
        return self.store.read(lambda now: records.get(self.store, id, now))

    def await_record(self, id: str, timeout: float) -> Record | None:
        def look(now: int) -> tuple[Record | None, float | None]:
            record = records.get(self.store, id, now)
            return (record if record is not None and record.state.final else None), None

        return self.waiter.until(look, timeout) or self.record(id)

    def report(self, receipt: Receipt, id: str, progress: bytes) -> bool:
        def step(_: int) -> bool:
            execute = self.store.connection.execute
            holder = leases.holder_id(self.store, receipt.holder)
            found = execute(SQL["held_one"], (holder, slot_of(receipt, receipt.holder))).fetchone()
            row = None if found is None else Row(*execute(SQL["row"], (found[1],)).fetchone())
            if row is None or row.record is None or row.id() != id:
                return False
            execute(SQL["record_progress"], (progress, row.record))
            return True

        return self.store.write(step)

    def forget(self, id: str) -> bool:
        return self.store.write(lambda now: self.store.connection.execute(SQL["record_forget"], (id, now)).rowcount > 0)
