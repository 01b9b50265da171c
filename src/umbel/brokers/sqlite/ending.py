"""How a delivery ends: by its outcome, or because its holder or its worker did. All within the caller's step."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...broker import Removed
from ...envelope import ALONE, CANCELLED, LOST_DEAD, Envelope
from ...joins import NodeState
from ...outcome import Dead, Done, Dropped, Outcome, Released, Replaced, Retry
from . import entry, limits, records
from .counters import is_cancelled, stamped
from .flows import flows
from .rows import FAR, Row
from .statements import SQL
from .store import Store


def apply(store: Store, row: Row, outcome: Outcome, now: int) -> Removed | None:
    """What an outcome says. Answers with a dead letter or a cancelled one."""
    match outcome:
        case Done() | Replaced():
            _done(store, row, outcome, now)
        case Dead(reason, error):
            return bury(store, row, reason, now, error)
        case Dropped(reason, error):
            drop(store, row, reason, now, error)
        case Retry() | Released() if is_cancelled(row.data):
            return drop(store, row, "cancelled", now)
        case Retry(after, error):
            _retry(store, row, after, error, now)
        case Released():
            _release(store, row, outcome, now)
    return None


def _done(store: Store, row: Row, outcome: Done | Replaced, now: int) -> None:
    remove(store, row, now)
    result = outcome.result if isinstance(outcome, Done) else None
    if row.record is not None:
        records.done(store, row.record, result, now)
    if row.flow is None:
        return
    if isinstance(outcome, Replaced):
        flows(store).replaced(row.envelope(), outcome.needs, outcome.value, outcome.nodes, now)
    else:
        flows(store).done(row.envelope(), result, now)


def _retry(store: Store, row: Row, after: int, error: bytes, now: int) -> None:
    envelope = row.envelope()
    envelope.attempt += 1
    envelope.parked = 0
    rewrite(store, row, envelope)
    _put_off(store, row, after, now, unbegun=False)
    records.retry(store, row.record, envelope.attempt, error)


def _release(store: Store, row: Row, outcome: Released, now: int) -> None:
    if outcome.parked or outcome.after > 0:
        envelope = row.envelope()
        since = (envelope.parked or now) if outcome.parked else 0
        if since != envelope.parked:
            envelope.parked = since
            rewrite(store, row, envelope)
    if outcome.after > 0:
        _put_off(store, row, outcome.after, now, unbegun=outcome.reason == "unbegun")
        records.scheduled(store, row.record)
    else:
        put_back(store, row, now, unbegun=outcome.reason == "unbegun")


def _put_off(store: Store, row: Row, after: int, now: int, *, unbegun: bool) -> None:
    if row.lane is not None:
        limits.left(store, row, now, unbegun=unbegun)
    store.connection.execute(SQL["put_off"], (min(now + max(0, after), FAR), row.pos))


def rewrite(store: Store, row: Row, envelope: Envelope) -> Row:
    """Write the counters of ``envelope``, which was read from ``row``; answers with the row as it is then."""
    data = stamped(row.data, envelope)
    store.connection.execute(SQL["rewrite"], (data, row.pos))
    return row._replace(data=data, handed=0)


def revived(envelope: Envelope) -> Envelope:
    """A dead letter's message as it begins anew."""
    flags = envelope.flags & ~(ALONE | CANCELLED)
    return msgspec.structs.replace(envelope, attempt=1, crashes=0, losses=0, parked=0, flags=flags)


def mark_cancelled(store: Store, row: Row) -> None:
    """It is in somebody's hands, and will not run again."""
    if envelope := row.readable():
        envelope.flags |= CANCELLED
        rewrite(store, row, envelope)


def put_back(store: Store, row: Row, now: int, *, unbegun: bool) -> None:
    """In front, where it was. ``unbegun``: what it took of its rates comes back."""
    if row.lane is None:
        store.connection.execute(SQL["put_back"], (row.pos,))
    else:
        entry.put_back(store, row, now, unbegun=unbegun)
    records.pending(store, row.record)


def remove(store: Store, row: Row, now: int) -> None:
    if row.lane is not None:
        entry.ended(store, row, now)
    store.connection.execute(SQL["remove"], (row.pos,))
    if row.lane:
        entry.forget_lane(store, row.lane, now)


def drop(store: Store, row: Row, reason: str, now: int, error: bytes = b"") -> Removed:
    """Take it out for good."""
    remove(store, row, now)
    records.dropped(store, row.record, reason, error, now)
    tell_flow(store, row, NodeState.DROPPED, reason, error, now)
    return row.removed(reason)


def bury(store: Store, row: Row, reason: str, now: int, error: bytes = b"") -> Removed:
    """Make it a dead letter."""
    removed = row.removed(reason)
    data = row.data if not (row.handed and removed.id) else stamped(row.data, row.envelope())
    remove(store, row, now)
    store.connection.execute(SQL["bury"], (row.queue, row.priority, removed.id, now, reason, error, data, row.flow))
    records.dead(store, row.record, reason, error, now)
    tell_flow(store, row, NodeState.FAILED, reason, error, now)
    return removed


def tell_flow(store: Store, row: Row, state: NodeState, reason: str, error: bytes, now: int) -> None:
    """It came to another end than ``Done``: the flow that it is a member of, if any, goes on from there."""
    if row.flow is not None and (envelope := row.readable()):
        flows(store).failed(envelope, state, reason, error, now)


def put_back_all(store: Store, rows: Iterable[Row], now: int, *, unbegun: bool) -> tuple[int, list[Removed]]:
    """Back in front, uncharged, apart from cancelled ones, which are dropped: (how many are back, which were dropped)."""
    back, removed = 0, []
    for row in rows:
        if is_cancelled(row.data) and row.readable():
            removed.append(drop(store, row, "cancelled", now))
        else:
            put_back(store, row, now, unbegun=unbegun)
            back += 1
    return back, removed


def deadly(envelope: Envelope, count: int, limit: int, why: str) -> str:
    """The reason to bury one whose holder died, or nothing."""
    if envelope.flags & LOST_DEAD:
        return "worker_lost"
    return why if limit and count >= limit else ""
