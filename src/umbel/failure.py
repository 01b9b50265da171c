"""What is kept of an error: its type, its words, its trace; and the bytes of a result. Brokers store them unread."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec

from .errors import ResultUnreadable
from .wiretype import decoder, encode_foreign

MESSAGE_MAX = 2_000
"""Characters of an error's words that are kept: enough to read, and a dead letter stays small."""
TRACEBACK_MAX = 12_000
"""Characters of its trace; the middle is left out, since the first and the last frames tell."""
_UNREADABLE = b"!"
"""A kept result that begins so is not JSON but says why there is none."""
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep

_encoder = msgspec.json.Encoder(enc_hook=encode_foreign)


class Failure(msgspec.Struct, omit_defaults=True, gc=False):
    """An exception as it is kept. ``at`` is the innermost place of user code, ``file:line in function``."""

    type: str
    message: str = ""
    traceback: str = ""
    at: str = ""


_failure_decoder = msgspec.json.Decoder(Failure)


def encode_failure(exc: BaseException, hide: Callable[[str], str] = str) -> bytes:
    """An exception's bytes. ``hide`` takes out of its words and its trace what must not be kept. Never raises, whatever the
    exception's own methods do."""
    kind = type(exc)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    try:
        words = str(exc)
    except Exception as broken:  # an exception whose __str__ fails must not hide that the task did
        words = f"(its text cannot be had: {type(broken).__name__})"
    traceback, at = _trace(exc)
    words, traceback = _shortened(hide(_clean(words)), MESSAGE_MAX), _shortened(hide(_clean(traceback)), TRACEBACK_MAX)
    return _encoder.encode(Failure(_clean(name), words, traceback, at))


def decode_failure(data: bytes) -> Failure:
    """Read a kept error back. Never raises: bytes that are none of ours become its words."""
    if not data:
        return Failure("")
    try:
        return _failure_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Failure("", data[:MESSAGE_MAX].decode("utf-8", "replace"))


def encode_result(value: Any, max_bytes: int) -> bytes:
    """A task's return value as its record keeps it. One that is too large or not JSON is replaced by the reason. Never raises."""
    try:
        data = _encoder.encode(value)
    except Exception as exc:  # what a foreign object does when it is looked at
        return _UNREADABLE + _clean(f"a {type(value).__name__} was returned, which is not JSON ({exc})"[:MESSAGE_MAX]).encode()
    if len(data) > max_bytes:
        return _UNREADABLE + f"{len(data)} bytes were returned, more than max_result = {max_bytes}".encode()
    return data


def decode_result(data: bytes | None, kind: Any = None) -> Any:
    """The value again, as ``kind`` if given. Raises :class:`~umbel.errors.ResultUnreadable` where none was kept."""
    if data is None or data == b"":
        return None
    if data.startswith(_UNREADABLE):
        raise ResultUnreadable(f"the task succeeded, but its result was not kept: {data[1:].decode('utf-8', 'replace')}")
    try:
        return decoder(Any if kind is None else kind).decode(data)
    except (ValueError, RecursionError) as exc:
        raise ResultUnreadable(f"the task succeeded, but its result cannot be read: {exc}") from exc


def _trace(exc: BaseException) -> tuple[str, str]:
    from traceback import TracebackException  # not needed where nothing fails

    try:
        tb = _without_ours(exc.__traceback__)
        formatted = TracebackException(type(exc), exc, tb, limit=-60 if tb else None)
        last = formatted.stack[-1] if formatted.stack else None
        return "".join(formatted.format()), _clean(f"{last.filename}:{last.lineno} in {last.name}") if last else ""
    except Exception as broken:  # formatting calls foreign code: reprs, strs, loaders of source
        return f"(the traceback cannot be formatted: {type(broken).__name__})", ""


def _without_ours(tb: TracebackType | None) -> TracebackType | None:
    """The trace from the first frame that is not umbel's; the whole one if there is no such frame."""
    seen = tb
    while seen is not None and seen.tb_frame.f_code.co_filename.startswith(_HERE):
        seen = seen.tb_next
    return seen or tb


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = limit // 3
    return f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[head - limit :]}"
