"""Records, as the contract's facet."""

from __future__ import annotations

from ...envelope import Receipt
from ...facets import Record, Remembers
from .wait import Waiting


class MemoryRemembers(Waiting, Remembers):
    """The facet ``Remembers`` of the memory broker."""

    def record(self, id: str) -> Record | None:
        with self.store.lock:
            return self.store.records.copy(id, self.clock.now())

    def await_record(self, id: str, timeout: float) -> Record | None:
        def final() -> Record | None:
            record = self.record(id)
            return record if record is not None and record.state.final else None

        return self.until(final, lambda: None, timeout) or self.record(id)

    def report(self, receipt: Receipt, id: str, progress: bytes) -> bool:
        with self.store.lock:
            holding = self.store.holders.get(receipt.holder)
            row = holding.held.get(receipt) if holding else None
            if row is None or row.id() != id:
                return False
            self.store.records.progress(id, progress)
            return True

    def forget(self, id: str) -> bool:
        with self.store.lock:
            return self.store.records.forget(id, self.clock.now())
