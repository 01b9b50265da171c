"""Storing envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...broker import BrokerSettings, Receipted
from ...envelope import EXPLICIT, TRACKED, Envelope, Extra
from . import records
from .statements import SQL
from .store import Store

FAR = 1 << 60
"""A time that never comes and fits into SQLite's integers with room to add to."""
_SPECIAL = EXPLICIT | TRACKED


class Prepared(NamedTuple):
    """An envelope that can be stored, packed before the lock is taken."""

    envelope: Envelope
    data: bytes


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
        flow = flow_number(store, envelope) if envelope.extras else None
        rows.append((queue, envelope.priority, 1 if due else 0, due, min(envelope.expires, FAR), number, data, flow))
        answers.append(Receipted(envelope.id))
    store.connection.executemany(SQL["message_add"], rows)
    return answers


def _known(store: Store, settings: BrokerSettings, id: str, now: int) -> bool:
    """Was this explicit id accepted within its time? If not, it is from now on."""
    return store.connection.execute(SQL["known_add"], (id, now + int(settings.dedupe_ttl * 1000), now)).rowcount == 0


def flow_number(store: Store, envelope: Envelope) -> int | None:
    """The number of the flow that it is a member of; None for one that is of none, or of one that is not there."""
    id = (envelope.extras or {}).get(Extra.FLOW)
    row = id and store.connection.execute(SQL["flow_number"], (id.decode("utf-8", "replace"),)).fetchone()
    return row[0] if row else None


def queue_number(store: Store, name: str) -> int:
    """The number of a queue, which is made if it does not exist."""
    execute = store.connection.execute
    execute(SQL["queue_add"], (name,))
    number: int = execute(SQL["queue_by_name"], (name,)).fetchone()[0]
    store.queues[name] = number
    return number
