"""The scales: children over their limit of memory, as the supervisor sees them.

A child weighs itself when a task ends (``lifespan.py``). What it cannot do is weigh itself while a task runs, nor while it waits
and threads of the user's go on: that is done here, the first often, the second rarely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..clock import Clock
from .crew import Killed, Member
from .memory import KernelKills, Surroundings, anonymous, shown
from .points import reach, span
from .slots import Running, Slots, Wish

_BUSY = 0.1
"""Seconds between two looks at a child whose task has been running for longer than that."""
_IDLE = span("weigh", 5.0)
"""Seconds between two looks at one that waits."""

log = logging.getLogger("umbel.worker")


class Scales:
    """For the supervisor's loop. Nothing here waits."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self.kernel = KernelKills(Surroundings())
        self._busy_at = self._idle_at = 0.0

    def turn(self, members: Iterable[Member]) -> None:
        """Weigh who is due, and do what follows."""
        now = self._clock.monotonic()
        idle = now >= self._idle_at
        if now < self._busy_at and not idle:
            return
        self._busy_at = now + _BUSY
        living = [m for m in members if m.pid and m.last is None]
        if idle:
            self._idle_at = now + _IDLE
            if all(m.last is None for m in members):
                self.kernel.forget()
        for member in living:
            running = self._slots.running(member.slot)
            if member.limit and running is not None and (idle or (running.busy and now - running.started > _BUSY)):
                self._weigh(member, running)

    def _weigh(self, member: Member, running: Running) -> None:
        has = anonymous(member.pid) or 0
        if has <= member.limit:
            return
        reach("supervisor.weighed")
        if not running.busy:
            if not member.wish:
                log.info("child %d is replaced: it waits, and has %s of %s", member.pid, shown(has), shown(member.limit))
                member.wish = Wish.MEMORY
        elif self._slots.running(member.slot) == running:
            member.weight = has
            member.kill(Killed.MEMORY, running.version)
