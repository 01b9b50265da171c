"""Records of tracked messages. Called in the very steps that move the messages; whoever calls holds the store's lock."""

from __future__ import annotations

import msgspec

from ...envelope import Envelope, Extra
from ...facets import Record, State


class Records:
    """Id to record. A message that is not tracked has none, so every call on it does nothing."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._ends: dict[str, int] = {}
        self._ttl_ms: dict[str, int] = {}

    def begin(self, envelope: Envelope, due: int, now: int, ttl: float) -> None:
        if not envelope.tracked:
            return
        state = State.SCHEDULED if due else State.PENDING
        own = (envelope.extras or {}).get(Extra.RECORD_TTL)
        self._ttl_ms[envelope.id] = int(float(own) * 1000) if own else int(ttl * 1000)
        self._ends.pop(envelope.id, None)
        self._records[envelope.id] = Record(envelope.id, state, envelope.queue, envelope.attempt, enqueued=envelope.enqueued or now)

    def get(self, id: str, now: int) -> Record | None:
        record = self._records.get(id)
        return None if record is None or self._ends.get(id, now + 1) <= now else record

    def copy(self, id: str, now: int) -> Record | None:
        record = self.get(id, now)
        return None if record is None else msgspec.structs.replace(record)

    def started(self, envelope: Envelope, now: int) -> None:
        if record := self._of(envelope):
            record.state, record.started, record.attempt = State.STARTED, now, envelope.attempt

    def pending(self, id: str) -> None:
        """Ready again, or due at last. One that waits for its next attempt stays RETRY until it is handed out."""
        record = self._records.get(id)
        if record and record.state != State.RETRY:
            record.state = State.PENDING

    def scheduled(self, id: str) -> None:
        if record := self._records.get(id):
            record.state = State.SCHEDULED

    def retry(self, envelope: Envelope, error: bytes) -> None:
        if record := self._of(envelope):
            record.state, record.attempt, record.error = State.RETRY, envelope.attempt, error

    def done(self, envelope: Envelope, result: bytes | None, now: int) -> None:
        if record := self._of(envelope):
            record.result, record.error = result, b""
            self._finish(record, State.SUCCESS, now)

    def dead(self, envelope: Envelope, reason: str, error: bytes, now: int) -> None:
        if record := self._of(envelope):
            record.reason, record.error = reason, error
            self._finish(record, State.FAILURE, now)

    def dropped(self, envelope: Envelope, reason: str, error: bytes, now: int) -> None:
        if record := self._of(envelope):
            record.reason, record.error = reason, error
            self._finish(record, State.EXPIRED if reason == "expired" else State.REVOKED, now)

    def again(self, envelope: Envelope, now: int, ttl: float) -> None:
        """Redriven: as if it had just been stored."""
        self.begin(envelope, 0, now, ttl)

    def progress(self, id: str, progress: bytes) -> None:
        if record := self._records.get(id):
            record.progress = progress

    def forget(self, id: str, now: int) -> bool:
        record = self.get(id, now)
        if record is None or not record.state.final:
            return False
        self._remove(id)
        return True

    def prune(self, now: int) -> int:
        over = [id for id, end in self._ends.items() if end <= now]
        for id in over:
            self._remove(id)
        return len(over)

    def _of(self, envelope: Envelope) -> Record | None:
        return self._records.get(envelope.id) if envelope.tracked else None

    def _finish(self, record: Record, state: State, now: int) -> None:
        record.state, record.finished = state, now
        self._ends[record.id] = now + self._ttl_ms[record.id]

    def _remove(self, id: str) -> None:
        for table in (self._records, self._ends, self._ttl_ms):
            table.pop(id, None)
