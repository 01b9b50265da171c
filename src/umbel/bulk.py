"""Many calls of one task: lazily, in batches, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from .broker import MAX_ENQUEUE
from .call import Call, Plan
from .envelope import Envelope
from .errors import ArgumentError, EnqueueRefused, EnqueueUnknown, PayloadTooLarge
from .message import new_ids
from .producer import Producer

_NO_KWARGS: dict[str, Any] = {}


def send_all(producer: Producer, plan: Plan, call: Call, calls: Iterable[Any], batch_size: int, max_backlog: int | None = None) -> int:
    """Send one call for each item (a dict of named, or a tuple or list of positional arguments); answers with their count.

    Each batch is one atomic step. A bad item, or an error of the iterable itself, ends it: all items before are stored, and
    the error says how many. While ``max_backlog`` messages or more wait in the queue it waits, and a batch fills up to that.
    """
    _check_size(plan, batch_size)
    if max_backlog is not None:
        _check_backlog(plan, max_backlog)
    items, ids, stored = enumerate(calls), _ids(producer), 0
    while True:
        wanted = batch_size
        if max_backlog is not None:
            wanted = min(batch_size, producer.pressure.wait_for_room(producer.queue_of(plan, call), max_backlog, None))
        batch, trouble = _filled(producer, plan, call, islice(items, wanted), ids)
        stored += _store(producer, batch, stored)
        if trouble is not None:
            raise trouble
        if len(batch) < wanted:
            return stored


def _check_size(plan: Plan, batch_size: object) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= MAX_ENQUEUE:
        raise ArgumentError(f"{plan.signature.name}: batch_size = {batch_size!r}: it must be a whole number from 1 to {MAX_ENQUEUE}")


def _check_backlog(plan: Plan, max_backlog: object) -> None:
    if isinstance(max_backlog, bool) or not isinstance(max_backlog, int) or max_backlog < 1:
        raise ArgumentError(f"{plan.signature.name}: max_backlog = {max_backlog!r}: it must be a whole number over 0")


def _ids(producer: Producer) -> Iterator[str]:
    while True:
        yield from new_ids(producer.clock.now(), 100)


def _filled(
    producer: Producer, plan: Plan, call: Call, items: Iterator[tuple[int, Any]], ids: Iterator[str]
) -> tuple[list[Envelope], Exception | None]:
    """Envelopes of all ``items``, or of those before the one that cannot be sent, and the error that says so."""
    batch: list[Envelope] = []
    add, make = batch.append, producer.envelope
    index = -1
    try:
        for index, item in items:
            kind = type(item)
            try:
                if kind is dict:
                    add(make(plan, (), item, call, next(ids)))
                elif kind is tuple:
                    add(make(plan, item, _NO_KWARGS, call, next(ids)))
                else:
                    add(make(plan, *_arguments(item), call, next(ids)))
            except Exception as exc:
                return batch, _numbered(exc, index, plan)
    except Exception as exc:  # the iterable's own
        exc.add_note(f"{plan.signature.name}.delay_many: the iterable failed; all calls that it gave before are stored")
        return batch, exc
    return batch, None


def _arguments(item: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(item, list | tuple):
        return tuple(item), _NO_KWARGS
    if isinstance(item, Mapping):
        return (), dict(item)
    raise ArgumentError(f"it is a {type(item).__name__}; give a dict of named or a tuple of positional arguments, such as (x,)")


def _store(producer: Producer, batch: list[Envelope], stored: int) -> int:
    """Send the batch; answers with its size. Errors say how much was stored before."""
    before = f"the {stored} calls before this batch are stored" if stored else "nothing was stored before it"
    try:
        producer.send_many(tuple(batch))
    except EnqueueUnknown as exc:
        raise EnqueueUnknown(f"{exc}; {before}", id=exc.id, ids=exc.ids, repeatable=exc.repeatable) from exc
    except EnqueueRefused as exc:
        raise EnqueueRefused(f"{exc}; {before}") from exc
    return len(batch)


def _numbered(exc: Exception, index: int, plan: Plan) -> Exception:
    """The item's error, with its place in words."""
    words = f"item {index} of {plan.signature.name}.delay_many: {exc} (the {index} before it are stored, it and what follows are not)"
    for kind in (PayloadTooLarge, ArgumentError, EnqueueRefused):
        if isinstance(exc, kind):
            return _caused(kind(words), exc)
    if type(exc) is TypeError:
        return _caused(TypeError(words), exc)
    exc.add_note(words)
    return exc


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
