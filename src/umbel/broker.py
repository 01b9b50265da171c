"""The broker contract: bytes, and the verbs of a message's life.

A broker stores envelopes, hands them out under leases, and settles them, each verb as **one atomic step** of its store.
It knows no task, function, vendor type or connection; it never emits events or logs about messages, but answers what it
did, and its two callers (the producer and the worker) tell. Everything is batched and synchronous. A broker object
belongs to the thread that opened it and to the process that opened it.

Every verb may raise :class:`~umbel.errors.BrokerUnreachable` (nothing was done) and
:class:`~umbel.errors.ReplyLost` (it may have been done; every verb here may be repeated safely, see each).
Times are ms of the store's clock, spans ms, both ``int``, except where *seconds* is said.

The shipped suite ``umbel.testing.contract`` says the same as code: a behaviour that is not asserted there does not exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from .envelope import Delivery, Envelope, Receipt
from .outcome import Outcome

MAX_ENQUEUE = 1_000
"""Envelopes per ``enqueue`` call: one step stays short enough that others are not kept waiting."""
MAX_PROMOTE = 1_000
"""Due messages made ready (and dead ones dropped) per step, for the same reason."""
MAX_THEN = 5_000
"""Envelopes that one settle may carry along."""
WAIT_MAX = 5.0
"""Seconds after which ``wait`` ends in any case, so that a lost wake-up costs no more."""


class Facet(StrEnum):
    """What a broker may be able to do beyond the core."""

    INSPECTS = "inspects"
    REMEMBERS = "remembers"
    SERVES = "serves"
    LIMITS = "limits"
    JOINS = "joins"
    TICKS = "ticks"
    TALKS = "talks"
    TRANSACTS = "transacts"


class Capabilities(msgspec.Struct, frozen=True):
    """What a broker declares of itself."""

    name: str
    facets: frozenset[Facet] = frozenset()
    shared: bool = True
    """May several processes use the same store?"""


class BrokerSettings(msgspec.Struct, frozen=True):
    """What a store must know of the app. Spans in seconds."""

    app: str = "umbel"
    record_ttl: float = 86_400
    dedupe_ttl: float = 86_400
    """How long an explicit id is remembered: a day, since a caller who lost a reply asks again within minutes."""
    dead_letter_bytes: int = 256 * 1024 * 1024
    dead_letter_ttl: float = 30 * 86_400
    served_ttl: float = 86_400
    """How long a queue in which nothing stands is kept in view after it was last served: a day, since a call may be stored late."""
    reply_timeout: float | None = None
    """The longest that a call may go unanswered before it counts as lost; None for as long as the broker's address says. For
    a broker on a network, and calls that must be repeated in time: a heartbeat on a connection that died unseen."""


class Verdict(StrEnum):
    """What became of one settle."""

    WON = "won"
    SUPERSEDED = "superseded"
    """The delivery was taken away (given back, rescued, cancelled): nothing was changed."""
    ABSENT = "absent"
    """The store has no trace of the delivery: it has lost it."""


class Receipted(msgspec.Struct, frozen=True, gc=False):
    """The answer to one enqueued envelope: accepted, or a duplicate of ``duplicate_of``; ``dropped`` is the reason (``locked``) for
    which an accepted one ended in the same step."""

    id: str
    duplicate_of: str | None = None
    dropped: str = ""


class Settle(msgspec.Struct, frozen=True, gc=False):
    """One finished delivery. ``then`` is enqueued in the same step if, and only if, the verdict is ``won``."""

    receipt: Receipt
    outcome: Outcome
    then: tuple[Envelope, ...] = ()


class Removed(msgspec.Struct, frozen=True, gc=False):
    """A message that the store itself took out: ``expired``, ``cancelled``, ``poison``, ``worker_lost``, ``unreadable`` …"""

    id: str
    queue: str
    reason: str


class Exchanged(msgspec.Struct, gc=False):
    """The answer of an exchange."""

    verdicts: list[Verdict]
    deliveries: list[Delivery]
    next_due: int | None
    """Ms from now until the next scheduled message of the asked queues is due, or until the next of their lanes that waits for its rate
    has a token, whichever is sooner (0: already due; None: there is neither)."""
    dropped: list[Removed]
    now: int


class Command(msgspec.Struct, frozen=True):
    """What a worker is told with its heartbeat."""

    do: str
    """``cancel``: end the run of message ``id`` if it is still that message."""
    id: str = ""


class Renewed(msgspec.Struct, gc=False):
    """The answer to a heartbeat."""

    now: int
    lost: list[str]
    """Holders admitted by this worker that are admitted no longer (all of them after a rescue)."""
    known: bool
    """False if the worker was not known (first heartbeat, or forgotten after a rescue); it is known now."""
    commands: list[Command]


class Blame(NamedTuple):
    """A delivery that a dead holder was running."""

    receipt: Receipt
    outcome: Outcome | None = None
    """None: count a crash against it. Else apply this outcome (say, of a hard limit), and count none."""


class Retired(msgspec.Struct, gc=False):
    """What a dead holder's deliveries came to."""

    returned: int
    blamed: list[Removed] = []
    """The blamed ones that became dead letters; ``reason`` says why."""
    removed: list[Removed] = []


