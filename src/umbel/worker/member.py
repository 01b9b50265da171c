"""What a member of a flow is given by others, and what of it is kept for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..envelope import Envelope, Extra
from ..errors import ResultUnreadable
from ..facets import require
from ..failure import decode_failure, encode_failure, encode_result
from ..graph import Takes, decode_takes
from ..inputs import FlowFailure, Values, revived
from ..joins import Joins, NodeFlag, place_of, unpack_failed
from ..message import Body
from ..outcome import Dead, Done

if TYPE_CHECKING:
    from ..app import Umbel

_encode = msgspec.json.Encoder().encode
_KEEP = int(NodeFlag.KEEP)
_FLAGS_AT = 8


class Given(msgspec.Struct, gc=False):
    """A call's arguments, with the values of those before it."""

    a: bytes | msgspec.Raw
    k: bytes | msgspec.Raw
    takes: Takes
    failed: bool = False
    """Is a failure among them?"""

    def revived(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The decoded arguments, with what failed as ``MemberFailed`` where no annotation has made it one."""
        if not self.failed:
            return args, kwargs
        count = len(self.takes.p)
        named = {name: revived(kwargs[name]) for name in self.takes.n if name in kwargs}
        return (*map(revived, args[:count]), *args[count:]), {**kwargs, **named}


def given(app: Umbel, envelope: Envelope, body: Body) -> Given | None:
    """The arguments of a member, or of a failure handler; None for a message that takes nothing from others.

    Raises what reading raises: ``BrokerError``; ``WireError`` and ``ResultUnreadable`` where a value cannot be had.
    """
    extras = envelope.extras or {}
    if Extra.FAILURE in extras:
        return Given(_in_front([_failure_json(extras[Extra.FAILURE])], body.a), body.k, Takes())
    place = place_of(extras)
    takes = decode_takes(place[3]) if place is not None else None
    if place is None or takes is None or not (takes.p or takes.n):
        return None
    flow = place[0]
    values = Values(lambda numbers: require(app.producer.broker(), Joins).inputs(flow, numbers))
    if Extra.INPUT in extras and len(takes.p) == 1 and isinstance(takes.p[0], int):
        values.know(takes.p[0], extras[Extra.INPUT])
    a = _in_front([values.json(expr) for expr in takes.p], body.a) if takes.p else body.a
    k = _beside({name: values.json(expr) for name, expr in takes.n.items()}, body.k) if takes.n else body.k
    return Given(a, k, takes, values.failed)


def reads(envelope: Envelope) -> bool:
    """Must the store be asked for what this message is given?"""
    extras = envelope.extras
    if not extras or Extra.INPUT in extras:
        return False
    place = place_of(extras)
    return (place is not None and b'"p"' in place[3]) or (place is not None and b'"n"' in place[3])


def keeps(envelope: Envelope) -> bool:
    """Is its value to be kept for its flow?"""
    place = (envelope.extras or {}).get(Extra.NODE, b"")
    return len(place) > _FLAGS_AT and bool(place[_FLAGS_AT] & _KEEP)


def done(envelope: Envelope, value: Any, max_bytes: int) -> Done | Dead:
    """The end of a member: one whose value others need, and cannot have, has failed."""
    data = encode_result(value, max_bytes)
    if data.startswith(b"!"):
        place = place_of(envelope.extras)
        if place is not None and decode_takes(place[3]).w:
            words = f"its value, which others in the flow need, cannot be kept: {data[1:].decode('utf-8', 'replace')}"
            error = encode_failure(ResultUnreadable(words))
            return Dead("failed", error)
    return Done(data)


def _failure_json(data: bytes) -> bytes:
    number, flow, id, reason, error = unpack_failed(data)
    failure = decode_failure(error)
    return _encode(FlowFailure(flow, number, id, reason, failure.type, failure.message, failure.traceback))


def _in_front(values: list[bytes], a: bytes | msgspec.Raw) -> bytes:
    own = bytes(a).strip()[1:-1].strip()
    return b"[" + b",".join([*values, own] if own else values) + b"]"


def _beside(values: dict[str, bytes], k: bytes | msgspec.Raw) -> bytes:
    own = bytes(k).strip()[1:-1].strip()
    pairs = [_encode(name) + b":" + value for name, value in values.items()]
    return b"{" + b",".join([*pairs, own] if own else pairs) + b"}"
