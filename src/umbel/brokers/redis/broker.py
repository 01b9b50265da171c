"""The Redis broker: Redis 6.2 and later, or Valkey. Each verb is one script, so one atomic step of the server.

See ``keys.py`` for what lies where and ``docs/internals/redis.md`` for why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ...broker import (
    WAIT_MAX,
    Blame,
    Broker,
    BrokerSettings,
    Capabilities,
    Exchanged,
    Facet,
    Maintained,
    QueueStats,
    Receipted,
    Renewed,
    Retired,
    Settle,
)
from ...checkup import Finding
from ...clock import Clock
from ...envelope import Delivery, Envelope, Receipt
from ...errors import BrokerError, Fenced, SequenceError, StoreUnusable
from ...intake import Intake, queue_bytes
from . import replies, scripts
from .checkup import Patient, checkup
from .connection import Address, Line
from .durability import dangers, insist
from .inspection import RedisInspects
from .joins import RedisJoins
from .keys import Keys
from .limiting import RedisLimits
from .remember import RedisRemembers
from .runs import Argument, SettleArguments, field, outcome_arguments, runs
from .serving import RedisServes
from .ticks import RedisTicks
from .waiting import Waiter

_OLDEST_SERVER = (6, 2)
_PURGED_AT_ONCE = 1000
"""Messages of a queue with tracked ones, whose records are written one by one."""
_ALWAYS = 1 << 52  # ms; what Lua's numbers hold exactly

_FACETS = (Facet.INSPECTS, Facet.REMEMBERS, Facet.SERVES, Facet.LIMITS, Facet.JOINS, Facet.TICKS)


class RedisBroker(RedisInspects, RedisRemembers, RedisServes, RedisLimits, RedisJoins, RedisTicks, Broker):
    """A store on one Redis primary. Two connections: one for everything, one that waits."""

    capabilities = Capabilities(name="redis", facets=frozenset(_FACETS))

    def __init__(self, url: str, settings: BrokerSettings, clock: Clock) -> None:
        self._keys = Keys(settings.app)
        self._dedupe_ms = int(settings.dedupe_ttl * 1000)
        self._record_ms = int(settings.record_ttl * 1000)
        self._served_ms = int(settings.served_ttl * 1000)
        self._grace_ms = int(settings.flow_grace * 1000)
        self._dead_bytes = settings.dead_letter_bytes
        self._dead_ms = int(settings.dead_letter_ttl * 1000)
        address = self._address = Address(url, settings.app, settings.reply_timeout)
        self._line = Line(address)
        self._clock = clock
        self._intake = Intake(self.capabilities)
        self._heard: dict[str, int] = {}
        """Worker to the number of the last command that it was told, with a reply that came."""
        self._waiter = Waiter(address, self._line, self._keys, clock)
        self._queue_names: dict[tuple[str, ...], list[bytes]] = {}
        self._opened = False

    # -- life

    def open(self) -> None:
        if self._opened:
            return
        version = self._line.version
        if version < _OLDEST_SERVER:
            self._line.drop()
            raise StoreUnusable(f"redis {version[0]}.{version[1]} is too old: umbel needs 6.2 or later")
        if self._address.strict:
            insist(self._line)
        self._opened = True

    def close(self) -> None:
        self._opened = False
        self._line.drop()
        self._waiter.drop()

    def ping(self) -> int:
        seconds, micros = self._open_line().call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _open_line(self) -> Line:
        if not self._opened:
            raise BrokerError("the redis broker is not open: call open() first")
        return self._line

    # -- looking after itself

    def concerns(self) -> list[Finding]:
        return dangers(self._open_line())

    def checkup(self) -> list[Finding]:
        return checkup(Patient(self._address, self._open_line(), self._keys, self._clock))

    # -- producing

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        line, packed = self._open_line(), self._intake.enqueued(envelopes)
        if not envelopes:
            return []
        keys, arguments = self._keys, runs(envelopes, packed)
        answers = [Receipted(e.id) for e in envelopes]
        if arguments[2:4] == ["r", len(envelopes)]:  # one run, and all of it plain
            queue = queue_bytes(envelopes[0].queue)
            line.run(scripts.PUT, 3, keys.ready(queue, envelopes[0].priority), keys.token(queue), keys.queues, queue, *arguments[4:])
            return answers
        refused = line.run(scripts.ENQUEUE, 2, keys.root, keys.queues, self._dedupe_ms, self._record_ms, *arguments)
        for i in range(0, len(refused), 3):
            position, what, owner = refused[i : i + 3]
            answers[position - 1] = replies.receipted(envelopes[position - 1].id, what, owner)
        return answers

    # -- consuming

    def admit(self, worker: str, holder: str) -> None:
        keys = self._keys
        answer = self._open_line().run(
            scripts.ADMIT, 5, keys.root, keys.workers, keys.gone, keys.held(holder), keys.holders(worker), worker, holder
        )
        if answer == b"OK":
            return
        why = {
            b"GONE": f"holder {holder} was retired; a name is used once",
            b"OTHER": f"holder {holder} consumes for another worker",
            b"FENCED": f"worker {worker} is not known; renew its lease first",
            b"LATE": f"the lease of worker {worker} has ended",
        }
        raise Fenced(why[answer], final=answer != b"LATE")

    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        line, keys = self._open_line(), self._keys
        names = self._names(queues)
        arguments = SettleArguments(holder, settles, self._intake)
        plain_at = 8 + len(names)
        answer = line.run(
            scripts.EXCHANGE_THEN if arguments.carries else scripts.EXCHANGE,
            4,
            keys.root,
            keys.workers,
            keys.held(holder),
            keys.taken(holder),
            seq,
            limit,
            self._dedupe_ms,
            self._record_ms,
            plain_at,
            plain_at + len(arguments.plain),
            arguments.order,
            *names,
            *arguments.plain,
            *arguments.others,
        )
        if answer[0] != b"OK":
            _not_exchanged(answer, holder, seq)
        _, said, due, now, dropped, values, *indexes = answer
        return Exchanged(
            verdicts=replies.verdicts(said),
            deliveries=replies.deliveries(holder, seq, values, *indexes),
            next_due=None if due < 0 else due,
            dropped=replies.removed(dropped),
            now=now,
        )

    def resume(self, holder: str) -> list[Delivery]:
        return replies.held(holder, self._open_line().call("HGETALL", self._keys.held(holder)))

    def wait(self, queues: Sequence[str], timeout: float, stop: int | None = None, *, alone: bool = True) -> bool:
        self._open_line()
        return self._waiter.wait(self._names(queues), min(timeout, WAIT_MAX), stop, alone)

    def _names(self, queues: Sequence[str]) -> list[bytes]:
        # a consumer asks for the same queues all its life
        key = tuple(queues)
        names = self._queue_names.get(key)
        if names is None:
            if len(self._queue_names) > 100:
                self._queue_names.clear()
            # the same queue twice would be claimed from twice
            names = self._queue_names[key] = list(dict.fromkeys(map(queue_bytes, queues)))
        return names

    # -- supervising

    def renew(self, worker: str, ttl: float, about: bytes = b"") -> Renewed:
        keys = self._keys
        fixed = (keys.workers, keys.about, keys.lost(worker), keys.commands(worker), keys.ticks)
        now, known, lost, commands, ticks = self._open_line().run(
            scripts.RENEW, len(fixed), *fixed, worker, int(ttl * 1000), about, self._heard.get(worker, 0)
        )
        # said once, and no longer than until it was taken note of: a server that lost its data counts anew, from below
        self._heard[worker] = int(commands[-1]) if commands else 0
        return Renewed(now, sorted(map(replies.text, lost)), bool(known), replies.commands(commands), int(ticks))

    def give_back(self, holder: str, receipts: Sequence[Receipt]) -> int:
        fields = list(dict.fromkeys(field(receipt) for receipt in receipts if receipt.holder == holder))
        line, keys = self._open_line(), self._keys
        if not fields:
            return 0
        return int(line.run(scripts.GIVE_BACK, 3, keys.root, keys.held(holder), keys.taken(holder), *fields))

    def retire(self, holder: str, blamed: Sequence[Blame] | None = None, reason: str = "") -> Retired:
        keys = self._keys
        arguments: list[Argument] = [b"" if blamed is None else b"1"]
        for blame in blamed or ():
            outcome = (b"", b"", b"") if blame.outcome is None else outcome_arguments(blame.outcome)
            # a receipt of somebody else's blames nobody here, and still says that the others were not begun
            arguments += (field(blame.receipt) if blame.receipt.holder == holder else b"-", *outcome)
        returned, dead, removed = self._open_line().run(scripts.RETIRE, 2, keys.root, keys.held(holder), holder, reason, *arguments)
        return Retired(returned, replies.removed(dead), replies.removed(removed))

    def leave(self, worker: str) -> Retired:
        keys = self._keys
        returned, removed = self._open_line().run(scripts.LEAVE, 3, keys.root, keys.workers, keys.about, worker)
        return Retired(returned, [], replies.removed(removed))

    def maintain(self, *, rescue: bool = False, until: int | None = None) -> Maintained:
        keys = self._keys
        fixed = (keys.root, keys.workers, keys.about, keys.queues, keys.ids, keys.died, keys.gone)
        end = (_ALWAYS if until is None else until) if rescue else 0
        promoted, dropped, rescued, buried, pruned, trimmed, more = self._open_line().run(
            scripts.MAINTAIN, len(fixed), *fixed, end, self._dead_bytes, self._dead_ms, self._served_ms, self._grace_ms
        )
        return Maintained(
            promoted=promoted,
            expired=replies.removed(dropped),
            rescued=[(replies.text(rescued[i]), rescued[i + 1]) for i in range(0, len(rescued), 2)],
            buried=replies.removed(buried),
            pruned=pruned,
            trimmed=trimmed,
            more=bool(more),
        )

    def stats(self) -> list[QueueStats]:
        keys = self._keys
        answer: list[Any] = self._open_line().run(scripts.STATS, 5, keys.root, keys.queues, keys.workers, keys.buried, keys.paused)
        now = answer[0]
        found = [
            QueueStats(replies.text(queue), ready, scheduled, leased, dead, None if at < 0 else max(now - at, 0), bool(paused))
            for queue, ready, scheduled, leased, dead, paused, at in answer[1:]
        ]
        return sorted(found, key=lambda one: one.queue)

    def purge(self, queue: str) -> int:
        line, name = self._open_line(), queue_bytes(queue)
        total, left, most = 0, 1, 0
        while left > 0 and total <= most:
            # what comes in meanwhile may be removed too, but is not waited for
            count, left = line.run(scripts.PURGE, 1, self._keys.root, name, _PURGED_AT_ONCE)
            total += count
            most = most or total + left
        return total


def _not_exchanged(answer: list[Any], holder: str, seq: int) -> NoReturn:
    if answer[0] == b"SEQUENCE":
        raise SequenceError(f"holder {holder} asks for exchange {seq}; its last one was {answer[1]}")
    if answer[0] == b"LATE":
        raise Fenced(f"the lease of holder {holder}'s worker has ended", final=False)
    raise Fenced(f"holder {holder} is not admitted")
