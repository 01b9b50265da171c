"""The handle of a flow, and what its state says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

import msgspec

from .clock import seconds
from .codec import decode_failure, decode_result
from .errors import FlowFailed, ResultError, ResultNotKept, ResultTimeout, TaskRevoked, WireError
from .facets import require
from .inputs import Values, revived
from .joins import FlowCancelled, FlowSeen, FlowState, Joins, NodeSeen
from .producer import Producer
from .request import Progress

R_co = TypeVar("R_co", covariant=True)

LOOK = 5.0
"""Seconds of one wait: each is one request to the store."""

_REASONS = {
    "producer_lost": "whoever made it died, or left it alone for too long, before all of it was sent",
    "stuck": "nothing of it could go on",
}


class FlowResult(Generic[R_co]):
    """The handle of a flow. ``id`` is the flow's. All but ``id`` asks the broker anew."""

    def __init__(self, id: str, producer: Producer, *, kind: Callable[[], Any] | None = None) -> None:
        """``kind`` answers with the type that the value is read as."""
        self.id = id
        self._producer = producer
        self._kind = kind

    # -- one look

    def seen(self) -> FlowSeen | None:
        """How it stands, all at once; None if the broker does not know it."""
        return self._joins().flow(self.id)

    @property
    def state(self) -> FlowState:
        """``UNKNOWN`` for one that the broker does not know: never stored, or forgotten."""
        seen = self.seen()
        return seen.state if seen is not None else FlowState.UNKNOWN

    def ready(self) -> bool:
        """Has it ended, well or not? One that failed may still have branches that run: ``seen().finished`` says when none does."""
        return self.state.final

    def successful(self) -> bool:
        """Has it ended well?"""
        return self.state is FlowState.SUCCESS

    def failed(self) -> bool:
        """Has a member failed whose failure is no value?"""
        return self.state is FlowState.FAILURE

    @property
    def progress(self) -> Progress | None:
        """Tasks that ended, of all that there are so far."""
        seen = self.seen()
        return None if seen is None else Progress(seen.done + seen.failed, seen.total)

    @property
    def result(self) -> R_co | None:
        """Its value; None until it has ended well."""
        seen = self.seen()
        return self._value(seen) if seen is not None and seen.state is FlowState.SUCCESS else None

    @property
    def error(self) -> ResultError | None:
        """What :meth:`get` would raise; None if nothing."""
        seen = self.seen()
        return self._error(seen) if seen is not None else None

    def nodes(self) -> Iterator[NodeSeen]:
        """Its nodes, read by the page."""
        joins, cursor = self._joins(), None
        while True:
            page = joins.flow_nodes(self.id, cursor=cursor)
            yield from page.nodes
            if (cursor := page.cursor) is None:
                return

    def value_of(self, node: int | str) -> Any:
        """What one node ended with, by its number or its name. ``ResultNotKept`` if it has not ended well, or nobody needed it."""
        number = node if isinstance(node, int) else self._number_of(node)
        return self._made_of(number, None)

    def _number_of(self, name: str) -> int:
        for node in self.nodes():
            if name in (node.label, node.label.partition("=")[0]):
                return node.number
        raise ResultNotKept(f"flow {self.id} has no node named {name!r}")

    # -- waiting

    def get(self, timeout: float | timedelta | None = None, *, propagate: bool = True) -> R_co:
        """Wait for the end, and return the value: of a chain the last one's, of a group the list in order, of a chord the body's.

        Raises ``FlowFailed`` as soon as a member has failed whose failure is no value, ``TaskRevoked`` (with ``propagate=False`` they
        are returned); ``ResultTimeout`` after ``timeout`` seconds; ``ResultNotKept`` for one that the broker does not know.
        """
        joins, clock = self._joins(), self._producer.clock
        end = None if timeout is None else clock.monotonic() + seconds(timeout)
        while True:
            if joins.flow(self.id) is None:
                raise self._not_kept()
            seen = joins.await_flow(self.id, LOOK if end is None else max(0.0, min(LOOK, end - clock.monotonic())))
            if seen is not None and seen.state.final:
                return self._end(seen, propagate)
            if end is not None and clock.monotonic() >= end:
                raise ResultTimeout(f"flow {self.id} has not ended within {seconds(timeout or 0):g} s: {_standing(seen)}")

    def __await__(self) -> Generator[Any, None, R_co]:
        """The same as ``get()``, without blocking the event loop."""
        return self._awaited().__await__()

    async def _awaited(self) -> R_co:
        from asyncio import to_thread

        while True:
            seen = await to_thread(lambda: self._joins().await_flow(self.id, LOOK))
            if seen is None:
                raise self._not_kept()
            if seen.state.final:
                return await to_thread(self._end, seen, True)

    # -- acting

    def revoke(self, terminate: bool = False) -> FlowCancelled:
        """Cancel it: what waits never starts, what runs does not run again, and with ``terminate`` is told to stop."""
        while True:
            answer = self._joins().cancel_flow(self.id, terminate)
            if not answer.more:
                return answer

    def retry(self) -> int:
        """Run the failed members again, and with them what was abandoned; answers with how many are ready again. 0 for one that has
        nothing to retry, was cancelled, or is not known."""
        seen = self.seen()
        bound, retried = (seen.failed if seen is not None else 0), 0
        while True:
            answer = self._joins().retry_flow(self.id)
            retried += answer.retried
            if not answer.more or retried >= bound > 0:  # what fails at once again is not retried for ever
                return retried

    def forget(self) -> bool:
        """Delete it with all that is kept of it. False if it is not known or something of it may still run."""
        return self._joins().forget_flow(self.id)

    def __repr__(self) -> str:
        return f"<FlowResult {self.id}>"

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, FlowResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    # -- within

    def _joins(self) -> Joins:
        return require(self._producer.broker(), Joins)

    def _not_kept(self) -> ResultNotKept:
        return ResultNotKept(f"the broker does not know flow {self.id}: it was never stored, or is forgotten (its record_ttl is over)")

    def _value(self, seen: FlowSeen) -> R_co:
        value: Any = self._made_of(msgspec.json.decode(seen.result), self._kind) if seen.result else None
        return cast(R_co, value)

    def _made_of(self, expr: Any, kind: Callable[[], Any] | None) -> Any:
        joins = self._joins()
        values = Values(lambda numbers: joins.inputs(self.id, numbers))
        try:
            data = values.json(expr)
        except WireError as exc:
            raise ResultNotKept(f"flow {self.id}: {exc}") from exc
        if values.failed:
            return revived(decode_result(data))
        return decode_result(data, kind() if kind is not None else None)

    def _end(self, seen: FlowSeen, propagate: bool) -> R_co:
        error = self._error(seen)
        if error is None:
            return self._value(seen)
        if propagate:
            raise error
        return error  # type: ignore[return-value]  # what propagate=False asks for, as Celery has it

    def _error(self, seen: FlowSeen) -> ResultError | None:
        if seen.state is FlowState.REVOKED:
            return TaskRevoked(f"flow {self.id} was cancelled")
        if seen.state is not FlowState.FAILURE:
            return None
        failure = decode_failure(seen.error)
        words = failure.message or _REASONS.get(seen.reason, seen.reason)
        return FlowFailed(
            words,
            type=failure.type,
            traceback=failure.traceback,
            reason=seen.reason,
            flow=self.id,
            node=seen.failed_node,
            task_id=seen.failed_id,
        )


def _standing(seen: FlowSeen | None) -> str:
    if seen is None:
        return "it is not known"
    return f"it is {seen.state}, {seen.done + seen.failed} of {seen.total} tasks have ended, {seen.ready} are ready or running"
