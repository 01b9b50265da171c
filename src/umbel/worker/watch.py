"""The watch over living children: limits, hostages, and loops that do not turn."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..clock import Clock
from ..envelope import Receipt
from .clerk import Clerk
from .crew import Killed, Member
from .judge import Sentence, holds_hostages, judge
from .places import Places
from .points import reach
from .roster import Row
from .slots import POKE, Pulse, Running

_AGAIN = 0.5
"""Seconds after which what the broker did not answer is asked again."""

log = logging.getLogger("umbel.worker")


class Watch:
    """One round over a child costs two readings of its slot; nothing here waits for anything."""

    def __init__(self, clerk: Clerk, places: Places, clock: Clock, fetch_since: Callable[[], float | None]) -> None:
        """``fetch_since``: since when (monotonic) a child could fetch, that is, the broker answers; None if it does not."""
        self._clerk = clerk
        self._slots = places.slots
        self._permits = places.permits
        self._clock = clock
        self._fetch_since = fetch_since
        self._not_before = 0.0

    def turn(self, member: Member) -> None:
        """Look at one living child, and do what is due."""
        now = self._clock.monotonic()
        if member.owed and not member.asked and now >= self._not_before:
            self._give_back(member)
        running = self._slots.running(member.slot)
        if running is None or not member.pid:
            return
        if member.taken:
            self._owe(member, running)
        self._execute(member, running, now)
        if (holds_hostages(running, now) or (member.leaving and running.busy)) and not member.owed and member.owed_seq != running.seq:
            self._take_back(member)

    def _execute(self, member: Member, running: Running, now: float) -> None:
        pulse = self._pulse(member)
        sentence = judge(running, now, self._slots.soft_done(member.slot), pulse, self._fetch_since())
        if sentence is Sentence.SOFT:
            self._interrupt(member, running)
        elif sentence is Sentence.HARD:
            if self._slots.running(member.slot) == running:
                member.kill(Killed.HARD, running.version)
        else:
            self._revive(member, sentence, pulse)

    def _pulse(self, member: Member) -> Pulse:
        pulse = self._slots.pulse(member.slot)
        # one that hangs before its first beat, say in what a library does after a fork, is stuck as well
        return pulse if pulse.beat else Pulse(member.seen)

    def _revive(self, member: Member, sentence: Sentence, pulse: Pulse) -> None:
        """Where a child's loop does not turn."""
        if sentence is Sentence.RECONNECT:
            if member.reconnected != pulse.beat:
                log.warning("child %d could fetch and does not: it is told to connect anew", member.pid)
            member.reconnected = pulse.beat
            self._slots.want_reconnect(member.slot, pulse.beat)
            member.signal(POKE)
        elif sentence is Sentence.STUCK:
            log.error("child %d could fetch and does not, nor does a new connection help: killed", member.pid)
            member.kill(Killed.STUCK)

    def busy(self, member: Member) -> bool:
        """Does it run anything?"""
        running = self._slots.running(member.slot)
        return running is None or running.busy

    def last_rows(self, member: Member) -> list[Row] | None:
        """What a dead child ran beside each other; None for one that runs one task at a time, whose slot says it."""
        return None

    def say(self, member: Member) -> str:
        """What it runs, in words."""
        running = self._slots.running(member.slot)
        if running is None or not running.busy:
            return "nothing"
        return f"delivery {running.seq}:{running.at} for {self._clock.monotonic() - running.started:.1f} s"

    def interrupt(self, member: Member) -> None:
        """Raise the shutdown's interruption in what it runs, if it runs something."""
        running = self._slots.running(member.slot)
        if running is not None and running.busy:
            self._interrupt(member, running)

    def _interrupt(self, member: Member, running: Running) -> None:
        """Raise the soft limit, or the shutdown's interruption, in this run and no other."""
        self._slots.want_soft(member.slot, running.version)
        member.signal(POKE)

    def end_run(self, member: Member, receipt: Receipt, id: str) -> bool:
        """End its run of message ``id``, which it holds under ``receipt``. False if that is not begun: look again."""
        running = self._slots.running(member.slot)
        if running is None or not running.busy or (running.seq, running.at) != (receipt.seq, receipt.index):
            return False
        log.warning("%s is cancelled: child %d is killed", id, member.pid)
        member.kill(Killed.CANCEL, running.version)
        return True

    # -- hostages

    def _take_back(self, member: Member) -> None:
        """Take the permits that are left; they belong to the batch that the slot shows afterwards, since a child whose
        permits were taken goes no further than that batch."""
        member.taken = self._permits[member.slot].drain()
        running = self._slots.running(member.slot)
        if member.taken and running is not None:  # else in a later round: a child may die, or be stopped, in the middle of a write
            self._owe(member, running)

    def _owe(self, member: Member, running: Running) -> None:
        member.owed = [Receipt(member.holder, running.seq, i) for i in range(running.size - member.taken, running.size)]
        member.taken = 0
        member.owed_seq = running.seq
        reach("supervisor.took_permits")
        self._give_back(member)

    def _give_back(self, member: Member) -> None:
        if member.asked:
            return
        member.asked = True
        owed = member.owed
        self._clerk.ask(
            lambda broker: broker.give_back(member.holder, owed),
            lambda returned: self._given_back(member, returned),
            lambda error: self._not_given_back(member, error),
        )

    def _given_back(self, member: Member, returned: int) -> None:
        log.debug("%d messages that child %d had not begun were given back", returned, member.pid)
        member.asked = False
        member.owed = []
        self._slots.returned(member.slot, member.owed_seq)

    def _not_given_back(self, member: Member, error: Exception) -> None:
        """Whether it was done is not known; it may be repeated, and is."""
        member.asked = False
        now = self._clock.monotonic()
        if now >= self._not_before:
            log.warning("giving back is delayed: %s", error)
        self._not_before = now + _AGAIN
