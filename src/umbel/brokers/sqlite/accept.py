"""Storing envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...broker import BrokerSettings, Receipted
from ...envelope import EXPLICIT, TRACKED, Envelope
from . import entry, records
from .rows import FAR
from .statements import SQL
from .store import Store

_SPECIAL = EXPLICIT | TRACKED


class Prepared(NamedTuple):
    """An envelope that can be stored, packed before the lock is taken."""

    envelope: Envelope
    data: bytes


def accept(store: Store, settings: BrokerSettings, prepared: Sequence[Prepared], now: int) -> list[Receipted]:
    """Store them in order, within the caller's step; answers for each."""
    rows, answers = list[tuple[object, ...]](), []
    for envelope, data in prepared:
        number = None
        if envelope.extras and not entry.MARKS.isdisjoint(envelope.extras):
            store.connection.executemany(SQL["message_add"], rows)  # what came before it stands before it
            rows.clear()
            answers.append(_marked(store, settings, envelope, data, now))
            continue
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


def _marked(store: Store, settings: BrokerSettings, envelope: Envelope, data: bytes, now: int) -> Receipted:
    """One with limits or keys. Its id is remembered only if no key makes it a duplicate."""
    if envelope.flags & EXPLICIT and store.connection.execute(SQL["known_is"], (envelope.id, now)).fetchone():
        return Receipted(envelope.id, envelope.id)
    queue = store.queues.get(envelope.queue) or queue_number(store, envelope.queue)
    return entry.arrive(store, settings, envelope, data, queue, now)


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
