"""What a supervisor says of its worker and of the holders that it admitted. All within the caller's step."""

from __future__ import annotations

from collections.abc import Sequence

from ...broker import Blame, Command, Maintained, Removed, Renewed, Retired
from ...envelope import ALONE, LOST_DEAD, Receipt
from ...errors import Fenced
from . import ending, limits
from .rows import SLOT_BITS, Row, slot_of
from .statements import SQL
from .store import Store
from .ticks import revision

_LOST_TOLD = 1000
"""The newest of a worker's gone holders that a heartbeat names: none runs as many children within a lease."""
_TRACES_KEPT = 10_000
"""Exchanges after which it is forgotten that a delivery was given back: nobody settles one so late that was never begun."""
_LAST = 1 << 60


def renew(store: Store, worker: str, ttl: float, about: bytes, now: int) -> Renewed:
    """See ``Broker.renew``."""
    limits.check_clock(store, now)
    execute, expires = store.connection.execute, min(now + int(ttl * 1000), _LAST)
    known = execute(SQL["worker_by_name"], (worker,)).fetchone()
    commands = []
    if known is None:
        execute(SQL["worker_add"], (worker, expires, about))
    else:
        execute(SQL["worker_renew"], (expires, about, about, known[0]))
        commands = [Command(verb, message) for verb, message in execute(SQL["commands_of"], (known[0],)).fetchall()]
        if commands:
            execute(SQL["commands_clear"], (known[0],))
    lost = [name for (name,) in execute(SQL["gone_of"], (worker, _LOST_TOLD))]
    return Renewed(now, lost, known is not None, commands, revision(store))


def admit(store: Store, worker: str, holder: str, now: int) -> None:
    """See ``Broker.admit``."""
    execute = store.connection.execute
    if execute(SQL["gone_is"], (holder,)).fetchone():
        raise Fenced(f"the holder {holder!r} was retired; a name is used once, admit another")
    lease = execute(SQL["worker_by_name"], (worker,)).fetchone()
    if lease is None or lease[1] <= now:
        raise Fenced(f"the worker {worker!r} has no live lease; renew it first", final=lease is None)
    execute(SQL["holder_add"], (holder, lease[0]))


def holder_id(store: Store, name: str) -> int | None:
    """The number of an admitted holder."""
    row = store.connection.execute(SQL["holder_id"], (name,)).fetchone()
    return None if row is None else row[0]


def held_rows(store: Store, holder: int) -> list[Row]:
    """All that a holder holds, in the order of its receipts."""
    return [Row(*row) for row in store.connection.execute(SQL["held_rows"], (holder,)).fetchall()]


def give_back(store: Store, holder: str, receipts: Sequence[Receipt], now: int) -> int:
    """See ``Broker.give_back``."""
    id, execute = holder_id(store, holder), store.connection.execute
    if id is None:
        return 0
    slots = sorted({slot_of(receipt, holder) for receipt in receipts})
    found = [row for slot in slots for row in execute(SQL["held_one"], (id, slot)).fetchall()]
    rows = [Row(*execute(SQL["row"], (pos,)).fetchone()) for _, pos, *_ in found]
    for slot, *_ in found:
        execute(SQL["taken_add"], (id, slot))
    if found:
        execute(SQL["taken_prune"], (id, found[-1][0] - (_TRACES_KEPT << SLOT_BITS)))
    return ending.put_back_all(store, rows, now, unbegun=True)[0]


def retire(store: Store, holder: str, blamed: Sequence[Blame] | None, reason: str, now: int) -> Retired:
    """See ``Broker.retire``. ``Retired.removed`` has every one that left, apart from those in ``Retired.blamed``."""
    answer, back = Retired(0, [], []), []
    found = store.connection.execute(SQL["fence"], (holder,)).fetchone()
    if found is None:
        store.connection.execute(SQL["gone_add"], (holder, None, now))  # a child may die before its admission arrives
        return answer
    rows = held_rows(store, found[0])
    _withdraw(store, found[0], holder, found[5], now)
    by_slot = {slot_of(blame.receipt, holder): blame for blame in blamed or ()}
    shared = sum(blame.outcome is None for blame in by_slot.values()) > 1
    for row in rows:
        if row.slot is not None and (blame := by_slot.get(row.slot)) is not None:
            _blame(store, row, blame, shared, reason, answer, now)
        elif blamed is None and (envelope := row.readable()) and envelope.flags & LOST_DEAD:
            answer.removed.append(ending.bury(store, row, "worker_lost", now, reason.encode()))
        else:
            back.append(row)
    answer.returned += _back(store, back, answer.removed, now, unbegun=blamed is not None)
    return answer


