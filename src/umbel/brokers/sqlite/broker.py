"""The verbs of the core on a :class:`Store`, each one step."""

from __future__ import annotations

from collections.abc import Sequence

from ...broker import (
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
)
from ...checkup import Finding
from ...clock import Clock
from ...envelope import Delivery, Envelope, Receipt
from ...intake import Intake
from . import exchange, leases, maintenance
from .accept import Prepared, accept
from .address import Address
from .checkup import checkup
from .claim import Claim
from .inspection import SQLiteInspects
from .joins import SQLiteJoins
from .limiting import SQLiteLimits
from .remember import SQLiteRemembers
from .serving import SQLiteServes
from .store import Store
from .ticks import SQLiteTicks
from .wait import Waiter

_FACETS = (Facet.INSPECTS, Facet.LIMITS, Facet.REMEMBERS, Facet.SERVES, Facet.JOINS, Facet.TICKS)


class SQLiteBroker(SQLiteInspects, SQLiteLimits, SQLiteRemembers, SQLiteServes, SQLiteJoins, SQLiteTicks, Broker):
    """A store in one file of this machine."""

    capabilities = Capabilities(name="sqlite", facets=frozenset(_FACETS))

    def __init__(self, address: Address, settings: BrokerSettings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.store = Store(address, clock)
        self._intake = Intake(self.capabilities)
        self.waiter = Waiter(self.store)

    def open(self) -> None:
        self.store.open()

    def close(self) -> None:
        self.waiter.close()
        self.store.close()

    def ping(self) -> int:
        # a look-up and not only the clock: it shows that the file can be read
        return self.store.read(lambda now: now)

    # -- looking after itself

    def concerns(self) -> list[Finding]:
        return []  # what would lose messages here is refused when the file is opened

    def checkup(self) -> list[Finding]:
        return checkup(self.store)

    # -- producing

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        prepared = list(map(Prepared, envelopes, self._intake.enqueued(envelopes)))
        if not prepared:
            return []
        return self.store.write(lambda now: accept(self.store, self.settings, prepared, now), _bytes(prepared))

    # -- consuming

    def admit(self, worker: str, holder: str) -> None:
        self.store.write(lambda now: leases.admit(self.store, worker, holder, now))

    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        carried = {index: self._carried(settle) for index, settle in enumerate(settles) if settle.then}
        adds = sum(map(_bytes, carried.values()))
        return self.store.write(lambda now: self._exchange(holder, seq, settles, carried, queues, limit, now), adds)

    def _exchange(
        self,
        name: str,
        seq: int,
        settles: Sequence[Settle],
        carried: dict[int, list[Prepared]],
        queues: Sequence[str],
        limit: int,
        now: int,
    ) -> Exchanged:
        holder, dropped = exchange.fence(self.store, name, now), list[Removed]()
        if exchange.is_repeat(holder, seq):
            held = exchange.held_deliveries(self.store, holder.id, name, seq)
            next_due = Claim(self.store, holder, seq, 0, now, dropped).run(queues)
            return Exchanged(holder.last_verdicts(), held, next_due, dropped, now)
        verdicts = exchange.settle(self.store, self.settings, holder, settles, carried, now, dropped)
        claim = Claim(self.store, holder, seq, limit, now, dropped)
        next_due = claim.run(queues)
        exchange.note(self.store, holder, seq, verdicts)
        return Exchanged(verdicts, claim.deliveries, next_due, dropped, now)

    def _carried(self, settle: Settle) -> list[Prepared]:
        return list(map(Prepared, settle.then, self._intake.carried(settle)))

    def resume(self, holder: str) -> list[Delivery]:
        def look(_: int) -> list[Delivery]:
            id = leases.holder_id(self.store, holder)
            return [] if id is None else exchange.held_deliveries(self.store, id, holder)

        return self.store.read(look)

    def wait(self, queues: Sequence[str], timeout: float, stop: int | None = None, *, alone: bool = True) -> bool:
        return self.waiter.wait(queues, timeout, stop, alone)

    # -- supervising

    def renew(self, worker: str, ttl: float, about: bytes = b"") -> Renewed:
        return self.store.write(lambda now: leases.renew(self.store, worker, ttl, about, now))

    def give_back(self, holder: str, receipts: Sequence[Receipt]) -> int:
        return self.store.write(lambda now: leases.give_back(self.store, holder, receipts, now))

    def retire(self, holder: str, blamed: Sequence[Blame] | None = None, reason: str = "") -> Retired:
        return self.store.write(lambda now: leases.retire(self.store, holder, blamed, reason, now))

    def leave(self, worker: str) -> Retired:
        return self.store.write(lambda now: leases.leave(self.store, worker, now))

    def maintain(self, *, rescue: bool = False, until: int | None = None) -> Maintained:
        def step(now: int) -> Maintained:
            return maintenance.maintain(self.store, self.settings, rescue and (until is None or now <= until), now)

        return self.store.write(step)

    def stats(self) -> list[QueueStats]:
        return self.store.read(lambda now: maintenance.stats(self.store, now))

    def purge(self, queue: str) -> int:
        return maintenance.purge(self.store, queue)


def _bytes(prepared: Sequence[Prepared]) -> int:
    return sum([len(data) for _, data in prepared])
