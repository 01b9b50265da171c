"""What becomes of a dead child: its holder is retired, what it held goes back, and it is told what happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..broker import Blame, Broker, Retired
from ..clock import Clock
from ..events import Buried, ChildDied, Event, TaskTimedOut
from .catalog import TaskFacts
from .clerk import Clerk
from .crew import (
    Member,
    Ran,
    blame_for,
    cause_of,
    describe_end,
    found_running,
    is_expected,
    killed_from_outside,
    over_hard_limit,
)
from .memory import KernelKills
from .points import reach

_LAST_WORD = 0.05
"""Seconds to wait for a template to say how its child ended: the pidfd is a little faster."""
_AGAIN = 0.5
"""Seconds after which what the broker did not answer is asked again."""

log = logging.getLogger("umbel.worker")


class Retirement(NamedTuple):
    """What came of retiring a dead child's holder."""

    ran: Ran | None
    blame: Blame | None
    retired: Retired


class Burials:
    """Asks for each dead child's retirement until the broker has answered."""

    def __init__(self, clerk: Clerk, worker: str, clock: Clock, kernel: KernelKills, tell: Callable[[Event], None]) -> None:
        self._clerk = clerk
        self._kernel = kernel
        self._worker = worker
        self._clock = clock
        self._tell = tell
        self._not_before = 0.0

    def turn(self, member: Member, tasks: Mapping[str, TaskFacts], over: Callable[[Member, Retirement], None]) -> None:
        """Ask for what is to be asked now; ``over`` is called once it is done."""
        now = self._clock.monotonic()
        if member.asked or now < self._not_before or self._may_still_hear(member, now):
            return
        member.asked = True
        if member.out_of_memory is None:
            member.out_of_memory = killed_from_outside(member) and self._kernel.explain_one()
        self._clerk.ask(
            lambda broker: _retire(broker, member, tasks),
            lambda done: self._done(member, done, over),
            lambda error: self._failed(member, error),
        )

    def _may_still_hear(self, member: Member, now: float) -> bool:
        heard = member.status is not None or member.unborn or member.template.gone()
        return not heard and now - member.ended < _LAST_WORD

    def _failed(self, member: Member, error: Exception) -> None:
        member.asked = False
        now = self._clock.monotonic()
        if now >= self._not_before:  # one line for all that failed at once
            log.warning("a dead child's messages are given back later: %s", error)
        self._not_before = now + _AGAIN

    def _done(self, member: Member, done: Retirement, over: Callable[[Member, Retirement], None]) -> None:
        over(member, done)
        self._say(member, done)
        if member.unborn:
            return
        blamed = done.ran.envelope.id if done.ran and not is_expected(member) else None
        self._tell(
            ChildDied(
                worker=self._worker,
                pid=member.pid,
                reason=describe_end(member),
                blamed=blamed,
                returned=done.retired.returned,
                cause=cause_of(member),
            )
        )
        if done.ran is not None and over_hard_limit(member):
            e = done.ran.envelope
            self._tell(TaskTimedOut(id=e.id, task=done.ran.task, queue=e.queue, kind="hard"))
        gone = done.retired.removed if done.retired.blamed is None else [*done.retired.removed, done.retired.blamed]
        for removed in gone:
            self._tell(Buried(id=removed.id, queue=removed.queue, reason=removed.reason))

    def _say(self, member: Member, done: Retirement) -> None:
        if not is_expected(member):
            running = f" while running {done.ran.task}[{done.ran.envelope.id}]" if done.ran else ""
            log.error("child %d %s%s; %d messages given back", member.pid, describe_end(member), running, done.retired.returned)
        elif done.ran is not None and over_hard_limit(member):
            facts = member.tasks.get(done.ran.task)
            limit = facts.hard if facts else 0.0
            log.error("%s[%s] killed: its hard time limit of %g s is over", done.ran.task, done.ran.envelope.id, limit)
        if done.retired.blamed is not None:
            log.error("%s became a dead letter: %s", done.retired.blamed.id, done.retired.blamed.reason)
        for removed in done.retired.removed:
            log.warning("%s in queue %s was removed: %s", removed.id, removed.queue, removed.reason)


def _retire(broker: Broker, member: Member, tasks: Mapping[str, TaskFacts]) -> Retirement:
    """On the clerk's thread. Nobody changes what a dead member says."""
    busy = member.last is not None and member.last.busy
    ran = found_running(member, broker.resume(member.holder)) if busy else None
    blame = blame_for(member, ran, tasks)
    reach("supervisor.before_retire")
    return Retirement(ran, blame, broker.retire(member.holder, blame, describe_end(member)))
