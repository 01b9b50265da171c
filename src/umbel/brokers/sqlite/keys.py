"""Keys: which message stands for others that are stored with the same one. All within the caller's step."""

from __future__ import annotations

import msgspec

from ...envelope import Envelope, Extra, pack, unpack
from ...lane import Debounce, Throttle
from .rows import FAR
from .statements import SQL
from .store import Store

UNIQUE, DEBOUNCED = 0, 1


def duplicate_of(store: Store, envelope: Envelope, now: int) -> str | None:
    """The id of the message that stands for this one; None if this one is to be stored.

    A debounced message takes over the newer one's body and time.
    """
    extras = envelope.extras or {}
    if (unique := extras.get(Extra.UNIQUE)) is not None:
        return unique_owner(store, unique)
    if (throttle := extras.get(Extra.THROTTLE)) is not None:
        row = store.connection.execute(SQL["throttle_owner"], (Throttle.read(throttle).key, now)).fetchone()
        return None if row is None else str(row[0])
    if (debounce := extras.get(Extra.DEBOUNCE)) is not None:
        return _merged(store, Debounce.read(debounce), envelope, now)
    return None


def unique_owner(store: Store, key: bytes) -> str | None:
    row = store.connection.execute(SQL["key_owner"], (UNIQUE, key.decode())).fetchone()
    return None if row is None else str(row[0])


def _merged(store: Store, debounce: Debounce, envelope: Envelope, now: int) -> str | None:
    execute = store.connection.execute
    row = execute(SQL["key_owner"], (DEBOUNCED, debounce.key)).fetchone()
    if row is None:
        return None
    owner, pos, latest, _, data = row
    first = unpack(data, envelope.queue)
    renewed = msgspec.structs.replace(first, body=envelope.body, expires=envelope.expires)
    execute(SQL["debounce_again"], (pack(renewed), min(envelope.expires, FAR), pos))
    execute(SQL["debounce_due"], (min(now + debounce.span, latest), pos))
    return str(owner)


def due_at(envelope: Envelope, now: int) -> int:
    """When a new message is due: a debounced one's own times are not looked at."""
    debounce = (envelope.extras or {}).get(Extra.DEBOUNCE)
    due = envelope.due_at(now) if debounce is None else now + Debounce.read(debounce).span
    return min(due, FAR)


def take(store: Store, envelope: Envelope, pos: int, now: int) -> None:
    """The message at ``pos`` has its key from now on."""
    extras, execute = envelope.extras or {}, store.connection.execute
    if (unique := extras.get(Extra.UNIQUE)) is not None:
        execute(SQL["key_take"], (UNIQUE, unique.decode(), envelope.id, pos, int(Extra.UNIQUE_UNTIL in extras), 0))
    elif (value := extras.get(Extra.DEBOUNCE)) is not None:
        debounce = Debounce.read(value)
        latest = min(now + debounce.most, FAR)
        execute(SQL["key_take"], (DEBOUNCED, debounce.key, envelope.id, pos, 1, latest))
    elif (value := extras.get(Extra.THROTTLE)) is not None:
        throttle = Throttle.read(value)
        execute(SQL["throttle_take"], (throttle.key, envelope.id, min(now + throttle.span, FAR)))


def begun(store: Store, envelope: Envelope, pos: int) -> None:
    """The message at ``pos`` is handed out: what it stood for only while it waited is free."""
    extras = envelope.extras or {}
    if Extra.UNIQUE_UNTIL in extras or Extra.DEBOUNCE in extras:
        store.connection.execute(SQL["key_begun"], (pos,))
