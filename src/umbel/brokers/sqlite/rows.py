"""One stored message as code here meets it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...broker import Removed
from ...envelope import Delivery, Envelope, Receipt, unpack
from ...errors import WireError

SLOT_BITS = 20
"""A slot is a receipt in one integer: (sequence << 20 | index). So a claim hands out at most a million."""
INDEX_MASK = (1 << SLOT_BITS) - 1
_SEQ_END = 1 << 42


class Row(NamedTuple):
    """A row of the hot table, with its queue's name; ``slot`` is None unless it is leased."""

    pos: int
    queue: int
    name: str
    priority: int
    handed: int
    record: int | None
    data: bytes
    slot: int | None
    flow: int | None = None
    """The number of the flow that it is a member of."""

    def envelope(self) -> Envelope:
        """The envelope with all hand-overs counted. Raises ``WireError`` for bytes that are none."""
        return read(self.data, self.name, self.handed)

    def readable(self) -> Envelope | None:
        """The envelope, or None for bytes that this release cannot read: a newer one may have handed them out."""
        try:
            return self.envelope()
        except WireError:
            return None

    def id(self) -> str:
        """Its id, or nothing if it cannot be read."""
        envelope = self.readable()
        return envelope.id if envelope else ""

    def removed(self, reason: str) -> Removed:
        return Removed(self.id(), self.name, reason)


def read(data: bytes, queue: str, handed: int) -> Envelope:
    """The stored envelope, with the hand-overs counted that ``data`` does not count yet."""
    envelope = unpack(data, queue)
    envelope.delivery += handed
    return envelope


def shown(data: bytes, queue: str, handed: int = 0) -> Envelope:
    """What can be shown of it: the envelope, or its bytes as the body, with an empty id."""
    try:
        return read(data, queue, handed)
    except WireError:
        return Envelope("", queue, data)


def slot_of(receipt: Receipt, holder: str) -> int:
    """The slot that a receipt names; -1, which no delivery has, for another holder's and for an impossible one."""
    if receipt.holder != holder or not (0 <= receipt.index <= INDEX_MASK and 0 < receipt.seq < _SEQ_END):
        return -1
    return receipt.seq << SLOT_BITS | receipt.index


def delivery(holder: str, slot: int, envelope: Envelope) -> Delivery:
    return Delivery(Receipt(holder, slot >> SLOT_BITS, slot & INDEX_MASK), envelope)


def runs(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """``(pos, slot)`` pairs as runs in which both rise by one: (slot of the first less its pos, first pos, last pos)."""
    found: list[tuple[int, int, int]] = []
    offset, first, last = 0, 0, -1
    for pos, slot in pairs:
        if pos == last + 1 and slot - pos == offset:
            last = pos
            continue
        if last >= first:
            found.append((offset, first, last))
        offset, first, last = slot - pos, pos, pos
    if last >= first:
        found.append((offset, first, last))
    return found


def side_by_side(places: list[int]) -> list[tuple[int, int]]:
    """Places as ranges without gaps: (first, last)."""
    places.sort()
    found, first = list[tuple[int, int]](), 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] != places[index - 1] + 1:
            found.append((places[first], places[index - 1]))
            first = index
    return found
