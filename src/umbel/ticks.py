"""The facet of schedules: definitions stored in the broker, and each tick fired once.

Who computes ticks, when, and who wins each race: ``docs/internals/schedules.md``. A store knows neither cron nor time zones; it
compares moments and revisions. Times are ms of the store's clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from .envelope import Envelope

MAX_FIRINGS = 100
"""Firings per call: one step stays short."""
STAMPS_KEPT = 200
"""Stamps of releases that a store remembers; an older one that comes back counts as new."""


class Origin(StrEnum):
    """Who made a schedule."""

    CODE = "code"
    RUNTIME = "runtime"


class Planned(msgspec.Struct, frozen=True):
    """A schedule as it is to be stored. ``rule``: the part of ``definition`` that decides which ticks there are."""

    name: str
    rule: str
    definition: bytes


class Entry(msgspec.Struct, gc=False):
    """A stored schedule."""

    name: str
    rule: str
    definition: bytes
    origin: Origin
    revision: int
    paused: bool
    done: int
    """Ticks up to this moment are dealt with."""
    fired: int = 0
    """Messages enqueued by ticks."""
    overlapped: int = 0
    """Ticks skipped since the last one's message still waited or ran."""
    missed: int = 0
    """Ticks that nobody fired at their time, and that had no message of their own."""
    last_tick: int = 0
    last_fired: int = 0
    """When, by the store's clock; 0 if never."""
    last_id: str = ""


class Timetable(msgspec.Struct, gc=False):
    """All schedules, by name, as they stood at ``now``."""

    entries: list[Entry]
    revision: int
    """Rises with every change of any definition: see ``Renewed.ticks``."""
    stamp: str
    """Of the set of code that is in force; empty for none."""
    now: int


class Firing(msgspec.Struct, gc=False):
    """A tick to be fired. Without an envelope ``done`` moves, and nothing is enqueued."""

    name: str
    revision: int
    """Of the definition that it was computed from."""
    tick: int
    envelope: Envelope | None
    missed: int = 0
    """Ticks before this one that it stands for, or that are given up with it."""
    alone: bool = False
    """Not while the last one's message waits or runs. Such messages must be tracked."""


class Shot(StrEnum):
    """What became of a firing."""

    FIRED = "fired"
    """``done`` is the tick now, and the envelope, if there was one, is stored."""
    OVERLAPS = "overlaps"
    """``done`` is the tick now; nothing was stored, since the last one's message is not over."""
    TAKEN = "taken"
    """The tick is not later than ``done``."""
    FUTURE = "future"
    """The tick is later than the store's clock."""
    CHANGED = "changed"
    """There is no such schedule, it has another revision, or it is paused."""


class Fired(msgspec.Struct, gc=False):
    """The answer to one firing; ``done`` as it stands now (0 where there is no such schedule)."""

    shot: Shot
    done: int


class Ticks(ABC):
    """Facet: schedules."""

    @abstractmethod
    def timetable(self) -> Timetable:
        """All schedules."""

    @abstractmethod
    def declare_schedules(self, stamp: str, ttl: float, since: int, planned: Sequence[Planned] | None) -> bool:
        """Put the schedules of a release's code in force, whole, in one step, unless a newer release's are; True if they are.

        ``stamp`` names the set. A stamp that was not seen before is newer than all that were; one that was has kept its place.
        The set that is in force gives way to a newer one, or to any once nobody has declared it for the ``ttl`` (s) it last said.
        Its definitions are written, those of code that it lacks are removed, and what was made at run time stays as it is, also
        under a name of the set. Written: a new one begins at ``since`` (never later than now); one whose ``rule`` changed has
        ``done`` raised to that; one that changed otherwise keeps it; one that is the same is not touched. A pause stays.

        ``planned`` None: only say once more that the set is in force; False if it is not. Repeating is harmless.
        """

    @abstractmethod
    def fire(self, firings: Sequence[Firing]) -> tuple[int, list[Fired]]:
        """Fire ticks in one step, at most ``MAX_FIRINGS`` (more is a ``ValueError``): the store's clock, and what became of each.

        Each is looked at in this order: ``CHANGED``, ``TAKEN``, ``FUTURE``, ``OVERLAPS``, ``FIRED``. Envelopes are stored as by
        ``enqueue``. No room: ``StoreFull``, and nothing is done. Repeating fires nothing twice.
        """

    @abstractmethod
    def add_schedule(self, planned: Planned, *, replace: bool = False) -> bool:
        """Store a schedule made at run time; it begins now. False, and nothing is done, if the name is taken: by one of code, or
        by another without ``replace``. Replacing is as in ``declare``, with now for ``since``."""

    @abstractmethod
    def remove_schedule(self, name: str) -> bool:
        """Delete a schedule. What it has enqueued stays. False if there is none."""

    @abstractmethod
    def pause_schedule(self, name: str, paused: bool) -> bool:
        """Begin or end a pause; at its end ``done`` is raised to now. False if there is no such schedule. Repeating is harmless."""


def check_firings(firings: Sequence[Firing]) -> None:
    """What every store asks of them."""
    if len(firings) > MAX_FIRINGS:
        raise ValueError(f"{len(firings)} firings in one call, at most {MAX_FIRINGS} are allowed: ask in several")
