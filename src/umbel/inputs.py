"""The values that a flow's nodes ended with, put together as a worker or a caller needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .errors import ResultUnreadable, WireError
from .failure import decode_failure, decode_result
from .graph import numbers_of
from .joins import ERROR, MAX_NODES, OTHERS, unpack_error

Read = Callable[[Sequence[int]], list[bytes | None]]
"""Kept values by number, ``MAX_NODES`` at most: ``Joins.inputs`` of one flow."""

_DEEP = 50
"""Replacements of replacements that are followed: an end for what leads back to itself."""


class MemberFailed(msgspec.Struct, frozen=True, tag_field="umbel", tag="failed"):
    """What a task is given in place of the value of one that failed, where the flow says ``on_error="continue"``."""

    node: int
    """The number of the one that failed."""
    reason: str = ""
    """A word of the dead letters' or of the dropped ones': ``failed``, ``expired``, ``discarded`` …"""
    type: str = ""
    """The exception's type."""
    message: str = ""


class FlowFailure(msgspec.Struct, frozen=True):
    """What a flow's failure handler is called with."""

    flow: str
    """The flow's id."""
    node: int | None
    """The number of the node that failed first; None where none did: its producer was lost, or it could not go on."""
    task_id: str
    reason: str
    type: str = ""
    message: str = ""
    traceback: str = ""


_encode = msgspec.json.Encoder().encode


class Values:
    """Reads the values of one flow, each once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[int, bytes] = {}
        self.failed = False
        """Was a failure among those that were asked for?"""

    def know(self, number: int, value: bytes) -> None:
        """One that is at hand already."""
        self._known[number] = value

    def json(self, expr: Any, deep: int = 0) -> bytes:
        """The value of an expression as JSON. ``WireError`` where one is not kept (any more), ``ResultUnreadable`` where one never was."""
        if deep > _DEEP:
            raise WireError("values of a flow that are made of each other without an end")
        if isinstance(expr, int):
            self._fetch([expr])
            return self._one(expr, deep)
        if isinstance(expr, list):
            self._fetch(numbers_of(expr))
            return b"[" + b",".join(self.json(each, deep) for each in expr) + b"]"
        if "d" in expr:
            self._fetch(numbers_of(expr))
            return b"{" + b",".join(_encode(name) + b":" + self.json(each, deep) for name, each in expr["d"].items()) + b"}"
        if "r" in expr:
            first, count = expr["r"]
            wanted = range(first, first + count)
            self._fetch(wanted)
            return b"[" + b",".join(self._one(number, deep) for number in wanted) + b"]"
        return b"[" + b",".join(self._from(expr["b"], deep)) + b"]"

    def _fetch(self, numbers: Sequence[int]) -> None:
        missing = [number for number in numbers if number not in self._known]
        for at in range(0, len(missing), MAX_NODES):
            page = missing[at : at + MAX_NODES]
            for number, value in zip(page, self._read(page), strict=True):
                if value is None:
                    raise WireError(f"the value of node {number} is not kept: its flow was forgotten, or it has not ended")
                self._known[number] = value

    def _from(self, first: int, deep: int) -> list[bytes]:
        found: list[bytes] = []
        while True:
            wanted = range(first + len(found), first + len(found) + MAX_NODES)
            for number, value in zip(wanted, self._read(wanted), strict=True):
                if value is None:
                    return found
                found.append(self._shown(number, value, deep))

    def _one(self, number: int, deep: int) -> bytes:
        return self._shown(number, self._known[number], deep)

    def _shown(self, number: int, value: bytes, deep: int) -> bytes:
        kind, data = value[:1], value[1:]
        if kind == ERROR:
            self.failed = True
            reason, error = unpack_error(value)
            failure = decode_failure(error)
            return _encode(MemberFailed(number, reason, failure.type, failure.message))
        if kind == OTHERS:
            return self.json(msgspec.json.decode(data), deep + 1)
        if data.startswith(b"!"):
            try:
                decode_result(data)
            except ResultUnreadable as exc:
                raise ResultUnreadable(f"node {number}: {exc}") from None
        return data or b"null"


def revived(value: Any) -> Any:
    """A decoded value with what failed in it as :class:`MemberFailed`, wherever it stands in lists."""
    if isinstance(value, list):
        return [revived(each) for each in value]
    if isinstance(value, dict) and value.get("umbel") == "failed":
        return msgspec.convert(value, MemberFailed)
    if isinstance(value, dict):
        return {name: revived(each) if isinstance(each, dict | list) else each for name, each in value.items()}
    return value
