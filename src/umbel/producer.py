"""From a call to the broker: message, middleware, codec, ``enqueue``, event.

A call is stored when :meth:`Producer.send` returns, unless it was made inside :meth:`Producer.collecting`: then it is kept
by the collector, whose owner stores it later (with a commit, with a settle) or never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .broker import MAX_ENQUEUE, Broker, Receipted
from .call import Call, Membership, Plan
from .clock import Clock
from .connections import Connections
from .envelope import EXPLICIT, Envelope
from .errors import ArgumentError, BrokerError, EnqueueRefused, EnqueueUnknown, ReplyLost
from .events import Emitter, TaskDropped, TaskEnqueued
from .message import HEADER_ETA, HEADER_PARENT, HEADER_ROOT, Message, decode_body
from .middleware import Middleware, send_through
from .request import current
from .routes import Routes
from .settings import Settings

if TYPE_CHECKING:
    from .pressure import Pressure

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class Collector:
    """Calls kept instead of sent, in order. Subclass :meth:`add` to refuse what is too much."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def add(self, envelopes: Sequence[Envelope]) -> None:
        """Keep them. What it raises, the call raises, and nothing of these is kept."""
        self.envelopes.extend(envelopes)


class Producer:
    """Sends the calls of one app. Safe to use from many threads: each has a broker of its own."""

    def __init__(
        self, connections: Connections, settings: Callable[[], Settings], middleware: list[Middleware], events: Emitter, clock: Clock
    ) -> None:
        self._connections = connections
        self._settings = settings
        self._middleware = middleware
        self._events = events
        self.clock = clock
        self._routes = Routes(connections, clock)
        self.warned: set[str] = set()
        """Names of the tasks whose large calls were reported."""

    @property
    def settings(self) -> Settings:
        """The app's settings as they are now."""
        return self._settings()

    @property
    def middleware(self) -> Sequence[Middleware]:
        """What stands around every call."""
        return self._middleware

    @cached_property
    def pressure(self) -> Pressure:
        """What looks at how deep queues are."""
        from .pressure import Pressure  # not for those who bound none

        return Pressure(self._connections, self._settings, self.clock)

    def broker(self) -> Broker:
        """This thread's open broker."""
        return self._connections.get()

    # -- sending

    def send(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call, id: str) -> Receipted:
        """Make the message, and store or collect it. ``id`` is the caller's choice, or a fresh one.

        Raises ``TypeError`` and ``ArgumentError`` for the arguments, ``EnqueueRefused`` (certainly not stored) and
        ``EnqueueUnknown`` (the reply was lost).
        """
        made = self.envelope(plan, args, kwargs, call, id)
        if plan.settings.max_depth:
            self.pressure.admit((made,))
        collector = _collector.get()
        if collector is not None:
            collector.add((made,))
            return Receipted(id)
        return self.enqueue((made,))[0]

    def send_many(self, made: Sequence[Envelope]) -> None:
        """Store or collect made envelopes, at most ``MAX_ENQUEUE``, in one step."""
        if self.settings.max_depth:
            self.pressure.admit(made)
        collector = _collector.get()
        if collector is not None:
            collector.add(made)
        elif made:
            self.enqueue(made)

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        """Store envelopes now, all or none (at most ``MAX_ENQUEUE``), and tell. The broker's errors become the caller's two.

        A broker that is certainly out of reach is tried again for the setting ``enqueue_retry``; a lost reply never is.
        """
        try:
            answers = self._connections.do(lambda broker: broker.enqueue(envelopes))
        except ReplyLost as exc:
            raise _unknown(envelopes, exc) from exc
        except BrokerError as exc:
            raise EnqueueRefused(f"{_what([envelope.id for envelope in envelopes])} was not stored: {exc}") from exc
        if self._events.heard:
            self._tell(envelopes, answers)
        return answers

    def stored(self, envelopes: Sequence[Envelope]) -> None:
        """Tell of calls that were collected, and that a settle has stored since. Which of them are duplicates is not known."""
        if self._events.heard:
            self._tell(envelopes, [Receipted(envelope.id) for envelope in envelopes])

    def in_steps(self, step: Callable[[Broker], T], what: str, id: str) -> T:
        """One call of the broker that may be repeated, and is while its reply is lost. The errors are the caller's two."""
        for left in (2, 1, 0):
            try:
                return self._connections.do(step)
            except ReplyLost as exc:
                if not left:
                    raise EnqueueUnknown(
                        f"the broker's reply was lost, so {what} may be stored or not ({exc})", id=id, ids=(id,), repeatable=False
                    ) from exc
            except BrokerError as exc:
                raise EnqueueRefused(f"{what} was not stored: {exc}") from exc
        raise AssertionError("not reached")

    def flow_sent(self) -> None:
        """A whole flow is stored."""

    @property
    def is_collecting(self) -> bool:
        """Are calls kept by a collector here?"""
        return _collector.get() is not None

    def flush(self, collector: Collector) -> list[Receipted]:
        """Store what was collected, in steps of ``MAX_ENQUEUE``; what was stored leaves the collector."""
        answers: list[Receipted] = []
        while collector.envelopes:
            answers += self.enqueue(collector.envelopes[:MAX_ENQUEUE])
            del collector.envelopes[:MAX_ENQUEUE]
        return answers

    @contextmanager
    def collecting(self, collector: Collector | None = None) -> Iterator[Collector]:
        """Within this block (and this thread or coroutine), calls are given to the collector and not to the broker.

        Nothing is sent at the end: :meth:`flush` does that, or a settle that carries the envelopes, or nobody. Blocks
        nest; the inner one gets the calls.
        """
        mine = collector if collector is not None else Collector()
        token = _collector.set(mine)
        try:
            yield mine
        finally:
            _collector.reset(token)

    def _tell(self, envelopes: Sequence[Envelope], answers: Sequence[Receipted]) -> None:
        if not self._events.wanted(TaskEnqueued) and not self._events.wanted(TaskDropped):
            return
        for envelope, answer in zip(envelopes, answers, strict=True):
            id, queue, name = envelope.id, envelope.queue, decode_body(envelope.body).t
            self._events.emit(TaskEnqueued(id=id, task=name, queue=queue, duplicate_of=answer.duplicate_of))
            if answer.dropped:
                self._events.emit(TaskDropped(id=id, task=name, queue=queue, reason=answer.dropped))

    # -- making

    def envelope(
        self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call, id: str, member: Membership | None = None
    ) -> Envelope:
        """Check and encode one call, through all middleware. A ``member`` of a flow lacks the arguments that others give it."""
        if not self._middleware:
            return self._encoded(plan, args, kwargs, call, id, self.clock.now(), member)
        made: list[Envelope] = []
        now = self.clock.now()
        message = Message(
            id=id,
            task=plan.task,
            args=args,
            kwargs=kwargs,
            queue=call.queue or plan.queue,
            priority=plan.priority if call.priority is None else call.priority,
            headers=call.headers or {},
            eta=call.due,
            after=call.after,
            expires=_expiry(plan, call, now),
        )

        def encode(final: Message) -> str:
            changed = Call(
                final.queue, final.priority, final.after, final.eta, final.expires, final.id, final.headers, call.flags, call.without
            )
            made.append(self._encoded(plan, final.args, final.kwargs, changed, final.id, now, member))
            return final.id

        send_through(self._middleware, message, encode)
        if len(made) != 1:
            raise EnqueueRefused(f"{plan.task}: a middleware called call_next {len(made)} times; it must be once, or raise")
        return made[0]

    def queue_of(self, plan: Plan, call: Call) -> str:
        """Where a call goes: its own queue or the task's, of this release where queues have versions."""
        queue = call.queue or plan.queue
        return self._routes.of(queue, plan.release) if plan.release else queue

    def bare_envelope(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call, id: str) -> Envelope:
        """Check and encode one call that no middleware sees."""
        return self._encoded(plan, args, kwargs, call, id, self.clock.now(), None)

    def _encoded(
        self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call, id: str, now: int, member: Membership | None
    ) -> Envelope:
        try:
            if member is not None and (member.before or member.named):
                a, k = plan.signature.check_and_encode_partial(args, kwargs, member.before, member.named)
            else:
                a, k = plan.signature.check_and_encode(args, kwargs)
        except ArgumentError as exc:
            if not plan.settings.redact:
                raise
            from .redaction import Redaction

            secrets = Redaction(plan.settings.redact).secrets(args, kwargs, plan.signature.shape)
            raise ArgumentError(secrets.hidden_in(str(exc))) from None
        headers = _headers(call, now)
        body = b"".join(
            (
                plan.head,
                b"" if a is None else b',"a":' + a,
                b"" if k is None else b',"k":' + k,
                b"" if headers is None else b',"h":' + _encode(headers),
                b"}",
            )
        )
        if len(body) >= plan.light:
            plan.weigh(args, kwargs, len(body))
        extras, flags = None, 0
        if plan.marking is not None:
            others = (member.before, member.named) if member is not None else (0, ())
            extras, flags = plan.marking.of_member(args, kwargs, *others) if any(others) else plan.marking.of(args, kwargs)
        return Envelope(
            id,
            self.queue_of(plan, call),
            body,
            plan.priority if call.priority is None else call.priority,
            call.due,
            call.after,
            (call.expires or 0) if member is not None else _expiry(plan, call, now),
            now,
            crash_limit=plan.crash_limit,
            loss_limit=plan.loss_limit,
            flags=(plan.flags | call.flags) & ~call.without | flags,
            extras=extras if member is None else {**(extras or {}), **member.extras},
        )


