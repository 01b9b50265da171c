"""Storing envelopes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from ...broker import BrokerSettings, Facet, Receipted
from ...envelope import EXPLICIT, TRACKED, Envelope, Extra, pack
from ...errors import NotSupported, WireError
from . import records
from .statements import SQL
from .store import Store

_LACKED = {
    Extra.LANE: Facet.LIMITS,
    Extra.GROUP: Facet.LIMITS,
    Extra.UNIQUE: Facet.LIMITS,
    Extra.UNIQUE_UNTIL: Facet.LIMITS,
    Extra.DEBOUNCE: Facet.LIMITS,
    Extra.FLOW: Facet.JOINS,
    Extra.NODE: Facet.JOINS,
}
FAR = 1 << 60
"""A time that never comes and fits into SQLite's integers with room to add to."""
_SPECIAL = EXPLICIT | TRACKED


class Prepared(NamedTuple):
    """An envelope that can be stored, packed before the lock is taken."""

    envelope: Envelope
    data: bytes


def prepare(envelopes: Sequence[Envelope]) -> list[Prepared]:
    """Raises ``NotSupported`` or ``WireError`` if one of them cannot be stored."""
    prepared = []
    for envelope in envelopes:
        for tag in envelope.extras or ():
            if tag in _LACKED:
                raise NotSupported(f"the sqlite broker does not support '{_LACKED[Extra(tag)]}', which message {envelope.id!r} needs")
        try:
            prepared.append(Prepared(envelope, pack(envelope)))
        except (struct.error, UnicodeEncodeError, OverflowError) as exc:
            raise WireError(f"message {envelope.id!r} cannot be packed: {exc}") from exc
    return prepared


def accept(store: Store, settings: BrokerSettings, prepared: Sequence[Prepared], now: int) -> list[Receipted]:
    """Store them in order, within the caller's step; answers for each."""
    rows, answers = [], []
    for envelope, data in prepared:
        number = None
        due = min(envelope.due_at(now), FAR) if envelope.due or envelope.after else 0
        if envelope.flags & _SPECIAL:
            if envelope.flags & EXPLICIT and _known(store, settings, envelope.id, now):
                answers.append(Receipted(envelope.id, envelope.id))
                continue
            if envelope.flags & TRACKED:
                number = records.begin(store, settings, envelope, due, now)
        queue = store.queues.get(envelope.queue) or queue_number(store, envelope.queue)
        rows.append((queue, envelope.priority, 1 if due else 0, due, min(envelope.expires, FAR), number, data))
        answers.append(Receipted(envelope.id))
    store.connection.executemany(SQL["message_add"], rows)
    return answers


def _known(store: Store, settings: BrokerSettings, id: str, now: int) -> bool:
    """Was this explicit id accepted within its time? If not, it is from now on."""
    return store.connection.execute(SQL["known_add"], (id, now + int(settings.dedupe_ttl * 1000), now)).rowcount == 0


def queue_number(store: Store, name: str) -> int:
    """The number of a queue, which is made if it does not exist."""
    execute = store.connection.execute
    execute(SQL["queue_add"], (name,))
    number: int = execute(SQL["queue_by_name"], (name,)).fetchone()[0]
    store.queues[name] = number
    return number
