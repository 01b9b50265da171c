"""One bounded round of maintenance, and what else an operator's counts and purges need."""

from __future__ import annotations

from collections.abc import Iterator

from ...broker import MAX_PROMOTE, BrokerSettings, Maintained, QueueStats
from . import ending, leases, records
from .claim import promote
from .joins import tend
from .rows import Row
from .serving import forget_served
from .statements import SQL
from .store import Store

_BOUND = 1000
"""Rows of each kind in one round, so that nobody waits long for the lock."""
_GONE_KEPT_MS = 86_400_000
"""A day for which a used-up holder's name is remembered: no process is that late."""
_PURGE = 10_000
"""Messages removed in one step of a purge: about 50 ms."""
_OLDEST_OF = 1000
"""How many of the first of each priority are looked at for the oldest: what was retried may stand behind younger ones."""


def maintain(store: Store, settings: BrokerSettings, rescue: bool, now: int) -> Maintained:
    """See ``Broker.maintain``."""
    done = Maintained(expired=[], rescued=[], buried=[])
    _promote(store, done, now)
    _expire(store, done, now)
    if rescue:
        leases.rescue(store, done, now, _BOUND)
    _prune(store, settings, done, now)
    _trim(store, settings, done)
    tend(store, settings, done, now)
    forget_served(store, now - int(settings.served_ttl * 1000), now)
    return done


def _promote(store: Store, done: Maintained, now: int) -> None:
    left = MAX_PROMOTE
    for id, name, _ in store.connection.execute(SQL["queues"]).fetchall():
        touched, promoted = promote(store, id, name, now, left, done.expired)
        done.promoted += promoted
        left -= touched
        if left <= 0:
            done.more = True
            return


def _expire(store: Store, done: Maintained, now: int) -> None:
    rows = store.connection.execute(SQL["expired"], (now, _BOUND)).fetchall()
    done.expired += [ending.drop(store, Row(*row), "expired", now) for row in rows]
    done.more |= len(rows) == _BOUND


def _prune(store: Store, settings: BrokerSettings, done: Maintained, now: int) -> None:
    over = {
        "prune_records": now,
        "prune_known": now,
        "prune_dead": now - int(settings.dead_letter_ttl * 1000),
        "prune_gone": now - _GONE_KEPT_MS,
    }
    for name, end in over.items():
        pruned = store.connection.execute(SQL[name], (end, _BOUND)).rowcount
        done.pruned += pruned if name != "prune_gone" else 0  # a name is none of the things that are counted
        done.more |= pruned == _BOUND


def _trim(store: Store, settings: BrokerSettings, done: Maintained) -> None:
    execute = store.connection.execute
    over = execute(SQL["dead_bytes"]).fetchone()[0] - settings.dead_letter_bytes
    if over <= 0:
        return
    oldest = execute(SQL["dead_oldest"], (_BOUND,)).fetchall()
    for pos, size in oldest:
        execute(SQL["dead_remove"], (pos,))
        done.trimmed += 1
        over -= size
        if over <= 0:
            return
    done.more |= len(oldest) == _BOUND


def purge_some(store: Store, queue: str, now: int) -> int:
    """Remove some of what waits in a queue; answers how many, 0 when nothing waits any more."""
    execute = store.connection.execute
    found = execute(SQL["queue_by_name"], (queue,)).fetchone()
    if found is None:
        return 0
    rows = execute(SQL["waiting_of"], (found[0], found[0], _PURGE)).fetchall()
    for pos, record, flow in rows:
        if flow is not None:
            ending.drop(store, Row(*execute(SQL["row"], (pos,)).fetchone()), "purged", now)
        else:
            records.dropped(store, record, "purged", b"", now)
    store.connection.executemany(SQL["remove"], [(pos,) for pos, _, flow in rows if flow is None])
    return len(rows)


def purge(store: Store, queue: str) -> int:
    """See ``Broker.purge``; more than 10,000 go in several steps, so that nobody waits for seconds."""
    total = 0
    while removed := store.write(lambda now: purge_some(store, queue, now)):
        total += removed
        if removed < _PURGE:
            break
    return total


def stats(store: Store, now: int) -> list[QueueStats]:
    """See ``Broker.stats``: queues that hold something or are paused."""
    execute = store.connection.execute
    leased, dead = (dict(execute(SQL[name]).fetchall()) for name in ("count_leased", "count_dead"))
    found = []
    for id, name, paused in execute(SQL["queues"]).fetchall():
        ready = execute(SQL["count_ready"], (id,)).fetchone()[0]
        scheduled = execute(SQL["count_scheduled"], (id,)).fetchone()[0]
        one = QueueStats(name, ready, scheduled, leased.get(id, 0), dead.get(id, 0), None, bool(paused))
        if ready:
            one.oldest = _oldest(store, id, now)
        if ready or scheduled or one.leased or one.dead or paused:
            found.append(one)
    return found


def _oldest(store: Store, queue: int, now: int) -> int | None:
    """The age of the oldest of the first 1,000 of each priority."""
    stamps = []
    for priority in _priorities(store, queue):
        stamp = store.connection.execute(SQL["oldest"], (queue, priority, _OLDEST_OF)).fetchone()[0]
        if stamp is not None:
            stamps.append(int.from_bytes(stamp, "big"))
    return now - min(stamps) if stamps else None


def _priorities(store: Store, queue: int) -> Iterator[int]:
    priority = 1 << 32
    while row := store.connection.execute(SQL["priority_below"], (queue, priority)).fetchone():
        priority = row[0]
        yield priority
