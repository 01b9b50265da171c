"""What a broker stores: a short route that it reads, and a body that it does not.

The packed form is one byte string: a head of fixed width, the id, tagged extras, the body. Lua and SQL brokers keep it
whole and change only counters at fixed offsets; what a newer release adds (a longer head, a flag, an extra with a tag
that is not known here) is carried along unread.

=======  ====  ===========================================================================
offset   size  what (big-endian)
=======  ====  ===========================================================================
0        1     version of the format, 1
1        1     length of the head, 41 in this release; the id begins there
2        2     flags, see :class:`Flag`
4        1     priority, 0-9
5        1     crash limit (0: none)
6        1     limit of whole-worker losses (0: none)
7        1     crashes so far
8        1     whole-worker losses so far
9        4     attempt, 1 for the first
13       4     delivery: hand-overs so far
17       8     enqueued, ms
25       8     expires, ms (0: never)
33       8     parked since, ms (0: never parked)
41       1+n   length of the id, id (16 raw bytes with ``Flag.RAW_ID``, else UTF-8)
…        2+n   only with ``Flag.EXTRA``: length of all extras, then each: tag (1), length (2), value
…              the body, to the end
=======  ====  ===========================================================================
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

import msgspec

from .errors import WireError

VERSION = 1
_HEAD = Struct(">BBHBBBBBIIQQQ")
HEAD_SIZE = _HEAD.size
_COUNT_MAX = 0xFF
_WIDE_MAX = 0xFFFF_FFFF

DEFAULT_PRIORITY = 5
DEFAULT_CRASH_LIMIT = 3
DEFAULT_LOSS_LIMIT = 10


class Flag(IntFlag):
    """Bits of the route. Unknown ones are kept."""

    TRACKED = 0x0001
    """A record is kept of it."""
    EXPLICIT = 0x0002
    """The caller chose the id: a second message with it is a duplicate for a day."""
    LOST_DEAD = 0x0004
    """``on_worker_lost="dead"``: never run twice; a dead letter if its holder dies."""
    ALONE = 0x0008
    """Rescued once: handed out alone, so that others do not share its fate."""
    CANCELLED = 0x0010
    """Cancelled while leased: dropped instead of being made ready again."""
    SKIPS = 0x0020
    """``on_locked="skip"``: dropped (``locked``) where its lane's limit is held, or waited for, as it would enter the lane anew."""
    RAW_ID = 0x4000
    """Packed form only: the id is 16 raw bytes of a canonical UUID."""
    EXTRA = 0x8000
    """Packed form only: extras follow the id."""


# plain ints: an IntFlag operation costs a microsecond, and these run once a message
TRACKED, EXPLICIT, LOST_DEAD, ALONE, CANCELLED, SKIPS = (int(f) for f in list(Flag)[:6])
HANDED_ALONE = LOST_DEAD | ALONE
_RAW_ID, _EXTRA = int(Flag.RAW_ID), int(Flag.EXTRA)


class Extra(IntEnum):
    """Tags of extras: places that most messages do not need."""

    LANE = 1
    """The finest limit: see ``lane.Mark``, as for the next one."""
    GROUP = 2
    """The limit beside it, of all lanes of a task."""
    FLOW = 3
    NODE = 4
    UNIQUE = 5
    """The key that it owns: a second message with it is a duplicate."""
    UNIQUE_UNTIL = 6
    """``start``: the key is free once it was handed out."""
    DEBOUNCE = 7
    """See ``lane.Debounce``."""
    RECORD_TTL = 8
    """Seconds that the record is kept after the end, decimal text."""
    THROTTLE = 9
    """See ``lane.Throttle``."""
    INPUT = 16
    """The kept value of a flow's member's only parent, put in by the store (``joins.NodeFlag.RIDE``)."""
    FAILURE = 17
    """Of a flow's failure handler: what failed, put in by the store (``joins.pack_failed``)."""


class Envelope(msgspec.Struct, gc=False):
    """One stored message, without what only its queue or schedule knows.

    ``due`` (absolute ms) and ``after`` (ms from the moment of storing, on the store's clock) say when it may run; 0 and 0
    mean now, and the later of both wins. They are not part of the packed form: a store keeps them as its order.
    """

    id: str
    queue: str
    body: bytes
    priority: int = DEFAULT_PRIORITY
    due: int = 0
    after: int = 0
    expires: int = 0
    enqueued: int = 0
    attempt: int = 1
    delivery: int = 0
    crashes: int = 0
    losses: int = 0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    loss_limit: int = DEFAULT_LOSS_LIMIT
    parked: int = 0
    flags: int = 0
    extras: dict[int, bytes] | None = None
    surplus: bytes = b""
    """What a newer release keeps in its longer head: carried along unread."""

    def __repr__(self) -> str:
        """Without the body, whose arguments are not for logs and reports of errors."""
        return f"<Envelope {self.id} in {self.queue}, attempt {self.attempt}, {len(self.body)} bytes>"

    @property
    def tracked(self) -> bool:
        return bool(self.flags & TRACKED)

    @property
    def explicit(self) -> bool:
        return bool(self.flags & EXPLICIT)

    @property
    def handed_alone(self) -> bool:
        """Shall it be the only delivery of its exchange?"""
        return bool(self.flags & HANDED_ALONE)

    def due_at(self, now: int) -> int:
        """When it may run, in ms of the store's clock (``now``); 0 for at once."""
        due = max(self.due, now + self.after if self.after > 0 else 0)
        return due if due > now else 0


