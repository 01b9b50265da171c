"""The children as the supervisor knows them, and what is done about a dead one."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from ..broker import Blame, Broker
from ..envelope import Envelope, Receipt
from ..errors import SoftTimeLimitExceeded, WireError
from ..failure import encode_failure
from ..message import decode_body
from ..outcome import Dropped, Outcome, Released
from ..policy import HardLimitPolicy, after_hard_limit
from .catalog import TaskFacts
from .slots import Running
from .templates import TemplateProcess

log = logging.getLogger("umbel.worker")


class Killed(Enum):
    """Why the supervisor itself killed a child."""

    NO = auto()
    HARD = auto()
    CANCEL = auto()
    SHUTDOWN = auto()
    STUCK = auto()
    LOST = auto()
    """Its lease was taken: it may not hold anything any more."""


@dataclass(eq=False)
class Member:
    """One child, from its admission to its burial."""

    slot: int
    holder: str
    template: TemplateProcess
    born: float
    pid: int = 0
    """0 until the template has said it."""
    pidfd: int = -1
    killed: Killed = Killed.NO
    killed_version: int = 0
    unborn: bool = False
    """Certainly never forked."""
    leaving: bool = False
    """Told to begin nothing more."""
    owed: list[Receipt] = field(default_factory=list)
    """Receipts whose permits were taken, to be given back."""
    owed_seq: int = 0
    last: Running | None = None
    """Its last words, once it is dead."""
    status: int | None = None

    def kill(self, why: Killed, version: int = 0) -> None:
        """SIGKILL, once."""
        if self.killed is Killed.NO and self.pid and self.last is None:
            self.killed, self.killed_version = why, version
            self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self.pid and self.last is None:
            try:
                if self.pidfd >= 0:
                    signal.pidfd_send_signal(self.pidfd, number)
                else:
                    os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def blame_for(member: Member, broker: Broker, tasks: Mapping[str, TaskFacts]) -> Blame | None:
    """Which delivery a dead child's death is laid to, and what shall become of it."""
    last = member.last
    if last is None or not last.busy:
        return None
    receipt = Receipt(member.holder, last.seq, last.at)
    if member.killed is Killed.NO:
        return Blame(receipt)
    if member.killed_version != last.version or member.killed in (Killed.SHUTDOWN, Killed.STUCK, Killed.LOST):
        return Blame(receipt, Released(0, "shutdown" if member.killed is Killed.SHUTDOWN else "killed"))
    if member.killed is Killed.CANCEL:
        return Blame(receipt, Dropped("cancelled"))
    held = [d.envelope for d in broker.resume(member.holder) if d.receipt == receipt]
    return Blame(receipt, _over_hard_limit(held[0], tasks)) if held else None


def _over_hard_limit(envelope: Envelope, tasks: Mapping[str, TaskFacts]) -> Outcome:
    try:
        name = decode_body(envelope.body).t
    except WireError:
        name = "?"
    facts = tasks.get(name)
    limit = facts.hard if facts else 0.0
    error = encode_failure(SoftTimeLimitExceeded(f"{name} was killed at its hard time limit of {limit:g} s"))
    log.error("%s[%s] killed: hard time limit of %g s is over", name, envelope.id, limit)
    return after_hard_limit(facts.on_hard_limit if facts else HardLimitPolicy(), envelope.attempt, error=error)


def describe_end(member: Member) -> str:
    """How a child ended, in words."""
    if member.status is None:
        return "gone"
    code = os.waitstatus_to_exitcode(member.status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
