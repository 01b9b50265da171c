"""What is to be fired when: pure decisions over what the store keeps, the same in every supervisor."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from .envelope import EXPLICIT, TRACKED, Envelope
from .message import HEADER_SCHEDULE, HEADER_TICK, encode_body, new_id
from .schedule import When
from .ticks import Entry, Firing, Planned

LATE = 60_000
"""Ms after which a tick counts as missed for ``missed="skip"``: a worker that restarts, or a broker that does, is back by then."""


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A schedule as its bytes in the store say: when, and which call. Fields are only added, each with a default."""

    when: When
    task: str
    args: str = ""
    """JSON, as in a message's body; empty for none."""
    kwargs: str = ""
    headers: dict[str, Any] = {}
    queue: str
    priority: int = 5
    expires: int = 0
    """Ms from the firing; 0 for never."""
    crash_limit: int = 3
    loss_limit: int = 10
    flags: int = 0
    extras: dict[int, bytes] = {}
    """As of an envelope: what a store does with such calls beyond the plain."""
    release: str = ""
    """Of the code that wrote it."""

    def planned(self, name: str) -> Planned:
        return Planned(name, self.when.rule_text(), msgspec.json.encode(self))

    def envelope(self, name: str, tick: int, now: int) -> Envelope:
        """The message of a tick. ``now``: the store's clock, as far as it is known."""
        headers = {**self.headers, HEADER_SCHEDULE: name, HEADER_TICK: tick}
        return Envelope(
            new_id(now),
            self.queue,
            encode_body(self.task, self.args.encode() or None, self.kwargs.encode() or None, headers),
            self.priority,
            expires=now + self.expires if self.expires else 0,
            enqueued=now,
            crash_limit=self.crash_limit,
            loss_limit=self.loss_limit,
            flags=self.flags & ~EXPLICIT | (0 if self.when.overlap else TRACKED),
            extras=dict(self.extras) or None,
        )


def definition_of(data: bytes) -> Definition | None:
    """Read one back; None for what a newer release of umbel, or somebody else, wrote."""
    try:
        return msgspec.json.decode(data, type=Definition)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Item(NamedTuple):
    """A schedule that will fire, and when. ``due`` is None once no tick is left."""

    entry: Entry
    definition: Definition
    due: int | None
    tick: int


def item_of(entry: Entry, definition: Definition) -> Item:
    """Its next tick, and the moment (ms of the store's clock) at which it is fired."""
    tick = definition.when.next_after(entry.done)
    if tick is None:
        return Item(entry, definition, None, 0)
    return Item(entry, definition, tick + definition.when.delay(entry.name, tick), tick)


def firing_of(item: Item, now: int, *, missed: str = "") -> Firing | None:
    """What to ask of the store at ``now``; None if nothing is due. ``missed`` overrules the definition's."""
    if item.due is None or item.due > now:
        return None
    entry, when = item.entry, item.definition.when
    policy, tick, before = missed or when.missed, item.tick, 0
    if policy != "all":
        tick, before = _newest_due(item, now)
    envelope: Envelope | None = item.definition.envelope(entry.name, tick, now)
    if policy == "skip" and now - tick - when.delay(entry.name, tick) > LATE:
        envelope, before = None, before + 1
    return Firing(entry.name, entry.revision, tick, envelope, before, alone=not when.overlap)


def _newest_due(item: Item, now: int) -> tuple[int, int]:
    """The newest tick that is due by now, its jitter too, and how many there are before it."""
    when, name = item.definition.when, item.entry.name
    found = when.newest(item.entry.done, now)
    assert found is not None  # the item's own tick is due
    tick, before = found
    if tick + when.delay(name, tick) <= now:
        return tick, before
    earlier = when.newest(item.entry.done, tick - 1)  # the newest one is held back by its jitter still
    while earlier is not None and earlier[0] + when.delay(name, earlier[0]) > now:
        earlier = when.newest(item.entry.done, earlier[0] - 1)
    return earlier or (item.tick, 0)
