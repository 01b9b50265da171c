"""From a delivery to an outcome: decode, resolve, guard, run, and what its end means. It knows no broker.

Every way out is an ``Outcome`` value, whatever the bytes, the task or the user's code do; only what must end the child
(``MemoryError`` outside of a task, a fence) leaves as an exception.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

import msgspec

from ..codec import UnknownParameters, encode_failure, encode_result
from ..envelope import Delivery, Envelope
from ..errors import BrokerError, Discard, Replacement, RetryLater, Snooze, TaskInterrupted, WireError
from ..message import Body, decode_body
from ..middleware import run_through
from ..outcome import Dead, Done, Dropped, Outcome, Released, Replaced, Retry
from ..policy import after_failure, milliseconds
from ..redaction import Redaction
from ..request import Request, current
from .atomic import Gathered
from .logs import LINES
from .member import done, given, keeps, reads

if TYPE_CHECKING:
    from ..app import Umbel
    from ..task import Task

PARK_FIRST, PARK_LAST = 5_000, 60_000
"""Ms for which a message waits that this release cannot run: soon at first, since a deploy takes seconds."""

_READ_AGAIN = 1_000
"""Ms for which a message waits whose inputs could not be read."""

Hide = Callable[[str], str]
"""Takes out of a text what must not be shown; ``str`` where that is nothing."""

log = logging.getLogger("umbel.task")


class Prepared(msgspec.Struct, gc=False):
    """A delivery whose task is known."""

    delivery: Delivery
    task: Task[..., Any]
    body: Body
    then: tuple[Envelope, ...] = ()
    """What an atomic run called, once it succeeded: for the settle to carry."""


class Guard(Protocol):
    """What a task's code runs in, so that it can be interrupted, and only it."""

    def call(self, version: int, function: Callable[..., Any], /, *args: Any) -> Any:
        """``function(*args)`` as the run ``version``."""
        ...

    def wait_for(self, coroutine: Coroutine[Any, Any, Any], /) -> Any:
        """Run a coroutine to its end. For use inside ``call``."""
        ...


Drive = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
"""How a coroutine is run beside others, so that it can be interrupted."""


