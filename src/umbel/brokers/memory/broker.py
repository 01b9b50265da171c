"""The verbs of the core on a :class:`Store`: each takes the lock, does its step, rings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from ...broker import (
    MAX_PROMOTE,
    Blame,
    Broker,
    BrokerSettings,
    Capabilities,
    Exchanged,
    Facet,
    Maintained,
    QueueStats,
    Receipted,
    Removed,
    Renewed,
    Retired,
    Settle,
    Verdict,
)
from ...clock import Clock
from ...envelope import EXPLICIT, Delivery, Envelope, Extra, Receipt
from ...errors import Fenced, SequenceError
from ...intake import Intake
from ...lane import Debounce
from ...outcome import Released
from . import claim, depth, ending
from .inspect import MemoryInspects
from .joins import MemoryJoins, tend
from .limits import MemoryLimits
from .remember import MemoryRemembers
from .row import Row
from .serving import MemoryServes, forget_served
from .store import Holding, Lease, Store
from .ticks import MemoryTicks
from .wait import Waiting

_FACETS = (Facet.INSPECTS, Facet.REMEMBERS, Facet.SERVES, Facet.LIMITS, Facet.JOINS, Facet.TICKS)


class MemoryBroker(MemoryInspects, MemoryRemembers, MemoryServes, MemoryLimits, MemoryJoins, MemoryTicks, Waiting, Broker):
    """A store in this process's memory."""

    capabilities = Capabilities(name="memory", facets=frozenset(_FACETS), shared=False)

    def __init__(self, store: Store, settings: BrokerSettings, clock: Clock) -> None:
        self.store, self.settings, self.clock = store, settings, clock
        self._intake = Intake(self.capabilities)

    @contextmanager
    def step(self) -> Iterator[int]:
        """One atomic step at one moment; whoever waits looks again afterwards."""
        with self.store.lock:
            now = self.clock.now()
            self.store.lanes.look_at(now)
            yield now
            self.store.ring()

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to let go of: the store belongs to all of its handles."""

    def ping(self) -> int:
        return self.clock.now()

    # -- producing

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        self._intake.enqueued(envelopes)
        with self.step() as now:
            return [self.accept(e, now) for e in envelopes]

    def accept(self, envelope: Envelope, now: int) -> Receipted:
        store, explicit = self.store, envelope.flags & EXPLICIT
        if explicit and store.remembers(envelope.id, now):
            return Receipted(envelope.id, envelope.id)
        bounced = envelope.extras.get(Extra.DEBOUNCE) if envelope.extras else None
        if owner := store.keys.owner(envelope, now):
            if bounced:
                store.bounce(envelope, now)
            return Receipted(envelope.id, owner)
        if bounced:
            envelope = msgspec.structs.replace(envelope, due=now + Debounce.read(bounced).span, after=0)
        if explicit:
            store.remembered[envelope.id] = now + int(self.settings.dedupe_ttl * 1000)
        removed = store.begin(envelope, now, self.settings.record_ttl)
        return Receipted(envelope.id, dropped=removed.reason if removed else "")

    # -- consuming

    def admit(self, worker: str, holder: str) -> None:
        with self.step() as now:
            if holder in self.store.gone:
                raise Fenced(f"the holder {holder!r} was retired; a name is used once, admit another")
            lease = self.store.workers.get(worker)
            if lease is None or lease.expires <= now:
                raise Fenced(f"the worker {worker!r} has no live lease; renew it first", final=lease is None)
            self.store.holders.setdefault(holder, Holding(worker))

    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        for settle in settles:
            self._intake.carried(settle)
        with self.step() as now:
            holding = self._fence(holder, now)
            if seq == holding.seq and seq > 0:
                held = [Delivery(r, claim.envelope_of(row)) for r, row in holding.held.items() if r.seq == seq]
                return Exchanged(list(holding.verdicts), held, self._next_due(queues, now), [], now)
            if seq != holding.seq + 1:
                raise SequenceError(f"exchange {seq} of holder {holder!r}: its last one was {holding.seq}")
            holding.seq = seq
            dropped: list[Removed] = []
            holding.verdicts = [self._settle(holding, settle, now, dropped) for settle in settles]
            deliveries = claim.claim(self.store, holder, holding, queues, limit, now, dropped)
            return Exchanged(list(holding.verdicts), deliveries, self._next_due(queues, now), dropped, now)

    def _fence(self, holder: str, now: int) -> Holding:
        holding = self.store.holders.get(holder)
        if holding is None:
            raise Fenced(f"the holder {holder!r} is not admitted (never was, retired, or rescued): it must end")
        lease = self.store.workers.get(holding.worker)
        if lease is None or lease.expires <= now:
            raise Fenced(f"the lease of worker {holding.worker!r} has run out: nothing until it is renewed", final=False)
        return holding

    def _settle(self, holding: Holding, settle: Settle, now: int, dropped: list[Removed]) -> Verdict:
        row = holding.held.pop(settle.receipt, None)
        if row is None:
            return Verdict.SUPERSEDED if settle.receipt in holding.taken else Verdict.ABSENT
        outcome = settle.outcome
        self.store.lanes.left(row, settle.receipt, unbegun=isinstance(outcome, Released) and outcome.reason == "unbegun")
        removed = ending.apply(self.store, row, outcome, now)
        if removed and removed.reason == "cancelled":
            dropped.append(removed)
        dropped += [Removed(e.id, e.queue, reason) for e in settle.then if (reason := self.accept(e, now).dropped)]
        return Verdict.WON

    def _next_due(self, queues: Sequence[str], now: int) -> int | None:
        times = (self.store.next_due(set(queues)), self.store.next_room(set(queues), now))
        return min((max(0, time - now) for time in times if time is not None), default=None)

    def resume(self, holder: str) -> list[Delivery]:
        with self.store.lock:
            holding = self.store.holders.get(holder)
            return [Delivery(r, claim.envelope_of(row)) for r, row in holding.held.items()] if holding else []

    # -- supervising

    def renew(self, worker: str, ttl: float, about: bytes = b"") -> Renewed:
        with self.step() as now:
            lease = self.store.workers.get(worker)
            known = lease is not None
            lease = self.store.workers.setdefault(worker, lease or Lease(0))
            lease.expires, lease.about = now + int(ttl * 1000), about
            commands, lease.commands = lease.commands, []
            return Renewed(now, list(self.store.lost.get(worker, [])), known, commands, self.store.schedules.revision)

    def give_back(self, holder: str, receipts: Sequence[Receipt]) -> int:
        with self.step() as now:
            holding = self.store.holders.get(holder)
            if holding is None:
                return 0
            rows = [self._taken(holding, r) for r in sorted(set(receipts)) if r in holding.held]
            holding.taken.update(receipts)
            ending.return_in_front(self.store, rows, now)
            return len(rows)

    def _taken(self, holding: Holding, receipt: Receipt) -> Row:
        row = holding.held.pop(receipt)
        self.store.lanes.left(row, receipt, unbegun=True)
        return row

    def retire(self, holder: str, blamed: Sequence[Blame] | None = None, reason: str = "") -> Retired:
        with self.step() as now:
            self.store.gone.add(holder)
            holding = self.store.holders.pop(holder, None)
            if holding is None:
                return Retired(0)
            self.store.lost.setdefault(holding.worker, []).append(holder)
            return ending.retire(self.store, holding, blamed, reason, now)

    def leave(self, worker: str) -> Retired:
        with self.step() as now:
            self.store.workers.pop(worker, None)
            self.store.lost.pop(worker, None)
            rows = []
            for name in sorted(n for n, h in self.store.holders.items() if h.worker == worker):
                holding = self.store.holders.pop(name)
                rows += [self._taken(holding, receipt) for receipt in list(holding.held)]
                self.store.gone.add(name)
            removed = ending.return_in_front(self.store, rows, now)
            return Retired(len(rows) - len(removed), [], removed)

    def maintain(self, *, rescue: bool = False, until: int | None = None) -> Maintained:
        with self.step() as now:
            done = Maintained()
            done.promoted, done.expired = self.store.promote(now, MAX_PROMOTE)
            done.expired = done.expired + ending.drop_expired(self.store, now, MAX_PROMOTE)
            if rescue and (until is None or now <= until):
                ending.rescue(self.store, now, done)
            done.pruned, done.trimmed = ending.prune(self.store, self.settings, now)
            self.store.lanes.forget_idle(now)
            forget_served(self.store, now - int(self.settings.served_ttl * 1000), now)
            forgotten, more = tend(self.store, self.settings, now)
            done.pruned += forgotten
            done.more = more or bool(self.store.scheduled and self.store.scheduled[0][0] <= now)
            return done

    def stats(self) -> list[QueueStats]:
        with self.store.lock:
            return depth.stats(self.store, self.clock.now())

    def purge(self, queue: str) -> int:
        with self.step() as now:
            rows = [row for row in self.store.waiting() if row.queue == queue]
            self.store.remove_waiting({id(row) for row in rows})
            for row in rows:
                if envelope := row.read():
                    self.store.drop(envelope, "purged", now)
            return len(rows)
