"""Handing out: the second half of an exchange."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from ...broker import MAX_PROMOTE, Removed
from ...envelope import Delivery, Envelope, Receipt, pack, unpack
from .store import Holding, Row, Store


def envelope_of(row: Row) -> Envelope:
    """The envelope of a row that was readable when it was handed out."""
    return unpack(row.data, row.queue)


def claim(
    store: Store, holder: str, holding: Holding, queues: Sequence[str], limit: int, now: int, dropped: list[Removed]
) -> list[Delivery]:
    """Up to ``limit`` deliveries for ``holding``, whose ``seq`` is that of this exchange already. Adds to ``dropped``."""
    if not queues or limit <= 0:
        return []
    dropped += store.promote(now, MAX_PROMOTE)[1]
    got: list[Delivery] = []
    for queue in queues:
        if queue not in store.paused and _empty(store, queue, holder, holding, limit, now, got, dropped):
            break
    return got


def _empty(
    store: Store, queue: str, holder: str, holding: Holding, limit: int, now: int, got: list[Delivery], dropped: list[Removed]
) -> bool:
    """Take from one queue; True when the whole claim ends with it."""
    lanes = store.ready.get(queue, {})
    for priority in sorted(lanes, reverse=True):
        rows = lanes[priority]
        while rows:
            if len(got) >= limit:
                return True
            envelope = _next(store, rows, now, dropped)
            if envelope is None:
                continue
            if envelope.handed_alone and holding.held:
                return False
            got.append(_hand(store, rows.popleft(), envelope, Receipt(holder, holding.seq, len(got)), holding, now))
            if envelope.handed_alone:
                return True
    return False


def _next(store: Store, rows: deque[Row], now: int, dropped: list[Removed]) -> Envelope | None:
    """The envelope at the head, left there; None when the head was one to be put aside, which it then is."""
    row = rows[0]
    envelope = row.read()
    if envelope is None:
        rows.popleft()
        dropped.append(store.bury(row, now, "unreadable"))
        return None
    if store.flows.holds(envelope):
        rows.popleft()
        dropped.append(store.drop(envelope, "cancelled", now))
        return None
    if removed := store.expire(row, now):
        rows.popleft()
        dropped.append(removed)
        return None
    return envelope


def _hand(store: Store, row: Row, envelope: Envelope, receipt: Receipt, holding: Holding, now: int) -> Delivery:
    envelope = msgspec.structs.replace(envelope, delivery=envelope.delivery + 1)
    row.data = pack(envelope)
    holding.held[receipt] = row
    store.records.started(envelope, now)
    return Delivery(receipt, envelope)