_collector: ContextVar[Collector | None] = ContextVar("umbel_collector", default=None)


def _expiry(plan: Plan, call: Call, now: int) -> int:
    if call.expires is not None:
        return call.expires
    return now + plan.expires if plan.expires else 0


def _headers(call: Call, now: int) -> dict[str, Any] | None:
    """The caller's headers and ours; None where there are none."""
    request = current.get()
    if request is None and call.headers is None and not call.due and not call.after:
        return None
    headers = dict(call.headers or {})
    if request is not None and request.id:
        headers[HEADER_ROOT], headers[HEADER_PARENT] = request.root_id, request.id
    if call.due or call.after:
        headers[HEADER_ETA] = call.due or now + call.after
    return headers


def _what(ids: Sequence[str]) -> str:
    return f"call {ids[0]}" if len(ids) == 1 else f"a batch of {len(ids)} calls"


def _unknown(envelopes: Sequence[Envelope], exc: ReplyLost) -> EnqueueUnknown:
    """Say what is safe: only ids that callers chose are remembered, so only those calls can be repeated without doubling."""
    ids = tuple(envelope.id for envelope in envelopes)
    repeatable = all(envelope.flags & EXPLICIT for envelope in envelopes)
    advice = (
        "calling again with the same task_id is safe"
        if repeatable
        else "calling again may double it; a call made with a task_id of its own can be repeated safely"
    )
    words = f"the broker's reply was lost, so {_what(ids)} may be stored or not ({exc}); {advice}"
    return EnqueueUnknown(words, id=ids[0], ids=ids, repeatable=repeatable)
