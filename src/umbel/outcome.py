"""What became of one run: five values, and nothing else.

A settle carries one of them. Spans are milliseconds *from the moment of the settle on the store's clock*, so a worker
whose own clock is wrong moves nothing. ``error`` and ``result`` are bytes that brokers store and never read.
"""

from __future__ import annotations

import msgspec


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The task succeeded. ``result`` is None where no record is kept."""

    result: bytes | None = None


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """The attempt failed and another follows ``after`` ms from now: ``attempt`` rises by one."""

    after: int
    error: bytes = b""


class Dead(msgspec.Struct, frozen=True, tag="dead"):
    """The last failure: the message becomes a dead letter. ``reason`` is one word (``failed``, ``poison``, ``time_limit`` …)."""

    reason: str
    error: bytes = b""


class Dropped(msgspec.Struct, frozen=True, tag="dropped"):
    """Gone without a run or by the task's own wish: ``expired``, ``cancelled``, ``discarded``, ``skipped``."""

    reason: str
    error: bytes = b""


class Released(msgspec.Struct, frozen=True, tag="released"):
    """Given back without using an attempt: in front of its queue when ``after`` is 0, else due ``after`` ms from now.

    ``parked`` marks a message that this release of the code cannot run; the store remembers when that was first said
    (``Envelope.parked``), so that a grace can end.
    """

    after: int = 0
    reason: str = ""
    parked: bool = False


Outcome = Done | Retry | Dead | Dropped | Released
