"""The schedules of an app inside a sandbox: they fire when the test has moved the clock past a tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..broker import Broker
from ..clock import Clock
from ..envelope import Envelope
from ..facets import require
from ..ticks import Shot, Ticks
from ..timetable import Item, definition_of, firing_of, item_of
from .run import SandboxError

if TYPE_CHECKING:
    from ..app import Umbel

LIMIT = 10_000
"""Ticks at once, after which it is a mistake rather than a test."""


class Ticking:
    """The one supervisor of a sandbox. Each tick makes its call, as if workers had been there all the time."""

    def __init__(self, app: Umbel, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._since = clock.now()
        self._declared = False
        self._skipped: list[tuple[int, int]] = []

    def skip(self, before: int) -> None:
        """The clock moved since ``before``, but not at the test's wish: ticks in that span fire nothing."""
        if self._clock.now() > before:
            self._skipped.append((before, self._clock.now()))

    def fire(self, broker: Broker) -> list[Envelope]:
        """Fire what is due, in the order of the ticks; the calls that were made. ``SandboxError`` for more than ``LIMIT``."""
        ticks, now = require(broker, Ticks), self._clock.now()
        if not self._declared:
            self._declared = True
            planned = self._app.schedules.declared()
            if planned:
                ticks.declare_schedules(self._app.schedules.stamp(planned), 0, self._since, planned)
        made: list[Envelope] = []
        items = self._items(ticks)
        while due := [item for item in items.values() if item.due is not None and item.due <= now]:
            item = min(due, key=lambda one: (one.due or 0, one.entry.name))
            self._fire_one(ticks, item, now, made)
            items[item.entry.name] = item_of(msgspec.structs.replace(item.entry, done=item.tick), item.definition)
            if len(made) > LIMIT:
                raise SandboxError(f"more than {LIMIT} ticks, the last of {item.entry.name!r}: move the clock less, or pause that schedule")
        return made

    @staticmethod
    def _items(ticks: Ticks) -> dict[str, Item]:
        entries = [entry for entry in ticks.timetable().entries if not entry.paused]
        return {entry.name: item_of(entry, definition) for entry in entries if (definition := definition_of(entry.definition))}

    def _fire_one(self, ticks: Ticks, item: Item, now: int, made: list[Envelope]) -> None:
        firing = firing_of(item, now, missed="all")
        assert firing is not None  # it is due
        if any(before < item.tick <= after for before, after in self._skipped):
            firing.envelope = None
        [fired] = ticks.fire([firing])[1]
        if fired.shot == Shot.FIRED and firing.envelope is not None:
            made.append(firing.envelope)
