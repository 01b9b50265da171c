"""Changing what a stored envelope counts, in place.

The bytes are patched at the fixed offsets that ``umbel.envelope`` documents, never unpacked and packed again: what a newer
release wrote beyond what this one reads has to stay.
"""

from __future__ import annotations

from struct import Struct

from ...envelope import CANCELLED, HANDED_ALONE, Envelope, Flag

_FLAGS = Struct(">H")
_WIDE = Struct(">II")
_LONG = Struct(">Q")
_PACKED_ONLY = int(Flag.RAW_ID | Flag.EXTRA)
_BYTE_MAX, _WIDE_MAX = 0xFF, 0xFFFF_FFFF


def stamped(data: bytes, envelope: Envelope) -> bytes:
    """``data`` with the flags and counters of ``envelope``, which was read from it; all else stays as it is."""
    e = envelope
    flags = e.flags & ~_PACKED_ONLY | (data[2] << 8 | data[3]) & _PACKED_ONLY
    return b"".join(
        (
            data[:2],
            _FLAGS.pack(flags),
            data[4:7],
            bytes((min(e.crashes, _BYTE_MAX), min(e.losses, _BYTE_MAX))),
            _WIDE.pack(min(e.attempt, _WIDE_MAX), min(e.delivery, _WIDE_MAX)),
            data[17:33],
            _LONG.pack(e.parked),
            data[41:],
        )
    )


def is_cancelled(data: bytes) -> bool:
    """Was it cancelled while it was leased? (The low byte of the flags is enough.)"""
    return bool(data[3] & CANCELLED)


def is_handed_alone(envelope: Envelope) -> bool:
    """``Envelope.handed_alone`` without the cost of a property, once a message."""
    return bool(envelope.flags & HANDED_ALONE)
