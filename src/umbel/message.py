"""What a call looks like: its id, its names, its body on the wire, and the value that middleware sees.

The body is JSON: ``{"t": task, "a": [..], "k": {..}, "h": {..}}``; ``a``, ``k`` and ``h`` are left out when empty, and
fields that are not known here are ignored. Header keys that begin with ``u-`` are umbel's own.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from .errors import ArgumentError, WireError

NAME_MAX = 200
"""Bytes of a task's, queue's or message's name: it stands in keys, log lines and metric labels."""
RESERVED = "u-"
HEADER_ROOT = "u-root"
"""Id of the first call that led to this one."""
HEADER_PARENT = "u-parent"
"""Id of the task that made this call."""
HEADER_ETA = "u-eta"
"""When it was asked to run, ms."""
HEADER_SCHEDULE = "u-schedule"
"""Name of the schedule that made this call."""
HEADER_TICK = "u-tick"
"""The tick that it was made for, ms."""

_VERSION_BITS = 0x7 << 76
_VARIANT_BITS = 0x2 << 62
_RANDOM_MASK = ~((0xF << 76) | (0x3 << 62)) & ((1 << 80) - 1)


def new_id(now_ms: int) -> str:
    """A fresh UUIDv7 as canonical text. Its random bits come from the system at each call, so a fork repeats nothing."""
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_MASK
    h = f"{(now_ms & 0xFFFF_FFFF_FFFF) << 80 | random | _VERSION_BITS | _VARIANT_BITS:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def new_ids(now_ms: int, count: int) -> list[str]:
    """``count`` fresh ids with one question to the system."""
    pool = os.urandom(10 * count).hex()
    stamp = f"{now_ms & 0xFFFF_FFFF_FFFF:012x}"
    head = f"{stamp[:8]}-{stamp[8:]}-7"
    variant = "89ab"
    return [
        f"{head}{pool[i : i + 3]}-{variant[int(pool[i + 3], 16) & 3]}{pool[i + 4 : i + 7]}-{pool[i + 7 : i + 19]}"
        for i in range(0, 20 * count, 20)
    ]


def check_name(kind: str, name: object) -> str:
    """``name`` itself, if it may be the name of a ``kind`` (``"task"``, ``"queue"`` …).

    Raises :class:`~umbel.errors.ArgumentError` unless it is text of 1 to ``NAME_MAX`` bytes without control characters
    and lone surrogates.
    """
    if not isinstance(name, str):
        raise ArgumentError(f"a {kind} name must be text, this is {type(name).__name__}")
    if not name:
        raise ArgumentError(f"a {kind} name must not be empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ArgumentError(f"a {kind} name must be valid text, {name!a} has a lone surrogate") from None
    if size > NAME_MAX:
        raise ArgumentError(f"a {kind} name has at most {NAME_MAX} bytes, this has {size}: {name[:40]!a}…")
    if not name.isprintable():
        raise ArgumentError(f"a {kind} name must not have control characters: {name!a}")
    return name


class Body(msgspec.Struct, omit_defaults=True, gc=False):
    """The body of a message as it travels. ``a`` and ``k`` stay JSON until the task that knows their types is found."""

    t: str
    a: msgspec.Raw = msgspec.Raw(b"")
    k: msgspec.Raw = msgspec.Raw(b"")
    h: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """Without arguments, which are not for logs and reports of errors."""
        return f"<Body of {self.t}, {len(bytes(self.a)) + len(bytes(self.k))} bytes of arguments>"


_body_decoder = msgspec.json.Decoder(Body)
_body_encoder = msgspec.json.Encoder()


def encode_body(task: str, a: bytes | None, k: bytes | None, headers: dict[str, Any] | None = None) -> bytes:
    """The body's bytes from a call's parts, ``a`` and ``k`` already JSON."""
    parts = [b'{"t":', _body_encoder.encode(task)]
    if a is not None:
        parts += (b',"a":', a)
    if k is not None:
        parts += (b',"k":', k)
    if headers:
        parts += (b',"h":', _body_encoder.encode(headers))
    parts.append(b"}")
    return b"".join(parts)


def decode_body(data: bytes) -> Body:
    """Read a body back. Raises :class:`~umbel.errors.WireError` for bytes that are not one, and no other error."""
    try:
        body = _body_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise WireError(f"not a call: {exc}") from exc
    return body


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One call on its way to the broker, as middleware sees it; :meth:`replace` makes a changed one.

    ``eta`` and ``expires`` are ms since 1970 UTC (0: none), ``after`` a delay in ms on the store's clock.
    """

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    priority: int
    headers: dict[str, Any] = {}
    eta: int = 0
    after: int = 0
    expires: int = 0

    def replace(self, **changes: Any) -> Message:
        """The same message with other values."""
        return msgspec.structs.replace(self, **changes)