class Maintained(msgspec.Struct, gc=False):
    """What one round of maintenance did."""

    promoted: int = 0
    expired: list[Removed] = []
    """Messages that were dropped: expired, cancelled, or locked as they would have come to their lane."""
    rescued: list[tuple[str, int]] = []
    """(worker, messages given back) for each worker found dead."""
    buried: list[Removed] = []
    """Messages that became dead letters by a rescue."""
    pruned: int = 0
    """Records, remembered ids and dead letters whose time was over."""
    trimmed: int = 0
    """Dead letters removed for lack of room, oldest first: an operator must hear of them."""
    more: bool = False
    """A bound was reached: call again soon."""


class QueueStats(msgspec.Struct, gc=False):
    """How one queue stands."""

    queue: str
    ready: int = 0
    scheduled: int = 0
    leased: int = 0
    dead: int = 0
    oldest: int | None = None
    """Age in ms of the ready message that was enqueued first; None if none is ready."""
    paused: bool = False


class Broker(ABC):
    """The core that every broker has."""

    capabilities: Capabilities

    @abstractmethod
    def open(self) -> None:
        """Connect, and create or migrate what is needed. Twice is once. Raises ``StoreUnusable`` when it must not be used."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection and file. Twice is once; a closed broker can be opened again."""

    @abstractmethod
    def ping(self) -> int:
        """Ask the store for its clock (ms): proof that it answers."""

    # -- producing

    @abstractmethod
    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        """Store envelopes, all or none (at most ``MAX_ENQUEUE``; more is a ``ValueError``), in order, in one step.

        Each is ready at once, or scheduled if ``due_at(now)`` says so. With ``Flag.EXPLICIT``, an id that was accepted
        within ``dedupe_ttl`` makes it a duplicate: nothing is stored and the answer names it (also within one call).
        With ``Flag.TRACKED`` a record is begun in the same step. For keys and lanes see :class:`~umbel.facets.Limits`. Envelopes
        that need a facet this broker lacks (lanes, flows, records) raise ``NotSupported`` before anything is stored.
        No room: ``StoreFull``.
        """

    # -- consuming

    @abstractmethod
    def admit(self, worker: str, holder: str) -> None:
        """Allow ``holder`` to consume for ``worker``, whose lease must be live (else ``Fenced``). Repeating is harmless,
        unless the holder was retired: a name is used once (``Fenced``)."""

    @abstractmethod
    def exchange(self, holder: str, seq: int, settles: Sequence[Settle], queues: Sequence[str], limit: int) -> Exchanged:
        """Settle what is finished and claim up to ``limit`` messages more: the hot path, one atomic step.

        *Fence*: raises ``Fenced`` for a holder that is not admitted or whose worker's lease has ended; nothing is done.

        *Sequence*: ``seq`` is 1 for a holder's first exchange and rises by one. Repeating the last one does nothing and
        answers with the same verdicts and with those of its deliveries that the holder still holds; anything else is a
        ``SequenceError``.

        *Settling*, per settle, in order: a receipt that the holder no longer holds is ``superseded`` (``absent`` if the
        store has no trace of it) and changes nothing; else the outcome is applied and ``then`` enqueued:
        ``Done`` and ``Dropped`` remove the message; ``Dead`` makes it a dead letter; ``Retry`` makes it due after
        ``after`` ms with ``attempt`` + 1; ``Released(0)`` puts it in front of its queue and priority, ``Released(n)``
        makes it due after n ms, and neither counts anything; ``parked`` notes the time once, until it has run: a ``Retry``,
        or ``Released(n)`` without ``parked``, clears it. A message that was
        cancelled while it was leased is dropped (``cancelled``) instead of becoming ready or due again. Records follow.

        *Claiming*: first what is due becomes ready (at most ``MAX_PROMOTE``, fewer of large ones; behind what waits
        already). Then the queues
        are emptied in the order given; in each, the highest priority first; in a priority, oldest first. Paused queues
        give nothing. Expired and cancelled messages are dropped and named in the answer. A message that is to be handed
        out alone (``Envelope.handed_alone``) is given only to a holder that holds nothing else after this step's
        settles, and then ends the claim; if it cannot be given, the claim of its queue ends before it. Unreadable
        messages become dead letters (``unreadable``). ``delivery`` rises by one for each message handed out.
        Where messages stand in lanes, see :class:`~umbel.facets.Limits`.
        """

    @abstractmethod
    def resume(self, holder: str) -> list[Delivery]:
        """All that the holder holds, in the order of its receipts. For the supervisor too; not fenced."""

    @abstractmethod
    def wait(self, queues: Sequence[str], timeout: float, stop: int | None = None, *, alone: bool = True) -> bool:
        """Block until something may be claimable in ``queues``: True, or False after ``timeout`` (s; ``WAIT_MAX`` at most).

        True may be wrong (someone else was faster); False may not, except that a message due later than it was asked
        to wait is not its business: pass ``next_due`` as the timeout. Ends early when the file descriptor ``stop``
        becomes readable (nothing is read from it).

        Who holds deliveries says ``alone=False``: a message that is to be handed out alone he would not get, so a queue in
        which one is next has nothing for him until somebody else has taken it.
        """

    # -- supervising

    @abstractmethod
    def renew(self, worker: str, ttl: float, about: bytes = b"") -> Renewed:
        """The heartbeat: the leases of all holders of ``worker`` now end ``ttl`` seconds from now.

        A worker that is not known is made known, with no holders. ``about`` describes it to ``workers()``.
        """

    @abstractmethod
    def give_back(self, holder: str, receipts: Sequence[Receipt]) -> int:
        """Put deliveries that were never begun back in front of their queues, in their old order; nothing is counted
        against them (``delivery`` stays risen). Those not held any more are passed over. Returns how many went back."""

    @abstractmethod
    def retire(self, holder: str, blamed: Sequence[Blame] | None = None, reason: str = "") -> Retired:
        """The holder is dead: withdraw its admission for good and deal with all it held, in one step.

        Each blamed delivery has its outcome applied; without one, ``crashes`` rises, and it is a dead letter when its flag
        says ``LOST_DEAD`` (reason ``worker_lost``) or when ``crash_limit`` is reached (reason ``poison``), else it is ready
        again in front, to be handed out alone. Where several are blamed without an outcome, one of them did it and nobody
        knows which: each is charged and handed out alone, and ``crash_limit`` makes none of them a dead letter yet. All
        others go back in front, uncharged, unless ``blamed`` is None and they say ``LOST_DEAD``: nobody can tell then
        whether such a one was begun, so it is a dead letter (``worker_lost``, named in ``removed``). Cancelled ones are
        dropped (``cancelled``, likewise). Repeating it does nothing.
        """

    @abstractmethod
    def leave(self, worker: str) -> Retired:
        """The worker ends in good order: all that its holders still hold goes back in front uncharged, its holders and the
        worker itself are forgotten. Repeating it does nothing."""

    @abstractmethod
    def maintain(self, *, rescue: bool = False, until: int | None = None) -> Maintained:
        """One bounded round: promote what is due, drop what expired, prune what is over, and, with ``rescue``, give back
        what workers whose lease has ended held, in front, and forget them.

        A rescued message has ``losses`` + 1 and is handed out alone from then on; at ``loss_limit`` it is a dead letter
        (``worker_lost``), and one with ``LOST_DEAD`` is so at once. Safe to run anywhere, any number of times; ``rescue``
        only by a supervisor that has renewed on time for a whole lease. What such a one knows holds ``until`` then, by the
        store's clock (ms): an order that comes later, held up by an outage that kept everybody from renewing, rescues nobody.
        """

    @abstractmethod
    def stats(self) -> list[QueueStats]:
        """Every queue that exists, by name."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Remove all ready and scheduled messages of a queue; returns how many. Records say REVOKED."""

    # -- halves of the exchange

    def settle(self, holder: str, seq: int, settles: Sequence[Settle]) -> Exchanged:
        """An exchange that claims nothing."""
        return self.exchange(holder, seq, settles, (), 0)

    def claim(self, holder: str, seq: int, queues: Sequence[str], limit: int) -> Exchanged:
        """An exchange that settles nothing."""
        return self.exchange(holder, seq, (), queues, limit)
