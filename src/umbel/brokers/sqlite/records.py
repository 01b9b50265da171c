"""Records of tracked messages, written in the very steps that move the messages.

A message knows its record by its number; a plain one has none, so every call on it does nothing.
"""

from __future__ import annotations

from ...broker import BrokerSettings
from ...envelope import Envelope, Extra
from ...facets import Record, State
from .statements import SQL
from .store import Store

_FAR_MS = 1 << 53
"""The longest time that a record is kept, so that no sum of times overflows."""


def begin(store: Store, settings: BrokerSettings, envelope: Envelope, due: int, now: int) -> int:
    """Begin the record of a message that is stored now; answers its number."""
    state = State.SCHEDULED if due else State.PENDING
    row = (envelope.id, state.value, envelope.queue, envelope.attempt, envelope.enqueued or now, _ttl_ms(settings, envelope))
    number: int = store.connection.execute(SQL["record_begin"], row).fetchone()[0]
    return number


def _ttl_ms(settings: BrokerSettings, envelope: Envelope) -> int:
    own = (envelope.extras or {}).get(Extra.RECORD_TTL)
    try:
        seconds = float(own) if own else settings.record_ttl
    except ValueError:  # another release's spelling: no reason to refuse the message
        seconds = settings.record_ttl
    return max(0, min(int(seconds * 1000), _FAR_MS)) if seconds == seconds and abs(seconds) < _FAR_MS else _FAR_MS


def started(store: Store, number: int, attempt: int, now: int) -> None:
    store.connection.execute(SQL["record_started"], (now, attempt, number))


def pending(store: Store, number: int | None) -> None:
    if number is not None:
        store.connection.execute(SQL["record_pending"], (number,))


def scheduled(store: Store, number: int | None) -> None:
    if number is not None:
        store.connection.execute(SQL["record_scheduled"], (number,))


def retry(store: Store, number: int | None, attempt: int, error: bytes) -> None:
    if number is not None:
        store.connection.execute(SQL["record_retry"], (attempt, error, number))


def done(store: Store, number: int, result: bytes | None, now: int) -> None:
    _end(store, number, State.SUCCESS, result, b"", "", now)


def dead(store: Store, number: int | None, reason: str, error: bytes, now: int) -> None:
    if number is not None:
        _end(store, number, State.FAILURE, None, error, reason, now)


def dropped(store: Store, number: int | None, reason: str, error: bytes, now: int) -> None:
    if number is not None:
        _end(store, number, State.EXPIRED if reason == "expired" else State.REVOKED, None, error, reason, now)


def _end(store: Store, number: int, state: State, result: bytes | None, error: bytes, reason: str, now: int) -> None:
    store.connection.execute(SQL["record_end"], (state.value, result, error, reason, now, now, number))


def get(store: Store, id: str, now: int) -> Record | None:
    row = store.connection.execute(SQL["record_get"], (id, now)).fetchone()
    return None if row is None else Record(row[0], State(row[1]), *row[2:])
