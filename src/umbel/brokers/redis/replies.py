"""What comes out of a script, as values of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...broker import Removed, Verdict
from ...envelope import Delivery, Envelope, Receipt, id_text, unpack
from ...errors import WireError

_VERDICTS = {ord("w"): Verdict.WON, ord("s"): Verdict.SUPERSEDED, ord("a"): Verdict.ABSENT}


def verdicts(letters: bytes) -> list[Verdict]:
    return [_VERDICTS[letter] for letter in letters]


def message_id(stored: bytes) -> str:
    """The id after its letter (r: raw, t: text); empty for an unreadable message."""
    return id_text(stored[1:]) if stored[:1] == b"r" else stored[1:].decode("utf-8", "replace")


def removed(flat: Sequence[bytes]) -> list[Removed]:
    """id, queue, reason, and again."""
    return [Removed(message_id(flat[i]), text(flat[i + 1]), text(flat[i + 2])) for i in range(0, len(flat), 3)]


def text(name: bytes) -> str:
    """A name out of the store; a foreign one may be no text."""
    return name.decode("utf-8", "replace")


def envelope(value: bytes, queues: dict[bytes, str]) -> Envelope:
    """A leased message as it is kept: length of the queue's name, the name, the packed envelope.

    ``queues`` is filled with the names met: one string for all messages of a queue.
    """
    end = value[0] + 1
    name = value[1:end]
    queue = queues.get(name)
    if queue is None:
        queue = queues[name] = text(name)
    try:
        return unpack(value[end:], queue)
    except WireError:
        # The claim looks at the same bytes with the same rules, so this is a change in the store made by somebody else.
        return Envelope("", queue, value[end:])


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
