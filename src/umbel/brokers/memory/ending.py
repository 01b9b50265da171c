"""How a delivery ends: by its outcome, or because its holder or its worker did."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...broker import Blame, BrokerSettings, Maintained, Removed, Retired
from ...envelope import ALONE, CANCELLED, LOST_DEAD, Envelope, pack
from ...joins import NodeState
from ...outcome import Dead, Done, Dropped, Outcome, Released, Replaced, Retry
from .claim import envelope_of
from .row import Row
from .store import Holding, Store


def apply(store: Store, row: Row, outcome: Outcome, now: int) -> Removed | None:
    """What an outcome says, on a row that nobody holds any more. Answers with a dead letter or a cancelled one."""
    envelope = envelope_of(row)
    match outcome:
        case Done(result):
            store.records.done(envelope, result, now)
            store.keys.ended(envelope)
            store.flows.done(envelope, result, now)
        case Replaced(needs, value, nodes):
            store.records.done(envelope, None, now)
            store.flows.replaced(envelope, needs, value, nodes, now)
        case Dead(reason, error):
            return bury(store, row, envelope, now, reason, error)
        case Dropped(reason, error):
            store.drop(envelope, reason, now, error)
        case Retry() | Released() if envelope.flags & CANCELLED:
            return drop_cancelled(store, envelope, now)
        case Retry(after, error):
            envelope.attempt += 1
            envelope.parked = 0
            rewrite(row, envelope)
            store.records.retry(envelope, error)
            store.schedule(row, now + after)
        case Released():
            release(store, row, envelope, outcome, now)
    return None


def release(store: Store, row: Row, envelope: Envelope, released: Released, now: int) -> None:
    after = released.after
    since = envelope.parked or now if released.parked else 0 if after > 0 else envelope.parked
    if since != envelope.parked:
        envelope.parked = since
        rewrite(row, envelope)
    if after > 0:
        store.records.scheduled(envelope.id)
        store.schedule(row, now + after)
    else:
        store.records.pending(envelope.id)
        store.in_front([row], now)


def rewrite(row: Row, envelope: Envelope) -> None:
    row.data = pack(envelope)


def bury(store: Store, row: Row, envelope: Envelope, now: int, reason: str, error: bytes = b"") -> Removed:
    store.records.dead(envelope, reason, error, now)
    store.keys.ended(envelope)
    removed = store.bury(row, now, reason, error)
    store.flows.failed(envelope, NodeState.FAILED, reason, error, now)
    return removed


def mark_cancelled(row: Row) -> None:
    if envelope := row.read():
        envelope.flags |= CANCELLED
        rewrite(row, envelope)


def drop_cancelled(store: Store, envelope: Envelope, now: int) -> Removed:
    return store.drop(envelope, "cancelled", now)


def return_in_front(store: Store, rows: list[Row], now: int) -> list[Removed]:
    """Put back uncharged, in the order given, apart from cancelled ones, which are dropped and named."""
    back, removed = [], []
    for row in rows:
        envelope = row.read()
        if envelope is None:  # a newer release handed it out: its counters and flags are not ours to read
            back.append(row)
        elif envelope.flags & CANCELLED:
            removed.append(drop_cancelled(store, envelope, now))
        else:
            store.records.pending(envelope.id)
            back.append(row)
    store.in_front(back, now)
    return removed


def retire(store: Store, holding: Holding, blamed: Sequence[Blame] | None, reason: str, now: int) -> Retired:
    """All that a dead holder held. ``Retired.removed`` has every one that left, a blamed one too if it was cancelled."""
    answer, back = Retired(0, [], []), []
    by_receipt = {blame.receipt: blame for blame in blamed or ()}
    shared = sum(blame.outcome is None for blame in by_receipt.values()) > 1
    for receipt, row in holding.held.items():
        blame = by_receipt.get(receipt)
        store.lanes.left(row, receipt, unbegun=blamed is not None and blame is None)
        envelope = row.read()
        if envelope is None:
            back.append(row)
            continue
        if blame is not None:
            if blame.outcome is not None:
                _note(answer, apply(store, row, blame.outcome, now))
                continue
            envelope.crashes += 1
            envelope.flags |= ALONE
            rewrite(row, envelope)
            if why := _deadly(envelope, envelope.crashes, 0 if shared else envelope.crash_limit, "poison"):
                answer.blamed = [*answer.blamed, bury(store, row, envelope, now, why, reason.encode())]
                continue
        elif blamed is None and envelope.flags & LOST_DEAD:
            answer.removed = [*answer.removed, bury(store, row, envelope, now, "worker_lost", reason.encode())]
            continue
        back.append(row)
    dropped = return_in_front(store, back, now)
    answer.removed = [*answer.removed, *dropped]
    answer.returned = len(back) - len(dropped)
    return answer


def _note(answer: Retired, removed: Removed | None) -> None:
    if removed is not None and removed.reason == "cancelled":
        answer.removed = [*answer.removed, removed]
    elif removed is not None:
        answer.blamed = [*answer.blamed, removed]


def _deadly(envelope: Envelope, count: int, limit: int, why: str) -> str:
    """The reason to bury one whose holder died, or nothing."""
    if envelope.flags & LOST_DEAD:
        return "worker_lost"
    return why if limit and count >= limit else ""


def rescue(store: Store, now: int, done: Maintained) -> None:
    """Give back what workers whose lease has ended held, and forget them."""
    for worker in sorted(w for w, lease in store.workers.items() if lease.expires <= now):
        back: list[Row] = []
        for name in sorted(n for n, h in store.holders.items() if h.worker == worker):
            holding = store.holders.pop(name)
            store.gone.add(name)
            store.lost.setdefault(worker, []).append(name)
            for receipt, row in holding.held.items():
                store.lanes.left(row, receipt, unbegun=False)
                envelope = row.read()
                if envelope is None:
                    back.append(row)
                    continue
                envelope.losses += 1
                envelope.flags |= ALONE
                rewrite(row, envelope)
                if why := _deadly(envelope, envelope.losses, envelope.loss_limit, "worker_lost"):
                    done.buried = [*done.buried, bury(store, row, envelope, now, why)]
                else:
                    back.append(row)
        dropped = return_in_front(store, back, now)
        done.expired = [*done.expired, *dropped]
        done.rescued = [*done.rescued, (worker, len(back) - len(dropped))]
        del store.workers[worker]


def drop_expired(store: Store, now: int, limit: int) -> list[Removed]:
    """Ready and scheduled ones whose time is over."""
    rows = [row for row in store.waiting() if (e := row.read()) and e.expires and e.expires <= now][:limit]
    removed = [store.expire(row, now) for row in rows]
    store.remove_waiting({id(row) for row in rows})
    return [r for r in removed if r is not None]


def prune(store: Store, settings: BrokerSettings, now: int) -> tuple[int, int]:
    """Records, remembered ids and dead letters whose time is over, then the oldest dead letters for lack of room."""
    pruned = store.records.prune(now) + store.keys.prune(now)
    for id in [id for id, end in store.remembered.items() if end <= now]:
        del store.remembered[id]
        pruned += 1
    kept = {d.name for d in store.dead.values() if (envelope := d.row.read()) and store.flows.unfinished(envelope)}
    for letter in [d for d in store.dead.values() if d.name not in kept and d.died + int(settings.dead_letter_ttl * 1000) <= now]:
        del store.dead[letter.name]
        pruned += 1
    trimmed, size = 0, sum(len(d.row.data) + len(d.error) for d in store.dead.values())
    for name in sorted(store.dead.keys() - kept):
        if size <= settings.dead_letter_bytes:
            break
        oldest = store.dead.pop(name)
        size -= len(oldest.row.data) + len(oldest.error)
        trimmed += 1
    return pruned, trimmed


def revive(envelope: Envelope) -> Envelope:
    """A dead letter's message as it begins anew."""
    flags = envelope.flags & ~(ALONE | CANCELLED)
    return msgspec.structs.replace(envelope, attempt=1, crashes=0, losses=0, parked=0, flags=flags)
