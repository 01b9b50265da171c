"""The watch over children that run many tasks at once. Their soft limits are their own watchdog's."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..clock import Clock
from ..envelope import Receipt
from .clerk import Clerk
from .crew import Killed, Member
from .judge import HOSTAGE_AGE, Sentence, judge
from .places import Places
from .roster import Roster, Row, key_of, receipt_of
from .slots import IDLE, POKE
from .watch import Watch

log = logging.getLogger("umbel.worker")


class PoolWatch(Watch):
    """See ``Watch``."""

    def __init__(
        self, clerk: Clerk, places: Places, clock: Clock, fetch_since: Callable[[], float | None], patience: Callable[[], float]
    ) -> None:
        """``patience``: seconds that other tasks have to end when one must be killed, with the process."""
        super().__init__(clerk, places, clock, fetch_since)
        assert places.rosters is not None
        self._rosters = places.rosters
        self._patience = patience

    def _roster(self, member: Member) -> Roster:
        if member.roster is None:
            member.roster = self._rosters.of(member.slot)
        return member.roster

    def turn(self, member: Member) -> None:
        """See ``Watch.turn``."""
        now = self._clock.monotonic()
        if member.owed and not member.asked and now >= self._not_before:
            self._give_back(member)
        if not member.pid:
            return
        roster = self._roster(member)
        self._mind_limits(member, roster, now)
        self._mind_loop(member, roster, now)
        since = roster.waits_since
        if since and not member.owed and member.owed_seq != roster.generation and (now - since > HOSTAGE_AGE or member.leaving):
            self._take(member, roster)

    def _mind_limits(self, member: Member, roster: Roster, now: float) -> None:
        if member.overdue:
            if now - member.overdue > self._patience():
                member.kill(Killed.HARD)
        elif 0.0 < roster.hard <= now:
            late = [row for row in roster.rows() if row.overdue(now)]
            if late:
                member.overdue = now
                what = "the hard time limit of %d of its %d tasks is over; the others have %g s to end, then it is killed"
                log.error("child %d: " + what, member.pid, len(late), roster.busy, self._patience())

    def _mind_loop(self, member: Member, roster: Roster, now: float) -> None:
        pulse = self._pulse(member)
        sentence = judge(IDLE, now, 0, pulse, self._fetch_since())
        if sentence is Sentence.STUCK and roster.busy:
            sentence = Sentence.RECONNECT  # a task may hold the interpreter; its limits end that, and what others do is not lost
        self._revive(member, sentence, pulse)

    def _take(self, member: Member, roster: Roster) -> None:
        """Take the permits that are left. The list that they belong to is not changed while any is missing."""
        taken = self._permits[member.slot].drain()
        if taken:
            member.owed = [receipt_of(member.holder, key) for key in roster.unbegun(taken)]
            member.owed_seq = roster.generation
            self._give_back(member)

    def _given_back(self, member: Member, returned: int) -> None:
        super()._given_back(member, returned)
        member.signal(POKE)  # it may sleep

    def busy(self, member: Member) -> bool:
        """See ``Watch.busy``."""
        return self._roster(member).busy > 0

    def last_rows(self, member: Member) -> list[Row] | None:
        """See ``Watch.last_rows``."""
        return self._roster(member).rows()

    def say(self, member: Member) -> str:
        """See ``Watch.say``."""
        now = self._clock.monotonic()
        rows = self._roster(member).rows()
        longest = max((now - row.began for row in rows), default=0.0)
        return f"{len(rows)} tasks, the longest for {longest:.1f} s" if rows else "nothing"

    def interrupt(self, member: Member) -> None:
        """See ``Watch.interrupt``: the command in its slot says it, to all."""
        member.signal(POKE)

    def end_run(self, member: Member, receipt: Receipt, id: str) -> bool:
        """See ``Watch.end_run``. The process goes on, with all its other tasks."""
        roster, key = self._roster(member), key_of(receipt)
        # One that is not begun, or a child that has not heard of the last orders yet: look again
        if all(row.receipt(member.holder) != receipt for row in roster.rows()) or not roster.cancel(key):
            return False
        log.warning("%s is cancelled: child %d is told to interrupt it", id, member.pid)
        member.signal(POKE)
        return True
