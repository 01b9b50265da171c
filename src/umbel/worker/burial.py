"""What becomes of a dead child: its holder is retired, what it held goes back, and it is told what happened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..broker import Broker, Retired
from ..clock import Clock
from ..events import Buried, ChildDied, Event, TaskTimedOut
from .catalog import TaskFacts
from .clerk import Clerk
from .crew import Member, Ran, cause_of, describe_end, is_expected, killed_from_outside
from .memory import KernelKills
from .points import reach
from .suspects import Inquest, hold_inquest

_LAST_WORD = 0.05
"""Seconds to wait for a template to say how its child ended: the pidfd is a little faster."""
_NAMED = 5
"""Tasks that a line names."""
_AGAIN = 0.5
"""Seconds after which what the broker did not answer is asked again."""

log = logging.getLogger("umbel.worker")


class Retirement(NamedTuple):
    """What came of retiring a dead child's holder."""

    inquest: Inquest
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
        ran = done.inquest.ran
        blamed = ran[0].envelope.id if len(ran) == 1 and not is_expected(member) else None
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
        for one in done.inquest.timed_out:
            self._tell(TaskTimedOut(id=one.envelope.id, task=one.task, queue=one.envelope.queue, kind="hard"))
        for removed in (*done.retired.removed, *done.retired.blamed):
            self._tell(Buried(id=removed.id, queue=removed.queue, reason=removed.reason))

    def _say(self, member: Member, done: Retirement) -> None:
        if not is_expected(member):
            log.error(
                "child %d %s%s; %d messages given back", member.pid, describe_end(member), _while(done.inquest.ran), done.retired.returned
            )
        for one in done.inquest.timed_out:
            facts = member.tasks.get(one.task)
            limit = facts.hard if facts else 0.0
            log.error("%s[%s] killed: its hard time limit of %g s is over", one.task, one.envelope.id, limit)
        for removed in done.retired.blamed:
            log.error("%s became a dead letter: %s", removed.id, removed.reason)
        for removed in done.retired.removed:
            log.warning("%s in queue %s was removed: %s", removed.id, removed.queue, removed.reason)


def _while(ran: Sequence[Ran]) -> str:
    """What a child was running, in words: all of it where that is a few."""
    if not ran:
        return ""
    named = ", ".join(f"{one.task}[{one.envelope.id}]" for one in ran[:_NAMED])
    return f" while running {named}" + (f" and {len(ran) - _NAMED} more" if len(ran) > _NAMED else "")


def _retire(broker: Broker, member: Member, tasks: Mapping[str, TaskFacts]) -> Retirement:
    """On the clerk's thread."""
    inquest = hold_inquest(broker, member, tasks)
    reach("supervisor.before_retire")
    return Retirement(inquest, broker.retire(member.holder, inquest.blamed, describe_end(member)))
