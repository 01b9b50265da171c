"""A message as an operator reads it: which task, with what, how often tried. Names of ``redact`` are never shown."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import msgspec

from ..envelope import CANCELLED, HANDED_ALONE, Envelope
from ..errors import WireError
from ..facets import Listed, Place
from ..failure import Failure, decode_failure
from ..message import Body, decode_body
from .terminal import clipped, moment

HIDDEN = "***"


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


def summary(listed: Listed, redact: Collection[str] = ()) -> Summary:
    """Read a message for showing. Never raises, whatever the bytes are."""
    e = listed.envelope
    task, body = _body(e)
    return Summary(
        id=e.id,
        task=task,
        queue=e.queue,
        place=listed.place,
        args=_args(body, redact),
        kwargs=_redacted(_json(body.k), redact) if body else None,
        headers=_redacted(body.h, redact) if body else None,
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
        error=decode_failure(listed.error) if listed.error else None,
        cancelled=bool(e.flags & CANCELLED),
        alone=bool(e.flags & HANDED_ALONE),
    )


def task_of(envelope: Envelope) -> str:
    """The task's name, or what stands there instead."""
    return _body(envelope)[0]


def _body(envelope: Envelope) -> tuple[str, Body | None]:
    if not envelope.id:
        return "(unreadable)", None
    try:
        body = decode_body(envelope.body)
    except WireError:
        return "(not a call)", None
    return body.t, body


def _args(body: Body | None, redact: Collection[str]) -> Any:
    """Positional arguments have no names on the wire: where some names are to be hidden, all of these are."""
    if body is None:
        return None
    args = _json(body.a)
    return [HIDDEN] * len(args) if redact and isinstance(args, list) else _redacted(args, redact)


def _redacted(value: Any, redact: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN if key in redact else _redacted(inner, redact) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, redact) for inner in value]
    return value


def _json(raw: msgspec.Raw) -> Any:
    data = bytes(raw)
    try:
        return msgspec.json.decode(data) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace")


def _text(value: Any) -> str:
    return value if value == HIDDEN else json.dumps(value, ensure_ascii=False)


def _moment(ms: int | None) -> str:
    return moment(ms) if ms else ""
