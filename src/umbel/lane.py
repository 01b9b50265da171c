"""What a message says of limits and keys: the values of its extras, and the numbers of a limit.

All of it is text that Lua and SQL read as easily as Python does, since every store must:

================  ============================================================================
extra             value
================  ============================================================================
``LANE, GROUP``   numbers ``NUL`` rule ``NUL`` limit; the rule is left empty where it is called like the limit
``UNIQUE``        the key
``UNIQUE_UNTIL``  ``start``; left out for "until its end"
``DEBOUNCE``      span ms ``,`` most ms ``NUL`` key
``THROTTLE``      span ms ``NUL`` key
================  ============================================================================

Numbers are ``count,period ms,burst,concurrency``; an empty one says nothing, -1 says "no limit" (only an override needs to).
A reader ignores what follows a fourth comma.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from .envelope import Extra
from .errors import WireError

UNLIMITED = -1
"""As a number of an override: no limit, whatever was declared."""
LOCK = "lock"
"""The rule that all locks follow."""
JOIN = "\x1f"
"""Stands between a task's name and a key: it cannot be in a name, so no two tasks' keys are the same."""
_NUMBERS = re.compile(rb"(-1|\d{0,15}),(\d{0,15}),(\d{0,9}),(-1|\d{0,9})(?:,.*)?", re.DOTALL)


class Rule(msgspec.Struct, frozen=True, gc=False):
    """The numbers of a limit. None: nothing is said, so no limit, or none of this kind.

    ``count`` hand-outs in ``period`` ms, ``burst`` of them at once; ``concurrency`` deliveries in hands at a time. 0: nothing is
    handed out. ``UNLIMITED`` in an override lifts what was declared.
    """

    count: int | None = None
    period: int = 1000
    burst: int = 1
    concurrency: int | None = None

    @property
    def interval(self) -> float | None:
        """Ms between two tokens; infinite for a rate of 0, None without a rate."""
        if self.count is None or self.count == UNLIMITED:
            return None
        return self.period / self.count if self.count else float("inf")

    @property
    def most(self) -> int | None:
        """How many may be in hands at a time; None without a limit."""
        return None if self.concurrency == UNLIMITED else self.concurrency

    def under(self, override: Rule | None) -> Rule:
        """These numbers, with what an override says in their place."""
        if override is None:
            return self
        rate = self if override.count is None else override
        concurrency = self.concurrency if override.concurrency is None else override.concurrency
        return Rule(rate.count, rate.period, rate.burst, concurrency)

    def without(self, *, rate: bool, concurrency: bool) -> Rule:
        """These numbers with one kind, or both, unsaid."""
        kept = Rule() if rate else self
        return Rule(kept.count, kept.period, kept.burst, None if concurrency else self.concurrency)

    @property
    def empty(self) -> bool:
        """Is nothing said?"""
        return self.count is None and self.concurrency is None

    def pack(self) -> bytes:
        """As it travels and is stored."""
        rate = b",," if self.count is None else b"%d,%d,%d" % (self.count, self.period, self.burst)
        return rate + (b"," if self.concurrency is None else b",%d" % self.concurrency)

    @classmethod
    def read(cls, data: bytes) -> Rule:
        """From its packed form; ``WireError`` for anything else."""
        found = _NUMBERS.fullmatch(data)
        if found is None:
            raise WireError(f"{data[:60]!r} are not the numbers of a limit")
        count, period, burst, concurrency = (int(part) if part else None for part in found.groups())
        return cls(count, max(1, period or 1000), max(1, burst or 1), concurrency)


class Mark(NamedTuple):
    """What a message says of one limit: its name, the rule that it follows, and the numbers that were declared when it was made,
    which count only where the store knows no rule of this name."""

    limit: str
    rule: str
    numbers: Rule

    def pack(self) -> bytes:
        """The value of ``Extra.LANE`` or ``Extra.GROUP``."""
        rule = "" if self.rule == self.limit else self.rule
        return b"%b\0%b\0%b" % (self.numbers.pack(), rule.encode(), self.limit.encode())

    @classmethod
    def read(cls, data: bytes) -> Mark:
        """From its packed form; ``WireError`` for anything else."""
        parts = data.split(b"\0", 2)
        try:
            numbers, rule, limit = Rule.read(parts[0]), parts[1].decode(), parts[2].decode()
        except (IndexError, UnicodeDecodeError) as exc:
            raise WireError(f"{data[:60]!r} is not the mark of a limit") from exc
        if not limit:
            raise WireError("a limit without a name")
        return cls(limit, rule or limit, numbers)


class Debounce(NamedTuple):
    """One waiting message per key: due ``span`` ms after the last call, at most ``most`` ms after the first."""

    key: str
    span: int
    most: int

    def pack(self) -> bytes:
        """The value of ``Extra.DEBOUNCE``."""
        return b"%d,%d\0%b" % (self.span, self.most, self.key.encode())

    @classmethod
    def read(cls, data: bytes) -> Debounce:
        """From its packed form; ``WireError`` for anything else."""
        (span, most), key = _spans(data, 2)
        return cls(key, span, most)


class Throttle(NamedTuple):
    """At most one accepted per key in ``span`` ms."""

    key: str
    span: int

    def pack(self) -> bytes:
        """The value of ``Extra.THROTTLE``."""
        return b"%d\0%b" % (self.span, self.key.encode())

    @classmethod
    def read(cls, data: bytes) -> Throttle:
        """From its packed form; ``WireError`` for anything else."""
        (span,), key = _spans(data, 1)
        return cls(key, span)


def _spans(data: bytes, count: int) -> tuple[list[int], str]:
    head, nul, key = data.partition(b"\0")
    try:
        spans, text = [int(part) for part in head.split(b",")], key.decode()
    except ValueError as exc:  # text that is not UTF-8 is one too
        raise WireError(f"{data[:60]!r} is not a span and a key") from exc
    if not nul or len(spans) != count or min(spans) < 1:
        raise WireError(f"{data[:60]!r} is not a span and a key")
    return spans, text


class Marks(NamedTuple):
    """The limits of one message: its lane's, and its group's if it has one."""

    lane: Mark
    group: Mark | None = None


def marks_of(extras: Mapping[int, bytes] | None) -> Marks | None:
    """The limits that extras name; None for a message without a lane. ``WireError`` for values that are none."""
    lane = extras.get(Extra.LANE) if extras else None
    if lane is None or extras is None:
        return None
    group = extras.get(Extra.GROUP)
    return Marks(Mark.read(lane), Mark.read(group) if group is not None else None)


_KEYED = (Extra.UNIQUE, Extra.DEBOUNCE, Extra.THROTTLE)


def check_extras(id: str, extras: Mapping[int, bytes]) -> None:
    """Refuse what no store could keep: ``WireError`` for a value that is none, ``ValueError`` for extras that cannot be together."""
    keyed = [tag.name for tag in _KEYED if tag in extras]
    if len(keyed) > 1:
        raise ValueError(f"message {id!r} has {' and '.join(keyed)}; a message has one key at most")
    if Extra.GROUP in extras and Extra.LANE not in extras:
        raise ValueError(f"message {id!r} has a group and no lane")
    if extras.get(Extra.UNIQUE_UNTIL, b"start") != b"start":
        raise WireError(f"message {id!r} is unique until {extras[Extra.UNIQUE_UNTIL]!r}, and there is only 'start'")
    marks_of(extras)
    if (value := extras.get(Extra.UNIQUE)) is not None:
        try:
            value.decode()
        except UnicodeDecodeError as exc:
            raise WireError(f"message {id!r} has a unique key that is not text") from exc
    if (value := extras.get(Extra.DEBOUNCE)) is not None:
        Debounce.read(value)
    if (value := extras.get(Extra.THROTTLE)) is not None:
        Throttle.read(value)


def shown(name: str) -> str:
    """A limit's or a key's name as people read it."""
    return name.replace(JOIN, ":")
