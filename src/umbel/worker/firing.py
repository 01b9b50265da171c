"""Ticks, as the clerk's thread computes and fires them: nothing here knows of the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..broker import Broker
from ..facets import require
from ..intake import Intake
from ..ticks import MAX_FIRINGS, Entry, Fired, Firing, Origin, Planned, Shot, Ticks
from ..timetable import Item, definition_of, firing_of, item_of
from .points import reach

UPHELD = 60.0
"""Seconds after which the schedules of a release give way to an older one's, when no worker of it says any more that they are in force."""

log = logging.getLogger("umbel.worker")


class Agenda(NamedTuple):
    """All that is to be fired, as the store said at ``now`` (ms of its clock)."""

    items: dict[str, Item]
    revision: int
    code: frozenset[str]
    """Names of those that code has in force."""
    runtime: frozenset[str]
    unread: tuple[tuple[str, int, str], ...]
    """(name, revision, why) of those that cannot be fired here."""
    now: int


class Shots(NamedTuple):
    """What became of ticks, and what is next of their schedules."""

    fired: list[tuple[Item, Firing, Fired]]
    next: list[Item]
    changed: bool
    """Is some definition another one by now?"""
    now: int


def look(broker: Broker) -> Agenda | None:
    """What the store keeps; None where it keeps no schedules."""
    if not isinstance(broker, Ticks):
        return None
    table = broker.timetable()
    intake = Intake(broker.capabilities)
    items: dict[str, Item] = {}
    unread: list[tuple[str, int, str]] = []
    for entry in table.entries:
        if entry.paused:
            continue
        found = _item(entry, intake)
        if isinstance(found, Item):
            items[entry.name] = found
        else:
            unread.append((entry.name, entry.revision, found))
    code = frozenset([one.name for one in table.entries if one.origin == Origin.CODE])
    return Agenda(items, table.revision, code, frozenset([one.name for one in table.entries]) - code, tuple(unread), table.now)


def _item(entry: Entry, intake: Intake) -> Item | str:
    """What is next of a schedule, or why it cannot be fired here: one that the store would refuse must not hold up the others."""
    definition = definition_of(entry.definition)
    if definition is None:
        return "a newer release of umbel wrote it"
    try:
        intake.enqueued([definition.envelope(entry.name, entry.done, entry.done)])
        return item_of(entry, definition)
    except Exception as exc:  # of a zone, or of a rule, that is not known on this machine: the others must fire
        return str(exc) or type(exc).__name__


def shoot(broker: Broker, due: Sequence[Item], now: int) -> Shots:
    """Ask the store to fire what is due at ``now``."""
    planned: list[tuple[Item, Firing]] = []
    for item in due:
        planned += _firings(item, now, MAX_FIRINGS - len(planned))
    reach("scheduler.before_fire")
    now, fired = require(broker, Ticks).fire([firing for _, firing in planned])
    reach("scheduler.fired")
    answers = [(item, firing, one) for (item, firing), one in zip(planned, fired, strict=True)]
    done = {item.entry.name: max(item.entry.done, one.done) for item, _, one in answers}
    following = [
        item_of(msgspec.structs.replace(item.entry, done=done.get(item.entry.name, item.entry.done)), item.definition) for item in due
    ]
    return Shots(answers, following, any(one.shot == Shot.CHANGED for one in fired), now)


def _firings(item: Item, now: int, most: int) -> list[tuple[Item, Firing]]:
    """One, or where each missed tick has a call of its own, as many as there is room for."""
    found: list[tuple[Item, Firing]] = []
    while len(found) < most and (firing := firing_of(item, now)) is not None:
        found.append((item, firing))
        item = item_of(msgspec.structs.replace(item.entry, done=firing.tick), item.definition)
    return found


def put_in_force(broker: Broker, stamp: str, planned: Sequence[Planned], soonest: int | None, instead: str = "") -> bool | None:
    """Declare a release's schedules: are they in force? None, and nothing was done, if a tick of those that are stored is due first
    (``soonest``, ms). ``instead``: of a set that this very worker had in force; it gives way, also where it is the newer one."""
    ticks = require(broker, Ticks)
    reach("scheduler.before_declare")
    now = broker.ping()
    if soonest is not None and soonest <= now:
        return None
    if instead:
        ticks.declare_schedules(instead, 0, 0, None)
    return ticks.declare_schedules(stamp, UPHELD, now, planned)


def uphold(broker: Broker, stamp: str) -> bool:
    """Say once more that they are in force: are they?"""
    return require(broker, Ticks).declare_schedules(stamp, UPHELD, 0, None)