class Executor:
    """Runs the tasks of one app, one at a time; coroutines of ``run_beside``, many."""

    def __init__(
        self,
        app: Umbel,
        soft: Guard,
        now: Callable[[], int],
        report: Callable[[Delivery, bytes], bool],
    ) -> None:
        """``now``: the store's clock, ms. ``report``: where a task's progress goes."""
        self._app = app
        self._soft = soft
        self._now = now
        self._report = report
        self._redaction = Redaction(app.settings.redact)
        self._grace = round(app.settings.deploy_grace * 1000)
        self._middleware = app.middleware
        self.forked = False
        """Is this process one that a task forked? Set by whoever owns the process: cheaper than its number after every task."""

    # -- before it begins

    def prepare(self, delivery: Delivery) -> Prepared | Outcome:
        """Decode and resolve: which task this is, or why it cannot be run."""
        envelope = delivery.envelope
        try:
            body = decode_body(envelope.body)
        except WireError as exc:
            return self._refuse(envelope, "?", "unreadable", exc)
        task = self._app.resolve(body.t)
        if task is None:
            return self._park(envelope, body.t, "unknown_task", f"no task named {body.t!r} in this release")
        if envelope.expires and envelope.expires <= self._now():
            log.info("%s[%s] expired before it began", body.t, envelope.id)
            return Dropped("expired")
        return Prepared(delivery, task, body)

    def _refuse(self, envelope: Envelope, name: str, reason: str, exc: BaseException, hide: Hide = str) -> Dead:
        log.error("%s[%s] set aside (%s): %s", name, envelope.id, reason, hide(str(exc)))
        return Dead(reason, encode_failure(exc, hide))

    def _hiding(self, task: Task[..., Any], body: Body, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Hide:
        """What takes the values that ``redact`` names out of a text."""
        if not self._redaction:
            return str
        try:
            return self._redaction.secrets(args, kwargs or {}, task.signature.shape, body).hidden_in
        except Exception:  # what a foreign object does when it is looked at: then nothing of the text is shown
            return lambda _: "(not shown: what is to be hidden cannot be found out)"

    def _park(self, envelope: Envelope, name: str, reason: str, why: str) -> Outcome:
        waited = self._now() - envelope.parked if envelope.parked else 0
        if waited >= self._grace:
            return self._refuse(envelope, name, reason, WireError(f"{why}; it waited {waited // 1000} s for a worker that can run it"))
        after = min(PARK_LAST, max(PARK_FIRST, waited // 4))
        log.warning("%s[%s] parked, next try in %d s: %s", name, envelope.id, after // 1000, why)
        return Released(after, reason, parked=True)

    # -- the run

    def run(self, prepared: Prepared, version: int) -> Outcome:
        """Run a prepared delivery; ``version`` names the run in the slot."""
        request = self._request(prepared)
        if not isinstance(request, Request):
            return request
        task = prepared.task
        token = current.set(request)
        try:
            if task.options.atomic:
                value = self._soft.call(version, self._atomic_body, prepared, request)
            else:
                value = self._soft.call(version, self._body, task, request, request.args, request.kwargs)
        except BaseException as exc:  # every exit settles: SystemExit and KeyboardInterrupt of a task are its failures
            prepared.then = ()  # a limit may strike when all has been called, and the task has failed all the same
            if self.forked:
                end_fork(exc)
            return self._ended_by(task, request, exc)
        else:
            if self.forked:
                end_fork(SystemExit(0))
            return self._succeeded(task, request, value)
        finally:
            current.reset(token)

    def may_run_beside(self, prepared: Prepared) -> bool:
        """Is all of its run a coroutine's? Hooks and middleware are plain functions, which may block; so does reading what others of
        its flow give it."""
        task = prepared.task
        return task.is_async and not task.has_hooks and not self._middleware and not reads(prepared.delivery.envelope)

    async def run_beside(self, prepared: Prepared, drive: Drive) -> Outcome:
        """Run a prepared delivery on an event loop, beside others, in a context of its own (see ``may_run_beside``)."""
        request = self._request(prepared)
        if not isinstance(request, Request):
            return request
        task = prepared.task
        current.set(request)
        try:
            if task.options.atomic:
                value = await self._beside_atomic(prepared, request, drive)
            else:
                value = task.invoke(request.args, request.kwargs)
                if type(value) is CoroutineType:
                    value = await drive(value)
        except BaseException as exc:  # as in run
            prepared.then = ()
            return self._ended_by(task, request, exc)
        return self._succeeded(task, request, value)

    def cut_off(self, prepared: Prepared, exc: BaseException) -> Outcome:
        """What becomes of a delivery whose run was ended by ``exc`` before its first line."""
        request = self._request(prepared)
        return self._ended_by(prepared.task, request, exc) if isinstance(request, Request) else request

    def _request(self, prepared: Prepared) -> Request | Outcome:
        """Decode the arguments: the run as the task sees it, or why there is none."""
        delivery, task, body = prepared.delivery, prepared.task, prepared.body
        envelope = delivery.envelope
        try:
            taken = None if envelope.extras is None else given(self._app, envelope, body)
            a, k = (body.a, body.k) if taken is None else (taken.a, taken.k)
            args, kwargs = task.signature.decode(a, k, drop_unknown=task.options.unknown_kwargs == "drop")
            if taken is not None:
                args, kwargs = taken.revived(args, kwargs)
        except BrokerError as exc:
            return self._unread(envelope, task, exc)
        except UnknownParameters as exc:
            return self._misfit(envelope, task, exc)
        except MemoryError:
            raise
        except Exception as exc:  # also whatever the user's own types raise: a call that cannot be made harms nobody else
            return self._refuse(envelope, task.name, "bad_arguments", exc, self._hiding(task, body))
        request = Request(task, envelope, body, args, kwargs)
        request._report = lambda data: self._report(delivery, data)
        return request

    def _body(self, task: Task[..., Any], request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if task.has_hooks:
            task.before_start(request.id, args, kwargs)
        if self._middleware:
            return run_through(self._middleware, request, lambda _: self._call(task, args, kwargs))
        return self._call(task, args, kwargs)

    def _atomic_body(self, prepared: Prepared, request: Request) -> Any:
        with self._app.producer.collecting(Gathered(prepared.task.name)) as calls:
            value = self._body(prepared.task, request, request.args, request.kwargs)
        prepared.then = tuple(calls.envelopes)
        return value

    async def _beside_atomic(self, prepared: Prepared, request: Request, drive: Drive) -> Any:
        with self._app.producer.collecting(Gathered(prepared.task.name)) as calls:
            value = prepared.task.invoke(request.args, request.kwargs)
            if type(value) is CoroutineType:
                value = await drive(value)
        prepared.then = tuple(calls.envelopes)
        return value

    def _call(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = task.invoke(args, kwargs)
        # The value and not the declaration: a plain function around an async def answers with a coroutine too
        return self._soft.wait_for(value) if type(value) is CoroutineType else value

    def _unread(self, envelope: Envelope, task: Task[..., Any], exc: BrokerError) -> Outcome:
        log.warning("%s[%s] waits: what others of its flow give it cannot be read: %s", task.name, envelope.id, exc)
        return Released(_READ_AGAIN, "inputs")

    def _misfit(self, envelope: Envelope, task: Task[..., Any], exc: UnknownParameters) -> Outcome:
        if task.options.unknown_kwargs == "error":
            return self._refuse(envelope, task.name, "bad_arguments", exc)
        return self._park(envelope, task.name, "unknown_parameters", str(exc))

    # -- what its end means

    def _succeeded(self, task: Task[..., Any], request: Request, value: Any) -> Outcome:
        if task.has_hooks:
            self._hook(task.on_success, value, request.id, request.args, request.kwargs)
            self._hook(task.after_return, "SUCCESS", value, request.id, request.args, request.kwargs, None)
        if request.envelope.extras is not None and keeps(request.envelope):
            return done(request.envelope, value, self._app.settings.max_result)
        if not request.envelope.tracked:
            return _DONE
        return Done(encode_result(value, self._app.settings.max_result))

    def _ended_by(self, task: Task[..., Any], request: Request, exc: BaseException) -> Outcome:
        hide = self._hiding(task, request.body, request.args, request.kwargs)
        try:
            return self._failed(task, request, exc, hide)
        except Exception as broken:  # a wait that is no number, a comparison that fails: the task's fault, and not the child's end
            tell_failure(f"{task.name}[{request.id}] failed: what it raised cannot be understood", broken, hide)
            return Dead("failed", encode_failure(broken, hide))

    def _failed(self, task: Task[..., Any], request: Request, exc: BaseException, hide: Hide) -> Outcome:
        if (said := _said_by(exc, hide)) is not None:
            return said
        verdict = after_failure(task.options.retry_or_default, exc, request.envelope.attempt, throws=task.options.throws)
        cause = (exc.exc or exc) if isinstance(exc, RetryLater) else exc
        error = encode_failure(cause, hide)
        if verdict.retry_after_ms is not None:
            if task.has_hooks:
                self._hook(task.on_retry, cause, request.id, request.args, request.kwargs, None)
                self._hook(task.after_return, "RETRY", cause, request.id, request.args, request.kwargs, None)
            return Retry(verdict.retry_after_ms, error)
        if task.has_hooks:
            self._hook(task.on_failure, cause, request.id, request.args, request.kwargs, None)
            self._hook(task.after_return, "FAILURE", cause, request.id, request.args, request.kwargs, None)
        if not verdict.expected:
            tell_failure(f"{task.name}[{request.id}] failed", cause, hide)
        return Dead("failed", error)

    def _hiding_now(self) -> Hide:
        request = current.get()
        return str if request is None else self._hiding(request.definition, request.body, request.args, request.kwargs)

    def _hook(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except BaseException as exc:  # a hook tells; the task's end is decided already, even for SystemExit
            tell_failure(f"{getattr(hook, '__qualname__', hook)}: a hook of the task failed", exc, self._hiding_now())


def _said_by(exc: BaseException, hide: Hide) -> Outcome | None:
    """The outcome that was raised, so to speak; None for an error."""
    if isinstance(exc, TaskInterrupted):
        return Released(0, "shutdown")
    if isinstance(exc, Replacement):
        return cast(Replaced, exc.outcome)
    if isinstance(exc, Snooze):
        return Released(max(1, milliseconds(exc.seconds)), "snoozed")
    return Dropped("discarded", encode_failure(exc, hide)) if isinstance(exc, Discard) else None


def tell_failure(words: str, exc: BaseException, hide: Hide) -> None:
    """Log an error with its trace. Where something may be hidden, as text: a handler that was given the exception would show all of it."""
    if hide is str:
        log.error("%s", words, exc_info=exc)
    else:
        log.error("%s\n%s", words, hide("".join(traceback.format_exception(exc))).rstrip(), extra=LINES)


def end_fork(exc: BaseException) -> NoReturn:
    """End a process that the task forked and that came out of its code: the loop, the receipts and the connection which it
    would go on with are its parent's."""
    code: Any = exc.code if isinstance(exc, SystemExit) else 1
    try:
        if not isinstance(exc, SystemExit):
            traceback.print_exception(exc)
        elif isinstance(code, str):
            print(code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF if isinstance(code, int) else 0 if code is None else 1)


_DONE = Done()
