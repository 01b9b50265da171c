"""Messages with limits or keys on their way in: new ones, due ones, those that come back. All within the caller's step."""

from __future__ import annotations

from ...broker import BrokerSettings, Receipted, Removed
from ...envelope import EXPLICIT, SKIPS, TRACKED, Envelope, Extra
from ...errors import WireError
from ...lane import Marks, marks_of
from . import keys, limits, records
from .rows import FAR, Row, read
from .statements import SQL
from .store import Store

MARKS = frozenset((Extra.LANE, Extra.UNIQUE, Extra.DEBOUNCE, Extra.THROTTLE))
"""Extras of which one makes a message a marked one: its row says so (``lane`` is not NULL), and it takes the slower ways."""
READY, SCHEDULED, LANED = 0, 1, -1


def arrive(store: Store, settings: BrokerSettings, envelope: Envelope, data: bytes, queue: int, now: int) -> Receipted:
    """A new marked message, which is no duplicate by its id."""
    owner = keys.duplicate_of(store, envelope, now)
    if owner is not None:
        return Receipted(envelope.id, owner)
    if envelope.flags & EXPLICIT:
        store.connection.execute(SQL["known_add"], (envelope.id, now + int(settings.dedupe_ttl * 1000), now))
    due = keys.due_at(envelope, now)
    record = records.begin(store, settings, envelope, due, now) if envelope.flags & TRACKED else None
    marks = marks_in(envelope)
    if not due and is_locked(store, envelope, marks):
        records.dropped(store, record, "locked", b"", now)
        return Receipted(envelope.id, None, "locked")
    state, lane = (SCHEDULED, 0) if due else place(store, queue, envelope.priority, marks, now)
    row = (queue, envelope.priority, state, due, min(envelope.expires, FAR), record, data, lane)
    pos = store.connection.execute(SQL["message_add_marked"], row).lastrowid or 0
    keys.take(store, envelope, pos, now)
    return Receipted(envelope.id)


def redriven(store: Store, settings: BrokerSettings, envelope: Envelope, data: bytes, queue: int, priority: int, now: int) -> bool:
    """A dead letter is ready once more, behind what waits, and has its key again; False, and nothing done, where another has that."""
    unique = (envelope.extras or {}).get(Extra.UNIQUE)
    if unique is not None and keys.unique_owner(store, unique) is not None:
        return False
    record = records.begin(store, settings, envelope, 0, now) if envelope.tracked else None
    row = (queue, priority, READY, 0, min(envelope.expires, FAR), record, data)
    if MARKS.isdisjoint(envelope.extras or ()):
        store.connection.execute(SQL["message_add"], row)
        return True
    state, lane = place(store, queue, priority, marks_in(envelope), now)
    pos = store.connection.execute(SQL["message_add_marked"], (*row[:2], state, *row[3:], lane)).lastrowid or 0
    if unique is not None:
        keys.take(store, envelope, pos, now)
    return True


def marks_in(envelope: Envelope) -> Marks | None:
    """The limits that a message names; none if it says it in a way that nobody reads: then it is a plain one."""
    try:
        return marks_of(envelope.extras)
    except WireError:
        return None


def is_locked(store: Store, envelope: Envelope, marks: Marks | None) -> bool:
    """Is it a newcomer that skips, and somebody was there before it?"""
    newcomer = envelope.flags & SKIPS and envelope.attempt == 1 and envelope.delivery == 0
    return bool(newcomer) and marks is not None and limits.is_taken(store, marks.lane.limit)


def place(store: Store, queue: int, priority: int, marks: Marks | None, now: int) -> tuple[int, int]:
    """Where a marked message waits: (state, lane)."""
    return (READY, 0) if marks is None else (LANED, lane_of(store, queue, priority, marks, now))


def lane_of(store: Store, queue: int, priority: int, marks: Marks, now: int) -> int:
    """The number of a lane, which is made if nothing waits in it yet."""
    execute = store.connection.execute
    shared = limits.number_of(store, marks.group) if marks.group else 0
    found = execute(SQL["lane_by_names"], (marks.lane.limit, queue, priority, shared)).fetchone()
    if found is not None:
        return int(found[0])
    own, group = limits.number_of(store, marks.lane), _group(store, queue, priority, shared, now)
    [turn] = execute(SQL["turn_next"], (1,)).fetchone()
    lane = execute(SQL["lane_add"], (group, queue, priority, own, turn, now)).lastrowid or 0
    execute(SQL["group_stirs"], (group,))
    return lane


def _group(store: Store, queue: int, priority: int, limit: int, now: int) -> int:
    found = store.connection.execute(SQL["group_id"], (queue, priority, limit)).fetchone()
    return int(found[0]) if found else store.connection.execute(SQL["group_add"], (queue, priority, limit, now)).lastrowid or 0


def promoted(store: Store, row: Row, pos: int, now: int) -> Removed | None:
    """A marked message is due, and gets the place ``pos``. Answers with one that is dropped instead."""
    envelope = row.readable()
    marks = marks_in(envelope) if envelope else None
    if envelope is not None and is_locked(store, envelope, marks):
        return drop_waiting(store, row, "locked", now)
    state, lane = place(store, row.queue, row.priority, marks, now)
    store.connection.execute(SQL["promote_marked"], (pos, state, lane, row.pos))
    store.connection.execute(SQL["key_moved"], (pos, row.pos))
    records.pending(store, row.record)
    return None


def drop_waiting(store: Store, row: Row, reason: str, now: int) -> Removed:
    """Take a marked message out that nobody holds."""
    ended(store, row, now)
    store.connection.execute(SQL["remove"], (row.pos,))
    records.dropped(store, row.record, reason, b"", now)
    return row.removed(reason)


def put_back(store: Store, row: Row, now: int, *, unbegun: bool) -> None:
    """A marked delivery goes back in front of where it waited."""
    limits.left(store, row, now, unbegun=unbegun)
    envelope = row.readable()
    state, lane = place(store, row.queue, row.priority, marks_in(envelope) if envelope else None, now)
    store.connection.execute(SQL["put_back_marked"], (state, lane, row.pos))


def begun(store: Store, pos: int, queue: int, priority: int, envelope: Envelope, now: int) -> bool:
    """A marked message of the plain list would be handed out. True if it is put into its lane instead: a release that knows no lanes
    put it here. Else its key may be free from now on."""
    marks = marks_in(envelope)
    if marks is None:
        keys.begun(store, envelope, pos)
        return False
    store.connection.execute(SQL["lane_enter"], (lane_of(store, queue, priority, marks, now), pos))
    return True


def ended(store: Store, row: Row, now: int) -> None:
    """A marked message is about to be removed: its places, its lane if it was the last there, and its key are free."""
    if row.slot is not None:
        limits.left(store, row, now, unbegun=False)
    store.connection.execute(SQL["key_free"], (row.pos,))


def forget_lane(store: Store, lane: int, now: int) -> None:
    """Let go of a lane in which nothing waits, and of what existed for it."""
    execute = store.connection.execute
    found = execute(SQL["lane_get"], (lane,)).fetchone()
    if found is None or execute(SQL["lane_has_any"], (found[0], lane)).fetchone():
        return
    _, own, group = found
    execute(SQL["lane_remove"], (lane,))
    limits.forget(store, own, now)
    if gone := execute(SQL["group_remove"], (group,)).fetchone():
        limits.forget(store, gone[0], now)


def readable(data: bytes, queue: str) -> Envelope | None:
    """A waiting message's envelope, or None for bytes that are none."""
    try:
        return read(data, queue, 0)
    except WireError:
        return None