def _blame(store: Store, row: Row, blamed: Blame, shared: bool, reason: str, answer: Retired, now: int) -> None:
    """One that the holder was running; ``shared`` with others, so that its crash counts, and does not bury it."""
    if blamed.outcome is not None:
        removed = ending.apply(store, row, blamed.outcome, now)
        if removed is not None and removed.reason == "cancelled":
            answer.removed.append(removed)
        elif removed is not None:
            answer.blamed.append(removed)
        return
    envelope = row.readable()
    if envelope is None:
        answer.returned += _back(store, [row], answer.removed, now)
        return
    envelope.crashes += 1
    envelope.flags |= ALONE
    row = ending.rewrite(store, row, envelope)
    if why := ending.deadly(envelope, envelope.crashes, 0 if shared else envelope.crash_limit, "poison"):
        answer.blamed.append(ending.bury(store, row, why, now, reason.encode()))
    else:
        answer.returned += _back(store, [row], answer.removed, now)


def _back(store: Store, rows: list[Row], removed: list[Removed], now: int, *, unbegun: bool = False) -> int:
    back, dropped = ending.put_back_all(store, rows, now, unbegun=unbegun)
    removed += dropped
    return back


def _withdraw(store: Store, holder: int, name: str, told: str | None, now: int) -> None:
    """End an admission for good. What is held keeps the holder's number, and must be dealt with in the same step."""
    execute = store.connection.execute
    execute(SQL["holder_remove"], (holder,))
    execute(SQL["taken_clear"], (holder,))
    execute(SQL["gone_add"], (name, told, now))


def leave(store: Store, worker: str, now: int) -> Retired:
    """See ``Broker.leave``."""
    execute, answer = store.connection.execute, Retired(0, [], [])
    found = execute(SQL["worker_by_name"], (worker,)).fetchone()
    execute(SQL["gone_untold"], (worker,))
    if found is None:
        return answer
    for id, name in execute(SQL["holders_of"], (found[0],)).fetchall():
        rows = held_rows(store, id)
        _withdraw(store, id, name, None, now)
        answer.returned += _back(store, rows, answer.removed, now, unbegun=True)
    _forget(store, found[0])
    return answer


def _forget(store: Store, worker: int) -> None:
    store.connection.execute(SQL["commands_clear"], (worker,))
    store.connection.execute(SQL["worker_remove"], (worker,))


def rescue(store: Store, done: Maintained, now: int, limit: int) -> None:
    """Give back what workers whose lease has ended held, and forget them. Ends after ``limit`` messages, between two holders:
    the rest is for the next round (``done.more``)."""
    execute = store.connection.execute
    for worker, name in execute(SQL["workers_over"], (now,)).fetchall():
        back = 0
        for holder, holder_name in execute(SQL["holders_of"], (worker,)).fetchall():
            if limit <= 0:
                break
            rows = held_rows(store, holder)
            _withdraw(store, holder, holder_name, name, now)
            back += sum(_rescue_one(store, row, done, now) for row in rows)
            limit -= max(1, len(rows))
        else:
            _forget(store, worker)
        done.rescued.append((name, back))
        if limit <= 0:
            done.more = True
            return


def _rescue_one(store: Store, row: Row, done: Maintained, now: int) -> int:
    """1 if it is ready again, 0 if it left. What a newer release handed out goes back uncharged: its counters are not ours to read."""
    envelope = row.readable()
    if envelope is None:
        return _back(store, [row], done.expired, now)
    envelope.losses += 1
    envelope.flags |= ALONE
    row = ending.rewrite(store, row, envelope)
    if why := ending.deadly(envelope, envelope.losses, envelope.loss_limit, "worker_lost"):
        done.buried.append(ending.bury(store, row, why, now))
        return 0
    return _back(store, [row], done.expired, now)
