"""The children as the supervisor knows them, and what is done about a dead one."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from ..broker import Blame
from ..envelope import Delivery, Envelope, Receipt
from ..errors import SoftTimeLimitExceeded, WireError
from ..failure import encode_failure
from ..message import decode_body
from ..outcome import Dropped, Outcome, Released
from ..policy import HardLimitPolicy, after_hard_limit
from .catalog import TaskFacts
from .memory import shown
from .pidfd import send_signal
from .roster import Roster, Row
from .slots import Running, Wish
from .templates import TemplateProcess


class Killed(Enum):
    """Why the supervisor itself killed a child."""

    NO = auto()
    HARD = auto()
    CANCEL = auto()
    SHUTDOWN = auto()
    STUCK = auto()
    LOST = auto()
    """Its lease was taken: it may not hold anything any more."""
    MEMORY = auto()
    """Its task took more memory than a child may have."""


@dataclass(eq=False)
class Member:
    """One child, from its admission to its burial."""

    slot: int
    holder: str
    template: TemplateProcess
    tasks: Mapping[str, TaskFacts]
    """The user's tasks as its template knows them."""
    born: float
    limit: int = 0
    """Bytes of memory that it may have; 0: no limit."""
    pid: int = 0
    """0 until the template has said it."""
    pidfd: int = -1
    seen: float = 0.0
    """Since when it is watched, and may begin (monotonic)."""
    killed: Killed = Killed.NO
    killed_version: int = 0
    unborn: bool = False
    """Certainly never forked."""
    leaving: bool = False
    """Told to begin nothing more."""
    wish: Wish = Wish.NONE
    """Why it wishes to be replaced, if it does."""
    weight: int = 0
    """Bytes of memory that it had when it was killed for them."""
    out_of_memory: bool | None = None
    """Was it killed by the kernel, for lack of memory? None: not asked yet."""
    owed: list[Receipt] = field(default_factory=list)
    """Receipts whose permits were taken, to be given back."""
    owed_seq: int = 0
    taken: int = 0
    """Permits that were taken, while it is not known yet of which batch."""
    reconnected: float = 0.0
    """The beat after which it was last told to connect anew."""
    overdue: float = 0.0
    """Since when it drains because a run's hard limit is over (monotonic); 0: none is."""
    roster: Roster | None = None
    rows: list[Row] | None = None
    """What it ran beside each other when it died; None for one that runs one task at a time."""
    asked: bool = False
    """The clerk was asked to give back what is owed, or to retire it, and has not answered yet."""
    last: Running | None = None
    """Its last words, once it is dead."""
    until: float = math.inf
    """Until when it may run what it runs (monotonic); then it is interrupted, and a little later killed."""
    ended: float = 0.0
    """When it was found dead (monotonic)."""
    status: int | None = None

    @property
    def at_work(self) -> bool:
        """Does it live, as far as is known?"""
        return bool(self.pid) and self.last is None

    def kill(self, why: Killed, version: int = 0) -> None:
        """SIGKILL, once."""
        if self.killed is Killed.NO and self.pid and self.last is None:
            self.killed, self.killed_version = why, version
            self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self.pid and self.last is None:
            send_signal(self.pid, self.pidfd, number)

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Ran(NamedTuple):
    """What a dead child was running, as the store holds it."""

    envelope: Envelope
    task: str


def found_running(member: Member, held: Iterable[Delivery]) -> Ran | None:
    """What a dead child was running, if it ran something and the store (``Broker.resume``) has it still."""
    receipt = _last_receipt(member)
    for delivery in held:
        if delivery.receipt == receipt:
            return Ran(delivery.envelope, name_of(delivery.envelope))
    return None


def blame_for(member: Member, ran: Ran | None, tasks: Mapping[str, TaskFacts]) -> Blame | None:
    """Which delivery a dead child's death is laid to, and what shall become of it."""
    receipt = _last_receipt(member)
    if receipt is None or member.last is None:
        return None
    if member.killed is Killed.NO or ran is None or over_memory(member):
        return Blame(receipt)
    if over_hard_limit(member):
        return Blame(receipt, hard_limit_outcome(ran, tasks))
    if member.killed is Killed.CANCEL and member.killed_version == member.last.version:
        return Blame(receipt, Dropped("cancelled"))
    return Blame(receipt, Released(0, "shutdown" if member.killed is Killed.SHUTDOWN else "killed"))


def _last_receipt(member: Member) -> Receipt | None:
    last = member.last
    return Receipt(member.holder, last.seq, last.at) if last is not None and last.busy else None


def over_hard_limit(member: Member) -> bool:
    """Was it killed at the hard limit of what it ran last? What it ran before may have ended just before the kill."""
    return member.killed is Killed.HARD and member.last is not None and member.killed_version == member.last.version


def over_memory(member: Member) -> bool:
    """Was it killed for the memory that its last task took? What it ran before may have ended just before the kill."""
    return member.killed is Killed.MEMORY and member.last is not None and member.killed_version == member.last.version


def name_of(envelope: Envelope) -> str:
    try:
        return decode_body(envelope.body).t
    except WireError:
        return "?"


def hard_limit_outcome(ran: Ran, tasks: Mapping[str, TaskFacts]) -> Outcome:
    facts = tasks.get(ran.task)
    limit = facts.hard if facts else 0.0
    error = encode_failure(SoftTimeLimitExceeded(f"{ran.task} was killed at its hard time limit of {limit:g} s"))
    return after_hard_limit(facts.on_hard_limit if facts else HardLimitPolicy(), ran.envelope.attempt, error=error)


def is_expected(member: Member) -> bool:
    """Did it end because it was told to, or wished to, or was it never there?"""
    if over_memory(member):
        return False
    return member.leaving or member.unborn or member.killed is not Killed.NO or _had_its_wish(member)


def _had_its_wish(member: Member) -> bool:
    return member.wish is not Wish.NONE and member.last is not None and not member.last.busy


_KILLED_FOR = {
    Killed.HARD: "time_limit",
    Killed.MEMORY: "memory_limit",
    Killed.CANCEL: "cancelled",
    Killed.SHUTDOWN: "shutdown",
    Killed.STUCK: "stuck",
    Killed.LOST: "lease_lost",
}
_WISHED_FOR = {Wish.TASKS: "max_tasks", Wish.MEMORY: "max_memory"}


def cause_of(member: Member) -> str:
    """Why a child ended: one word of a fixed set, see ``ChildDied``."""
    if member.killed is not Killed.NO:
        return _KILLED_FOR[member.killed]
    if member.out_of_memory:
        return "out_of_memory"
    if _had_its_wish(member):
        return _WISHED_FOR[member.wish]
    return "dismissed" if member.leaving and member.last is not None and not member.last.busy else "crashed"


def killed_from_outside(member: Member) -> bool:
    """Was it SIGKILLed by somebody else, as far as is known?"""
    return member.killed is Killed.NO and not member.unborn and member.status in (None, signal.SIGKILL)


def describe_end(member: Member) -> str:
    """How a child ended, in words."""
    if member.killed is Killed.MEMORY:
        return f"killed for its memory: it had {shown(member.weight)}, its limit is {shown(member.limit)}"
    if member.out_of_memory:
        return "killed by the kernel: the system, or the container, is out of memory"
    if member.status is None:
        return "gone"
    code = os.waitstatus_to_exitcode(member.status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
