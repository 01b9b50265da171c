"""The run that is going on: what ``self.request`` is, and which one is current."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import to_datetime
from .envelope import Envelope
from .joins import place_of
from .message import HEADER_ETA, HEADER_PARENT, HEADER_ROOT, HEADER_SCHEDULE, HEADER_TICK, RESERVED, Body

if TYPE_CHECKING:
    from datetime import datetime

Report = Callable[[bytes], bool]


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a run has come."""

    done: float = 0
    total: float | None = None
    note: str = ""

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None without a total."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else None


def encode_progress(progress: Progress) -> bytes:
    """Its bytes in a record."""
    return msgspec.json.encode(progress)


def decode_progress(data: bytes) -> Progress | None:
    """Read it back; None for none, and for what another release may have written."""
    try:
        return msgspec.json.decode(data, type=Progress) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Request:
    """One run of one message, seen from inside the task."""

    __slots__ = ("_report", "args", "body", "definition", "envelope", "kwargs")

    def __init__(self, definition: Any, envelope: Envelope, body: Body, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """``definition`` is the task object; ``envelope`` and ``body`` the message as it came."""
        self.definition = definition
        self.envelope = envelope
        self.body = body
        self.args = args
        self.kwargs = kwargs
        self._report: Report | None = None

    @property
    def id(self) -> str:
        """The message's id; empty where the task was called here and now, outside a worker."""
        return self.envelope.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.body.t

    @property
    def called_directly(self) -> bool:
        """Is this a plain call, and not a worker's run?"""
        return not self.envelope.id

    @property
    def attempt(self) -> int:
        """1 for the first run; rises with each retry."""
        return self.envelope.attempt

    @property
    def retries(self) -> int:
        """Retries so far: ``attempt`` - 1."""
        return self.envelope.attempt - 1

    @property
    def delivery(self) -> int:
        """Hand-overs so far, this one included. Rises with every one, so it can fence a store of one's own."""
        return self.envelope.delivery

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self.envelope.queue

    @property
    def priority(self) -> int:
        """0 to 9."""
        return self.envelope.priority

    @property
    def eta(self) -> datetime | None:
        """The time that its caller asked for, by ``eta`` or ``countdown``."""
        eta = (self.body.h or {}).get(HEADER_ETA)
        return to_datetime(eta) if isinstance(eta, int) else None

    @property
    def expires(self) -> datetime | None:
        """The time after which it does not begin any more."""
        return to_datetime(self.envelope.expires) if self.envelope.expires else None

    @property
    def enqueued_at(self) -> datetime | None:
        """The time of the call."""
        return to_datetime(self.envelope.enqueued) if self.envelope.enqueued else None

    @property
    def headers(self) -> dict[str, Any]:
        """The caller's own headers."""
        return {key: value for key, value in (self.body.h or {}).items() if not key.startswith(RESERVED)}

    @property
    def root_id(self) -> str:
        """The id of the first call that led to this one; its own if it was not made by a task."""
        root = (self.body.h or {}).get(HEADER_ROOT)
        return root if isinstance(root, str) else self.envelope.id

    @property
    def parent_id(self) -> str | None:
        """The id of the task that made this call."""
        parent = (self.body.h or {}).get(HEADER_PARENT)
        return parent if isinstance(parent, str) else None

    @property
    def schedule(self) -> str | None:
        """The schedule that made this call."""
        name = (self.body.h or {}).get(HEADER_SCHEDULE)
        return name if isinstance(name, str) else None

    @property
    def tick(self) -> datetime | None:
        """The moment for which its schedule made this call: the time of the plan, however late it runs."""
        tick = (self.body.h or {}).get(HEADER_TICK)
        return to_datetime(tick) if isinstance(tick, int) else None

    @property
    def flow_id(self) -> str | None:
        """The flow that it belongs to."""
        if not self.envelope.extras:
            return None

        place = place_of(self.envelope.extras)
        return place[0] if place is not None else None

    def report(self, progress: Progress) -> bool:
        """Write progress to the record. False where nobody keeps it."""
        return self._report(encode_progress(progress)) if self._report is not None else False

    def __repr__(self) -> str:
        return f"<Request {self.task}[{self.id}] attempt {self.attempt}>"


def direct(definition: Any, name: str) -> Request:
    """The request of a plain call, outside a worker."""
    return Request(definition, Envelope("", "", b""), Body(name), (), {})


current: ContextVar[Request | None] = ContextVar("umbel_request", default=None)
"""The run that this code belongs to; None outside."""


@contextmanager
def entered(request: Request) -> Iterator[Request]:
    """Make ``request`` the current one."""
    token = current.set(request)
    try:
        yield request
    finally:
        current.reset(token)