class Receipt(NamedTuple):
    """What a settle must show: whose delivery it is, and which one."""

    holder: str
    seq: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a receipt

    def __str__(self) -> str:
        return f"{self.holder}:{self.seq}:{self.index}"


class Delivery(msgspec.Struct, gc=False):
    """An envelope in a holder's hands; ``envelope.delivery`` counts this hand-over already."""

    receipt: Receipt
    envelope: Envelope


def id_bytes(id: str) -> tuple[bytes, bool]:
    """The packed id, and whether it is raw (a canonical lower-case UUID)."""
    if len(id) == 36:
        try:
            raw = bytes.fromhex(id.replace("-", ""))
        except ValueError:
            pass
        else:
            if len(raw) == 16 and id_text(raw) == id:
                return raw, True
    packed = id.encode()
    if not 0 < len(packed) <= 255:
        raise WireError(f"a message id must have 1 to 255 bytes, this has {len(packed)}")
    return packed, False


def id_text(raw: bytes) -> str:
    """The text of a raw UUID."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def pack(envelope: Envelope) -> bytes:
    """The stored form of an envelope (``queue``, ``due`` and ``after`` are the store's to keep). Counters saturate."""
    e = envelope
    packed_id, raw = id_bytes(e.id)
    flags = e.flags & ~(_RAW_ID | _EXTRA) | (_RAW_ID if raw else 0) | (_EXTRA if e.extras else 0)
    head = _HEAD.pack(
        VERSION,
        HEAD_SIZE + len(e.surplus),
        flags,
        e.priority,
        min(e.crash_limit, _COUNT_MAX),
        min(e.loss_limit, _COUNT_MAX),
        min(e.crashes, _COUNT_MAX),
        min(e.losses, _COUNT_MAX),
        min(e.attempt, _WIDE_MAX),
        min(e.delivery, _WIDE_MAX),
        e.enqueued,
        e.expires,
        e.parked,
    )
    return b"".join((head, e.surplus, bytes((len(packed_id),)), packed_id, _pack_extras(e.extras) if e.extras else b"", e.body))


def unpack(data: bytes, queue: str) -> Envelope:
    """Read a stored form back.

    Raises :class:`WireError` for bytes that are not one (never another error, whatever the bytes).
    """
    if len(data) <= HEAD_SIZE or data[0] != VERSION or data[1] < HEAD_SIZE:
        raise WireError(_why_not(data))
    _, start, flags, priority, crash_limit, loss_limit, crashes, losses, attempt, delivery, enqueued, expires, parked = _HEAD.unpack_from(
        data
    )
    try:
        end = start + 1 + data[start]
        packed_id = data[start + 1 : end]
        id = id_text(packed_id) if flags & _RAW_ID else packed_id.decode()
    except (IndexError, UnicodeDecodeError) as exc:
        raise WireError("a message whose id is cut off or not text") from exc
    if end > len(data) or not id or (flags & _RAW_ID and len(packed_id) != 16):
        raise WireError("a message whose id is cut off or empty")
    extras = None
    if flags & _EXTRA:
        extras, end = _unpack_extras(data, end)
    return Envelope(
        id,
        queue,
        data[end:],
        priority,
        0,
        0,
        expires,
        enqueued,
        attempt,
        delivery,
        crashes,
        losses,
        crash_limit,
        loss_limit,
        parked,
        flags & ~(_RAW_ID | _EXTRA),
        extras,
        data[HEAD_SIZE:start],
    )


def _pack_extras(extras: dict[int, bytes]) -> bytes:
    parts = b"".join(bytes((tag,)) + len(value).to_bytes(2, "big") + value for tag, value in sorted(extras.items()))
    return len(parts).to_bytes(2, "big") + parts


def _unpack_extras(data: bytes, start: int) -> tuple[dict[int, bytes], int]:
    at, end = start + 2, start + 2 + int.from_bytes(data[start : start + 2], "big")
    if at > len(data) or end > len(data):
        raise WireError("a message whose extras are cut off")
    extras: dict[int, bytes] = {}
    while at < end:
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 + size > end:
            raise WireError("a message whose extras are cut off")
        extras[data[at]] = data[at + 3 : at + 3 + size]
        at += 3 + size
    return extras, end


def _why_not(data: bytes) -> str:
    if len(data) <= HEAD_SIZE:
        return f"{len(data)} bytes are too few for a message"
    if data[0] != VERSION:
        return f"a message of format {data[0]}; this release reads format {VERSION}"
    return f"a message with a head of {data[1]} bytes, at least {HEAD_SIZE} are needed"
