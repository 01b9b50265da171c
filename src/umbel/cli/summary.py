"""A message as an operator reads it: which task, with what, how often tried. What ``redact`` names is never shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from ..envelope import CANCELLED, HANDED_ALONE, Envelope
from ..errors import WireError
from ..facets import Listed, Place
from ..failure import Failure, decode_failure
from ..message import Body, decode_body
from ..redaction import HIDDEN, Redaction, decoded
from ..shape import Shape
from .terminal import clipped, moment


class Discretion(msgspec.Struct, frozen=True):
    """What is hidden, and by which parameters positional arguments are known."""

    redaction: Redaction
    shape_of: Callable[[str], Shape | None]
    """Of the task with this name; None where nobody here knows it."""

    def text(self, text: str, body: Body | None) -> str:
        """Words about a call, without its hidden values."""
        if not self.redaction or body is None:
            return text
        return self.redaction.secrets(None, None, self.shape_of(body.t), body).hidden_in(text)

    def json(self, data: bytes) -> str:
        """A result or progress as it is kept, for showing."""
        if not self.redaction or not data:
            return data.decode("utf-8", "replace")
        try:
            return json.dumps(self.redaction.value(msgspec.json.decode(data)), ensure_ascii=False)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return data.decode("utf-8", "replace")

    def failure(self, failure: Failure | None, body: Body | None) -> Failure | None:
        """An error, without the hidden values of its call: it may be older than the setting."""
        if failure is None or not self.redaction:
            return failure
        return Failure(failure.type, self.text(failure.message, body), self.text(failure.traceback, body), failure.at)


class Summary(msgspec.Struct, omit_defaults=True):
    """What can be said of one message. Times as text, UTC."""

    id: str
    task: str
    queue: str
    place: Place
    args: Any = None
    kwargs: Any = None
    headers: Any = None
    priority: int = 5
    attempt: int = 1
    delivery: int = 0
    crashes: int = 0
    losses: int = 0
    enqueued: str = ""
    due: str = ""
    expires: str = ""
    parked: str = ""
    worker: str = ""
    holder: str = ""
    died: str = ""
    reason: str = ""
    error: Failure | None = None
    cancelled: bool = False
    alone: bool = False

    def call(self, width: int = 1000) -> str:
        """The call as it would be written: ``(7, urgent=True)``."""
        args = [_text(arg) for arg in self.args] if isinstance(self.args, list) else [_text(self.args)] if self.args else []
        kwargs = [f"{key}={_text(value)}" for key, value in self.kwargs.items()] if isinstance(self.kwargs, dict) else []
        return clipped(f"({', '.join(args + kwargs)})", width)

    def words(self) -> str:
        """The error in one line, or the reason."""
        if self.error is None:
            return self.reason
        said = f"{self.error.type}: {self.error.message}" if self.error.type else self.error.message
        return f"{self.reason}: {said}" if said else self.reason


def summary(listed: Listed, discretion: Discretion) -> Summary:
    """Read a message for showing. Never raises, whatever the bytes are."""
    e = listed.envelope
    task, body = body_of(e)
    redaction = discretion.redaction
    return Summary(
        id=e.id,
        task=task,
        queue=e.queue,
        place=listed.place,
        args=redaction.args(decoded(body.a), discretion.shape_of(task)) if body else None,
        kwargs=redaction.value(decoded(body.k)) if body else None,
        headers=redaction.value(body.h) if body else None,
        priority=e.priority,
        attempt=e.attempt,
        delivery=e.delivery,
        crashes=e.crashes,
        losses=e.losses,
        enqueued=_moment(e.enqueued),
        due=_moment(listed.due),
        expires=_moment(e.expires),
        parked=_moment(e.parked),
        worker=listed.worker or "",
        holder=listed.holder or "",
        died=_moment(listed.died),
        reason=listed.reason,
        error=discretion.failure(decode_failure(listed.error) if listed.error else None, body),
        cancelled=bool(e.flags & CANCELLED),
        alone=bool(e.flags & HANDED_ALONE),
    )


def task_of(envelope: Envelope) -> str:
    """The task's name, or what stands there instead."""
    return body_of(envelope)[0]


def body_of(envelope: Envelope) -> tuple[str, Body | None]:
    """The task's name and the call, or what stands instead of a name and None."""
    if not envelope.id:
        return "(unreadable)", None
    try:
        body = decode_body(envelope.body)
    except WireError:
        return "(not a call)", None
    return body.t, body


def _text(value: Any) -> str:
    return value if value == HIDDEN else json.dumps(value, ensure_ascii=False)


def _moment(ms: int | None) -> str:
    return moment(ms) if ms else ""
