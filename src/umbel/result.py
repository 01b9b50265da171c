"""The handle of a call, and what its record says."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from .broker import Broker
from .clock import seconds
from .codec import decode_failure, decode_result
from .errors import BrokerError, ResultError, ResultNotKept, ResultTimeout, TaskExpired, TaskFailed, TaskRevoked
from .facets import Cancelled, Inspects, Record, Remembers, State, require
from .producer import Producer
from .release import base_of
from .request import Progress, decode_progress

R_co = TypeVar("R_co", covariant=True)

FIRST_LOOK = 1.0
"""Seconds of waiting after which it is asked whether any worker serves the queue at all."""
NEXT_LOOK = 5.0
"""Seconds between further looks; each wait is one request to the store, so this costs next to nothing."""

_REASONS = {
    "poison": "it killed the process that ran it, again and again",
    "time_limit": "its hard time limit was over",
    "worker_lost": "the worker that ran it was lost",
    "unknown_task": "no worker knew the task",
    "unknown_parameters": "no worker knew its parameters",
}


class AsyncResult(Generic[R_co]):
    """The handle of one call. ``id`` is the message's id; ``duplicate_of`` the id of the earlier call that this one only
    repeats, and whose record is then shown.

    All but ``id`` asks the broker anew, and needs a record: ``@app.task(track=True)``.
    """

    def __init__(
        self,
        id: str,
        producer: Producer,
        *,
        task: str | None = None,
        tracked: bool | None = None,
        kind: Callable[[], Any] | None = None,
        duplicate_of: str | None = None,
    ) -> None:
        """``tracked``: is a record kept (None: not known)? ``kind`` answers with the type that the result is read as."""
        self.id = id
        self.duplicate_of = duplicate_of
        self.dropped = ""
        """Why the call ended as it was made (``locked``: its lock was held, and it skips then); empty if it did not."""
        self._producer = producer
        self._task = task
        self._tracked = tracked
        self._kind = kind

    # -- one look

    @property
    def state(self) -> State:
        """``UNKNOWN`` for an id that the broker does not know: never stored, not tracked, or its record's time is over."""
        record = self._record()
        return record.state if record is not None else State.UNKNOWN

    def ready(self) -> bool:
        """Has it ended, well or not?"""
        return self.state.final

    def successful(self) -> bool:
        """Has it ended well?"""
        return self.state is State.SUCCESS

    def failed(self) -> bool:
        """Has its last attempt failed?"""
        return self.state is State.FAILURE

    @property
    def result(self) -> R_co | None:
        """The task's value; None until it has ended well."""
        record = self._record()
        return self._value(record) if record is not None and record.state is State.SUCCESS else None

    @property
    def error(self) -> ResultError | None:
        """What :meth:`get` would raise: ``TaskFailed``, ``TaskRevoked``, ``TaskExpired``. While it waits for a retry, the last
        attempt's failure. None if there is none."""
        record = self._record()
        return self._error(record) if record is not None else None

    @property
    def traceback(self) -> str | None:
        """The trace of the (last) failure, as text."""
        record = self._record()
        return decode_failure(record.error).traceback or None if record is not None and record.error else None

    @property
    def progress(self) -> Progress | None:
        """What the task last said with ``self.progress``."""
        record = self._record()
        return decode_progress(record.progress) if record is not None else None

    # -- waiting

    def get(self, timeout: float | timedelta | None = None, *, propagate: bool = True) -> R_co:
        """Wait for the end, and return the task's value.

        Raises ``TaskFailed``, ``TaskRevoked``, ``TaskExpired`` (with ``propagate=False`` they are returned);
        ``ResultTimeout`` after ``timeout`` seconds; ``ResultNotKept`` where there is no record; ``ResultUnreadable``.
        Logs a warning after a moment if no worker serves the queue.
        """
        remembers, clock = self._remembers(), self._producer.clock
        self._must_be_known(remembers)
        end = None if timeout is None else clock.monotonic() + seconds(timeout)
        look, unserved = FIRST_LOOK, None
        while True:
            left = look if end is None else min(look, end - clock.monotonic())
            record = remembers.await_record(self._shown_id, max(0.0, left))
            if record is None:
                raise self._not_kept()
            if record.state.final:
                return self._end(record, propagate)
            if end is not None and clock.monotonic() >= end:
                raise ResultTimeout(self._late(record, timeout, unserved or self._unserved(record)))
            if unserved is None and (unserved := self._unserved(record)):
                self._warn(unserved)
            look = NEXT_LOOK

    def __await__(self) -> Generator[Any, None, R_co]:
        """The same as ``get()``, without blocking the event loop."""
        return self._awaited().__await__()

    async def _awaited(self) -> R_co:
        from asyncio import to_thread

        unserved, look = None, FIRST_LOOK
        await to_thread(lambda: self._must_be_known(self._remembers()))
        while True:  # in short waits, so that a cancelled await holds its thread for no longer
            record = await to_thread(self._wait_once, look)
            if record is None:
                raise self._not_kept()
            if record.state.final:
                return self._end(record, True)
            if unserved is None and (unserved := await to_thread(self._unserved, record)):
                self._warn(unserved)
            look = NEXT_LOOK

    def _wait_once(self, span: float) -> Record | None:
        return self._remembers().await_record(self._shown_id, span)

    # -- acting

    def revoke(self, terminate: bool = False) -> Cancelled:
        """Cancel it: a waiting call will not run; a running one will not run again, and with ``terminate`` is told to stop.
        Answers with what was found."""
        return require(self._producer.broker(), Inspects).cancel(self._shown_id, terminate)

    def __repr__(self) -> str:
        return f"<AsyncResult {self.id}>"

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, AsyncResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    # -- within

    @property
    def _shown_id(self) -> str:
        return self.duplicate_of or self.id

    def _remembers(self) -> Remembers:
        if self._tracked is False:
            raise self._not_kept()
        return require(self._producer.broker(), Remembers)

    def _must_be_known(self, remembers: Remembers) -> None:
        """Do not wait for an id that somebody wrote down and the broker has never heard of, or forgot."""
        if self._tracked is None and remembers.record(self._shown_id) is None:
            raise self._not_kept()

    def _record(self) -> Record | None:
        broker: Broker = self._producer.broker()
        return require(broker, Remembers).record(self._shown_id)

    def _not_kept(self) -> ResultNotKept:
        name = self._task or "the task"
        if self._tracked is False:
            return ResultNotKept(
                f"{name} keeps no record of its runs: declare it with @app.task(track=True), or say track=True in apply_async"
            )
        return ResultNotKept(
            f"the broker has no record of {self._shown_id}: it was never stored, its record's time is over, or {name} is not declared "
            "with @app.task(track=True)"
        )

    def _value(self, record: Record) -> R_co:
        value: R_co = decode_result(record.result, self._kind() if self._kind is not None else None)
        return value

    def _end(self, record: Record, propagate: bool) -> R_co:
        error = self._error(record)
        if error is None:
            return self._value(record)
        if propagate:
            raise error
        return error  # type: ignore[return-value]  # what propagate=False asks for, as Celery has it

    def _error(self, record: Record) -> ResultError | None:
        if record.state is State.SUCCESS:
            return None
        if record.state is State.REVOKED:
            why = decode_failure(record.error).message
            return TaskRevoked(f"{self._shown_id} was {record.reason or 'cancelled'}" + (f": {why}" if why else ""))
        if record.state is State.EXPIRED:
            return TaskExpired(f"{self._shown_id} expired before it began")
        if record.state is State.FAILURE or record.error:
            failure = decode_failure(record.error)
            words = failure.message or ("" if failure.type else _REASONS.get(record.reason, record.reason))
            return TaskFailed(words, type=failure.type, traceback=failure.traceback, reason=record.reason)
        return None

    def _late(self, record: Record, timeout: float | timedelta | None, unserved: str | None) -> str:
        span = f"{seconds(timeout):g} s" if timeout is not None else "the time given"
        return f"{self._shown_id} has not ended within {span}: it is {record.state}" + (f"; {unserved}" if unserved else "")

    def _unserved(self, record: Record) -> str | None:
        """The complaint that no worker serves the queue; None if one does, or it cannot be told."""
        broker = self._producer.broker()
        if record.state is not State.PENDING or not record.queue or not isinstance(broker, Inspects):
            return None
        try:
            now = broker.ping()
            served = any(seen.expires > now and _serves(seen.about, record.queue) for seen in broker.workers())
        except BrokerError:
            return None  # the wait itself will say so
        return None if served else f"no worker serves {record.queue!r} (umbel worker -Q {record.queue})"

    def _warn(self, words: str) -> None:
        import logging

        logging.getLogger("umbel").warning("%s: %s", self._shown_id, words)


def _serves(about: bytes, queue: str) -> bool:
    """Does this worker say that it serves the queue, or that of which it is a release's? One that does not say serves all."""
    try:
        queues = msgspec.json.decode(about).get("queues")
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError):
        queues = None
    return not isinstance(queues, list) or queue in queues or base_of(queue) in queues
