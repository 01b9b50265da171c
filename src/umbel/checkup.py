"""What a store finds when it looks at itself. Beside the broker contract and not in it: a broker that has nothing to look at
leaves it out, and nothing that runs tasks depends on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec


class Grade(StrEnum):
    """How good or bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should know."""
    FAIL = "fail"
    """Messages can be lost, or tasks do not run."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or two."""
    grade: Grade
    found: str
    """What is the case."""
    means: str = ""
    """What follows from it."""
    remedy: str = ""
    """What to do; empty where nothing is to be done."""


@runtime_checkable
class Examined(Protocol):
    """A broker that can look at its store. It must be open. Both raise ``BrokerUnreachable`` and ``ReplyLost``."""

    def concerns(self) -> list[Finding]:
        """What in the store's settings may lose messages: a round trip or two, for the start of a worker."""
        ...

    def checkup(self) -> list[Finding]:
        """Everything that can be looked at without changing anything. May take seconds."""
        ...


def bytes_text(size: int) -> str:
    """``12.3 MiB``, ``4.0 GiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
