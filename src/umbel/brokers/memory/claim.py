"""Handing out: the second half of an exchange."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ...broker import MAX_PROMOTE, Removed
from ...envelope import Delivery, Envelope, Receipt, pack, unpack
from .lanes import Lane
from .row import Row
from .store import Holding, Store


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
    for priority in store.priorities(queue):
        # lanes begin, so they give half, rounded up; of a single one they give every other
        lanes_turn = limit - len(got) > 1 or holding.seq % 2 == 1
        while len(got) < limit and (heads := _heads(store, queue, priority, now, dropped)):
            alone = [head for head in heads if head.envelope.handed_alone]
            if alone and holding.held:
                return False
            head = alone[0] if alone else next((h for h in heads if (h.lane is not None) == lanes_turn), heads[0])
            got.append(_hand(store, head, Receipt(holder, holding.seq, len(got)), holding, now))
            if alone:
                return True
            lanes_turn = not lanes_turn
    return len(got) >= limit


class _Head(NamedTuple):
    """A message that is next on its side: in the plain list, or in a lane with room."""

    envelope: Envelope
    rows: deque[Row]
    lane: Lane | None


def _heads(store: Store, queue: str, priority: int, now: int, dropped: list[Removed]) -> list[_Head]:
    """The next of the plain list and the next of the lanes; what is to be put aside on the way is."""
    heads = []
    plain = store.ready.get(queue, {}).get(priority, deque())
    while plain:
        if envelope := _fit(store, plain[0], now, dropped):
            heads.append(_Head(envelope, plain, None))
            break
        plain.popleft()
    while lane := store.lanes.next(queue, priority, now):
        if envelope := _fit(store, lane.rows[0], now, dropped):
            heads.append(_Head(envelope, lane.rows, lane))
            break
        store.lanes.pop(lane)
    return heads


def _fit(store: Store, row: Row, now: int, dropped: list[Removed]) -> Envelope | None:
    """The envelope, left where it stands; None when it is one to be put aside, and noted as such: take it away."""
    envelope = row.read()
    if envelope is None:
        dropped.append(store.bury(row, now, "unreadable"))
        return None
    if store.flows.holds(envelope):
        dropped.append(store.drop(envelope, "cancelled", now))
        return None
    if removed := store.expire(row, now):
        dropped.append(removed)
        return None
    return envelope


def _hand(store: Store, head: _Head, receipt: Receipt, holding: Holding, now: int) -> Delivery:
    row = head.rows.popleft() if head.lane is None else store.lanes.hand(head.lane, receipt, now)
    envelope = msgspec.structs.replace(head.envelope, delivery=head.envelope.delivery + 1)
    row.data = pack(envelope)
    holding.held[receipt] = row
    store.keys.handed(envelope)
    store.records.started(envelope, now)
    return Delivery(receipt, envelope)
