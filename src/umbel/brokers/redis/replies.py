"""What comes out of a script, as values of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...broker import Command, Receipted, Removed, Verdict
from ...envelope import Delivery, Envelope, Receipt, id_text, unpack
from ...errors import WireError
from ...facets import Listed, Place, State

_VERDICTS = {ord("w"): Verdict.WON, ord("s"): Verdict.SUPERSEDED, ord("a"): Verdict.ABSENT}

STATES = {
    b"S": State.SCHEDULED,
    b"P": State.PENDING,
    b"B": State.STARTED,
    b"R": State.RETRY,
    b"D": State.SUCCESS,
    b"F": State.FAILURE,
    b"V": State.REVOKED,
    b"X": State.EXPIRED,
}
"""The letters of ``lua/parts/record.lua``."""


def verdicts(letters: bytes) -> list[Verdict]:
    return [_VERDICTS[letter] for letter in letters]


def message_id(stored: bytes) -> str:
    """The id after its letter (r: raw, t: text); empty for an unreadable message."""
    return id_text(stored[1:]) if stored[:1] == b"r" else stored[1:].decode("utf-8", "replace")


def removed(flat: Sequence[bytes]) -> list[Removed]:
    """id, queue, reason, and again."""
    return [Removed(message_id(flat[i]), text(flat[i + 1]), text(flat[i + 2])) for i in range(0, len(flat), 3)]


def receipted(id: str, what: bytes, owner: bytes) -> Receipted:
    """Of one that was not stored: a duplicate of ``owner`` (empty: of itself), or dropped for the reason ``what``."""
    if what != b"duplicate":
        return Receipted(id, dropped=text(what))
    return Receipted(id, message_id(owner) if owner else id)


def commands(flat: Sequence[bytes]) -> list[Command]:
    """Words and number, and again. The words: what to do, and an id as stored."""
    split = (flat[i].split(b" ", 1) for i in range(0, len(flat), 2))
    return [Command(text(do), message_id(id)) for do, id in split]


def text(name: bytes) -> str:
    """A name out of the store; a foreign one may be no text."""
    return name.decode("utf-8", "replace")


def envelope(value: bytes, queues: dict[bytes, str]) -> Envelope:
    """A leased message as it is kept: length of the queue's name, the name, the packed envelope as it stood in its list.

    ``queues`` is filled with the names met: one string for all messages of a queue. The hand-over is counted here.
    """
    end = value[0] + 1
    name = value[1:end]
    queue = queues.get(name)
    if queue is None:
        queue = queues[name] = text(name)
    try:
        found = unpack(value[end:], queue)
    except WireError:
        # The claim looks at the same bytes with the same rules: what cannot be read here was changed by somebody else.
        return Envelope("", queue, value[end:])
    found.delivery += 1
    return found


def shown(message: bytes, queue: str) -> Envelope:
    """A packed envelope; of one that cannot be read its bytes as the body, and an empty id."""
    try:
        return unpack(message, queue)
    except WireError:
        return Envelope("", queue, message)


def letter(value: bytes) -> Listed:
    """A dead letter as it is kept: see ``lua/parts/bury.lua``."""
    end = 9 + value[8]
    queue = text(value[9:end])
    begin, end = end + 1, end + 1 + value[end]
    reason, size = text(value[begin:end]), int.from_bytes(value[end : end + 4], "big")
    error, message = value[end + 4 : end + 4 + size], value[end + 4 + size :]
    return Listed(shown(message, queue), Place.DEAD, died=int.from_bytes(value[:8], "big"), reason=reason, error=error)


def deliveries(holder: str, seq: int, values: Sequence[bytes], indexes: Iterable[int] | None = None) -> list[Delivery]:
    queues: dict[bytes, str] = {}
    return [
        Delivery(Receipt(holder, seq, index), envelope(value, queues))
        for index, value in zip(range(len(values)) if indexes is None else indexes, values, strict=True)
    ]


def held(holder: str, fields: Sequence[bytes]) -> list[Delivery]:
    """A holder's whole hash, as Redis lists it, in the order of its receipts."""
    queues: dict[bytes, str] = {}
    found = []
    for i in range(0, len(fields), 2):
        seq, colon, index = fields[i].partition(b":")
        if colon:
            found.append(Delivery(Receipt(holder, int(seq), int(index)), envelope(fields[i + 1], queues)))
    found.sort(key=lambda one: one.receipt[1:])
    return found
