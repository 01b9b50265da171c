"""What runs after what, before anything is stored: pure. Numbers rise along every edge, so the reverse order is followers first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .errors import ConfigError, WireError

Expr = int | list["Expr"] | dict[str, Any]
"""Of which nodes' values a value is made: a node's number, a list of such, or ``{"r": [first, count]}``, which is the list of the values
of so many nodes from ``first`` on; ``{"b": first}`` of all from ``first`` on; ``{"d": {name: …}}``, a dict of such."""

BLOCK = 1 << 32
"""Numbers from here on are of members that are read while they are sent: their count is not known before."""
TAKES_MAX = 60_000
"""Bytes that the places of a node's inputs may have: extras end at 65,535."""


class Takes(msgspec.Struct, omit_defaults=True, gc=False):
    """What a worker must know of a node: of which values its arguments are made, and whether its own is taken by others."""

    p: list[Any] = []
    """Positional ones, in front of the call's own."""
    n: dict[str, Any] = {}
    """Named ones."""
    w: bool = False
    """Its value is wanted: one that cannot be kept is a failure."""


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Takes)


def encode_takes(takes: Takes) -> bytes:
    """Its bytes in the message's place; none where there is nothing to say. ``ConfigError`` for what does not fit in."""
    if not takes.p and not takes.n and not takes.w:
        return b""
    data = _encode(msgspec.structs.replace(takes, p=[compact(e) for e in takes.p], n={k: compact(e) for k, e in takes.n.items()}))
    if len(data) > TAKES_MAX:
        raise ConfigError(
            f"a task takes the values of so many others that naming them needs {len(data)} bytes, more than {TAKES_MAX}: put a task "
            "between, or make the group's members single tasks"
        )
    return data


def decode_takes(data: bytes) -> Takes:
    """Read it back. ``WireError`` for bytes that are none."""
    if not data:
        return Takes()
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise WireError(f"what a member of a flow takes cannot be read: {exc}") from exc


def compact(expr: Any) -> Any:
    """The same, with lists of consecutive numbers as ranges."""
    if isinstance(expr, dict) and "d" in expr:
        return {"d": {name: compact(each) for name, each in expr["d"].items()}}
    if not isinstance(expr, list):
        return expr
    if len(expr) > 2 and all(isinstance(each, int) for each in expr) and expr == list(range(expr[0], expr[0] + len(expr))):
        return {"r": [expr[0], len(expr)]}
    return [compact(each) for each in expr]


def ranges(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ranges, first and last; each once."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a part of a flow begins after, and the value that its tasks are given."""

    after: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()
    named: dict[str, Any] = {}


class Exit(msgspec.Struct, frozen=True, gc=False):
    """Which nodes end a part of a flow, and its value."""

    ends: tuple[int, ...]
    value: Any


class Vertex(msgspec.Struct, gc=False):
    """A node that is not stored yet. ``call`` is whoever makes its message; None for a gate."""

    number: int
    call: Any
    after: tuple[int, ...]
    takes: Takes
    followers: list[int]
    on_error: str | None = None
    label: str = ""


class Graph:
    """Vertices by number, and whose values are taken."""

    def __init__(self, first: int = 1) -> None:
        self.vertices: dict[int, Vertex] = {}
        self.taken: set[int] = set()
        self.kept: set[int] = set()
        """Nodes whose values somebody may ask for though nobody takes them."""
        self.next = first
        self.options: dict[str, Any] = {}
        """Of all calls that say nothing themselves."""
        self.beginning: dict[str, Any] = {}
        """Of those that begin the flow."""
        self.errbacks: list[Any] = []
        self.policy: str | None = None
        """The word of the part that is being laid, for what says none of its own."""

    def add(self, call: Any, entry: Entry, *, takes: Takes | None = None, on_error: str | None = None, label: str = "") -> int:
        """One more node after those of ``entry``; answers with its number."""
        number, self.next = self.next, self.next + 1
        takes = takes or Takes()
        self.vertices[number] = Vertex(number, call, entry.after, takes, [], on_error or self.policy, label)
        for parent in entry.after:
            if parent in self.vertices:
                self.vertices[parent].followers.append(number)
        for expr in (*takes.p, *takes.n.values()):
            self.taken.update(numbers_of(expr))
        return number

    def narrowed(self, entry: Entry, members: int) -> Entry:
        """The entry of so many members: behind a gate where each would have edges from several."""
        if len(entry.after) < 2 or members < 2:
            return entry
        return Entry((self.add(None, entry),), entry.values, entry.named)

    def followers_first(self) -> list[Vertex]:
        return [self.vertices[number] for number in sorted(self.vertices, reverse=True)]


def numbers_of(expr: Any) -> Sequence[int]:
    """The numbers in an expression; of an open range none, since nobody knows how many they are."""
    if isinstance(expr, int):
        return (expr,)
    if isinstance(expr, list):
        return [number for each in expr for number in numbers_of(each)]
    if isinstance(expr, dict) and "d" in expr:
        return [number for each in expr["d"].values() for number in numbers_of(each)]
    if isinstance(expr, dict) and "r" in expr:
        first, count = expr["r"]
        return range(first, first + count)
    return ()
