"""Succession: a child that wishes to be replaced, and the one that is born to take its place.

The heir is admitted and forked while its predecessor still works, but begins nothing before that one has ended: so there is neither a
gap, nor ever one task more at once than was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from .crew import Member
from .slots import Slots, Wish

log = logging.getLogger("umbel.worker")
_WHY = {Wish.TASKS: "max_tasks_per_child", Wish.MEMORY: "max_memory_per_child"}


class Succession:
    """Who follows whom. A member counts as present until it wishes to go; its heir counts instead."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._heirs: dict[Member, Member] = {}
        """Predecessor to heir."""

    def hear(self, member: Member) -> None:
        """Read a living member's wish."""
        if member.wish is Wish.NONE and not member.leaving and (wish := self._slots.wish(member.slot)):
            member.wish = wish
            log.info("child %d is replaced: %s", member.pid, _WHY[wish])

    def born(self, heir: Member, members: Iterable[Member]) -> None:
        """A new member was engaged: it follows the first that waits for one. (Who was told to leave, at a reload, is not waited for.)"""
        for member in members:
            if member.wish and not member.leaving and member.last is None and member not in self._heirs:
                self._heirs[member] = heir
                return

    def must_wait(self, heir: Member) -> bool:
        """Does the one that it follows still live?"""
        return heir in self._heirs.values()

    def may_go(self, member: Member) -> bool:
        """Shall a member that wishes to go be told to? Not before its heir is there. Of what it claimed as its last tasks it may run
        all that it is at; with too much memory it begins nothing more."""
        heir = self._heirs.get(member)
        if heir is None or not heir.pid or heir.last is not None or member.leaving:
            return False
        running = self._slots.running(member.slot)
        return member.wish is Wish.MEMORY or (running is not None and not running.busy)

    def ended(self, member: Member) -> Member | None:
        """A member has ended: who followed it may begin."""
        return self._heirs.pop(member, None)

    def free(self, heir: Member) -> None:
        """It waits for nobody any more, or is no more."""
        for predecessor in [one for one, its in self._heirs.items() if its is heir]:
            del self._heirs[predecessor]


def stays_no_longer(member: Member) -> bool:
    """Does it not count among those that are here to stay?"""
    return member.leaving or member.wish is not Wish.NONE
