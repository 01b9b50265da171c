"""A declared function: what tests patch, callers call, and workers run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack, overload

import msgspec

from .bulk import send_all
from .call import CALL_OPTIONS, PLAIN, BulkKeywords, Call, CallKeywords, Membership, Plan, call_of, plan_of, refuse_options
from .clock import seconds
from .codec import CallSignature, proper
from .envelope import TRACKED, Envelope
from .errors import ConfigError, MaxRetriesExceeded, Replacement, RetryLater
from .message import check_name, new_id
from .options import KNOWN, LATER, TaskOptions
from .producer import Producer
from .request import Progress, Request, current, direct
from .result import AsyncResult
from .settings import Settings
from .shape import is_coroutine, never_runs
from .signature import Part, Signature
from .traffic import TRAFFIC_OPTIONS

if TYPE_CHECKING:
    from .canvas import group

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

_KNOWN_TO_CALLS = frozenset(CALL_OPTIONS)
_CLASS_OPTIONS = (frozenset(KNOWN) | LATER) - {"name", "base"}
HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


EACH = "umbel.each"
"""The name of the task that runs another one for each of a list (``each.py``): every app has it."""


def _elsewhere(task: str, items: list[Any]) -> list[Any]:
    raise ConfigError("map and starmap run in a worker: send them")


class Task(Generic[P, R_co]):
    """A task. Calling it runs the function here and now; :meth:`delay` and :meth:`apply_async` send it.

    Subclass it for hooks, shared state or another way of running, and pass the class as ``@app.task(base=…)``. Attributes
    of the subclass that are named like options are their defaults.
    """

    name: str
    fn: Callable[..., Any]
    options: TaskOptions
    is_async: bool
    """Is the function a coroutine function?"""
    has_hooks: bool
    """Does the class override any hook? The worker asks once."""

    def declare(self, fn: Callable[..., Any], name: str, options: TaskOptions, owner: Callable[[], Any]) -> None:
        """Make this the task of ``fn``. ``owner`` answers with the app, whose ``producer`` sends. Done once, by the app."""
        if never_runs(fn):
            raise ConfigError(f"task {name!r} is a generator: nobody would run its body; make it a plain function, or call it from one")
        self.name, self.fn, self.options = check_name("task", name), fn, options
        self.is_async = is_coroutine(fn)
        self.has_hooks = any(getattr(type(self), hook) is not getattr(Task, hook) for hook in HOOKS)
        self._owner = owner
        self._bound = fn.__get__(self, type(self)) if options.bind and hasattr(fn, "__get__") else fn
        self._own_call = type(self).__call__ is not Task.__call__
        self._signature: CallSignature | None = None
        self._plan: Plan | None = None
        if options.traffic is not None:
            options.traffic.check(name, self.signature.shape)
        for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
            if hasattr(fn, attribute):
                setattr(self, attribute, getattr(fn, attribute))
        self.__wrapped__ = fn

    @property
    def app(self) -> Any:
        """The app that it is sent through; of a shared task, the current one."""
        return self._owner()

    @property
    def signature(self) -> CallSignature:
        """How its calls travel."""
        if self._signature is None:
            self._signature = CallSignature(self.fn, bind=self.options.bind)
        return self._signature

    def use_signature(self, signature: CallSignature) -> None:
        """Travel by another signature than the function's own: for a function that lives elsewhere."""
        self._signature, self._plan = signature, None

    # -- running

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run it here and now."""
        return self.run(*args, **kwargs)

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The function itself, with ``self`` for a bound one."""
        value: R_co = self._bound(*args, **kwargs)
        return value

    def invoke(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a worker calls: the function, or the subclass's own ``__call__``. A coroutine of an ``async def`` task."""
        if self._own_call:
            return self(*args, **kwargs)
        return self._bound(*args, **kwargs)

    # -- sending

    @overload
    def delay(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[T]: ...
    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]: ...
    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send a call with these arguments. The same as ``apply_async(args, kwargs)``, which see for the errors."""
        return self.apply_async(args, kwargs)

    @overload
    def apply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[T]: ...
    @overload
    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[R_co]: ...
    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send a call.

        ``countdown`` (seconds) or ``eta`` (a naive one is in the app's ``timezone``): not before. ``expires`` (seconds or a
        time): not after. ``queue``, ``priority`` (0-9, larger is sooner) and ``track`` instead of the task's own.
        ``task_id``: an id of one's own; a second call with it within a day is a duplicate. ``headers``: JSON that
        ``self.request.headers`` shows.

        Raises ``TypeError`` for wrong parameters, as a plain call does; ``ArgumentError`` for a value that would not arrive
        as it is; ``PayloadTooLarge``; ``EnqueueRefused`` (certainly not stored); ``EnqueueUnknown`` (the reply was lost;
        calling again is safe with a ``task_id`` that was given from the start).
        """
        producer: Producer = self._owner().producer
        plan = self.plan(producer)
        if type(args) is not tuple or type(kwargs) is not dict:
            args, kwargs = proper(plan.signature.name, () if args is None else args, {} if kwargs is None else kwargs)
        call = self._call_of(plan, producer, options) if options else PLAIN
        id = call.id or new_id(producer.clock.now())
        answer = producer.send(plan, args, kwargs, call, id)
        tracked = bool((plan.flags | call.flags) & ~call.without & TRACKED)
        result: AsyncResult[Any] = AsyncResult(answer.id, producer, task=self.name, tracked=tracked, kind=self.result_type)
        result.duplicate_of, result.dropped = answer.duplicate_of, answer.dropped
        return result

    def delay_many(
        self,
        calls: Iterable[Mapping[str, Any] | Sequence[Any]],
        *,
        batch_size: int = 1000,
        max_backlog: int | None = None,
        **options: Unpack[BulkKeywords],
    ) -> int:
        """Send one call for each item: a dict of named, or a tuple of positional arguments. Answers with how many there were.

        The iterable is read as it is sent, ``batch_size`` (at most 1,000) at a time, each batch in one atomic step; nothing
        is kept. A bad item raises an error with its index; the calls before it are stored. ``max_backlog``: while so many messages
        wait in the queue, wherever they came from, it waits, so that an iterable of millions fills no store.
        """
        if "task_id" in options:
            raise ConfigError(f"{self.name}.delay_many: task_id is the id of one call; make an apply_async for each that needs its own")
        producer: Producer = self._owner().producer
        plan = self.plan(producer)
        call = self._call_of(plan, producer, options) if options else PLAIN
        return send_all(producer, plan, call, calls, batch_size, max_backlog)

    @overload
    async def adelay(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> AsyncResult[T]: ...
    @overload
    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]: ...
    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """:meth:`delay` from a coroutine: the call is made on a thread, so the event loop goes on."""
        return await self.aapply_async(args, kwargs)

    @overload
    async def aapply_async(
        self: Task[P, Coroutine[Any, Any, T]],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[T]: ...
    @overload
    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> AsyncResult[R_co]: ...
    async def aapply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """:meth:`apply_async` from a coroutine."""
        from asyncio import to_thread

        send: Callable[..., AsyncResult[Any]] = self.apply_async
        return await to_thread(send, args, kwargs, **options)

    def s(self, *args: Any, **kwargs: Any) -> Signature[R_co]:
        """A call that is not made yet, and takes further arguments."""
        _arranging()
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R_co]:
        """A call that is not made yet, and takes no further arguments."""
        _arranging()
        return Signature(self, args, kwargs, immutable=True)

    def member(self, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any], member: Membership) -> tuple[Envelope, int]:
        """The message of a call that belongs to a flow, not stored; and how many ms after it became ready it expires (0: as it says)."""
        producer: Producer = self._owner().producer
        plan = self.plan(producer)
        call = self._call_of(plan, producer, options)
        made = producer.envelope(plan, args, kwargs, call, new_id(producer.clock.now()), member)
        return made, plan.expires if call.expires is None else 0

    def map(self, items: Iterable[Any]) -> Signature[Any]:
        """A call of this task for each item, one after the other in one message; its value is the list of theirs."""
        return self._each([[item] for item in items])

    def starmap(self, items: Iterable[Sequence[Any]]) -> Signature[Any]:
        """The same, each item with all positional arguments of a call."""
        return self._each([list(item) for item in items])

    def chunks(self, items: Iterable[Sequence[Any]], n: int) -> group:
        """A group of messages of ``n`` calls each (:meth:`starmap`), for work that is smaller than a message; its value is a list of
        lists. ``items`` are read while it is sent."""
        from .canvas import chunked

        return chunked(lambda chunk: self.starmap(chunk), items, n)

    def _each(self, items: list[list[Any]]) -> Signature[Any]:
        _arranging()
        caller: Task[..., Any] = Task()
        caller.declare(_elsewhere, EACH, msgspec.structs.replace(self.options, bind=False), self._owner)
        encoded = [msgspec.json.decode(self.signature.check_and_encode(tuple(item), {})[0] or b"[]") for item in items]
        return Signature(caller, (self.name, encoded), {}, {}, immutable=True)

    def shown_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Arguments as they may be shown: values that the app's ``redact`` names are ``***``. Raises what reading the settings raises."""
        from .redaction import Redaction

        return Redaction(self._owner().settings.redact).call_text(args, kwargs, self.signature.shape)

    def AsyncResult(self, id: str) -> AsyncResult[R_co]:
        """The handle of an earlier call."""
        return AsyncResult(id, self._owner().producer, task=self.name, kind=self.result_type)

    def plan(self, producer: Producer) -> Plan:
        """What is the same for all its calls under the app's settings."""
        settings, plan = producer.settings, self._plan
        if plan is None or plan.settings is not settings:
            plan = self._plan = plan_of(self.name, self.options, self.signature, settings, producer.warned)
        return plan

    def _call_of(self, plan: Plan, producer: Producer, options: Mapping[str, Any]) -> Call:
        if not _KNOWN_TO_CALLS.issuperset(options):
            refuse_options(self.name, {name: value for name, value in options.items() if name not in _KNOWN_TO_CALLS})
        return call_of(plan, producer.clock.now(), **options)

    def result_type(self) -> Any:
        """What its values are read as."""
        return self.signature.types.result

    # -- from inside a run

    @property
    def request(self) -> Request:
        """The run that is going on; in a plain call, one without an id."""
        running = current.get()
        return running if running is not None and running.definition is self else direct(self, self.name)

    def retry(
        self, exc: BaseException | None = None, countdown: float | timedelta | None = None, max_retries: int | None = None
    ) -> NoReturn:
        """End this run and ask for another after ``countdown`` seconds (None: as the retry policy says). Never returns.

        If no retry is left raises ``exc``, or ``MaxRetriesExceeded`` without one. In a plain call raises ``exc``.
        """
        request = self.request
        limit = self.max_retries if max_retries is None else max_retries
        cause = exc if exc is not None else sys.exc_info()[1]
        if request.called_directly and exc is not None:
            raise exc
        if limit is not None and request.retries >= limit:
            if exc is not None:
                raise exc
            raise MaxRetriesExceeded(f"{self.name}[{request.id}]: no retry is left after {request.attempt} attempts") from cause
        raise RetryLater(None if countdown is None else seconds(countdown), exc=cause, max_retries=max_retries) from cause

    def replace(self, part: Part) -> NoReturn:
        """End this run and go on as ``part`` (a call, or a chain, group, chord of at most 1,000), whose value is then this task's: for
        those that follow it in its flow nothing changes. Never returns; what it does is one step with the end of this run.

        ``ConfigError`` outside of a flow: ``chain(task.s(…)).delay()`` makes one of a single call.
        """
        from .flowsender import replacement
        from .joins import place_of

        place = place_of(self.request.envelope.extras)
        if place is None:
            raise ConfigError(
                f"{self.name}: self.replace() is for members of a flow; send this call as one: chain({self.name}.s(…)).delay()"
            )
        raise Replacement(replacement(self._owner().producer, place, part.lay))

    def progress(self, done: float, total: float | None = None, note: str = "") -> bool:
        """Say how far this run has come; its record shows it. False where no record is kept, or the run was taken away."""
        return self.request.report(Progress(done, total, note))

    @property
    def max_retries(self) -> int | None:
        """Retries after the first run; None for ever."""
        return self.options.max_retries

    @property
    def default_retry_delay(self) -> float:
        """Seconds before a retry where nothing else is said."""
        return self.options.default_retry_delay

    @property
    def queue(self) -> str:
        """Where its calls go."""
        return self.options.queue or self._owner().settings.default_queue

    def limits(self, settings: Settings) -> tuple[float, float]:
        """Soft and hard limit in seconds, 0 for none: its own, or the app's."""
        return self.options.limits(settings)

    # -- hooks

    def before_start(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Runs before each attempt; what it raises fails the attempt."""

    def on_success(self, retval: Any, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Runs after an attempt that ended well. What this hook and those below raise is logged and changes nothing."""

    def on_failure(self, exc: BaseException, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], einfo: Any) -> None:
        """Runs after the last attempt failed. ``einfo`` is None: ``exc.__traceback__`` has the trace."""

    def on_retry(self, exc: BaseException, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], einfo: Any) -> None:
        """Runs after an attempt that failed and will be followed by another."""

    def after_return(self, status: str, retval: Any, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], einfo: Any) -> None:
        """Runs after each attempt, last; ``status`` is ``SUCCESS``, ``RETRY`` or ``FAILURE``, ``retval`` the value or the error."""

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


def _arranging() -> None:
    """Calls that are not made yet may be arranged: ``|`` and links come with the canvas, which those who only send do not pay for."""
    from . import canvas as canvas


def class_options(kind: type[Task[..., Any]]) -> dict[str, Any]:
    """The options that a :class:`Task` subclass, and those it is made of, set as class attributes."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        if one not in Task.__mro__:
            found.update({name: value for name, value in vars(one).items() if name in _CLASS_OPTIONS})
    # a method that happens to be called like an option of this kind, such as lock(), is the class's own affair
    aside = LATER | set(TRAFFIC_OPTIONS)
    found = {name: value for name, value in found.items() if not (name in aside and (value is None or hasattr(value, "__get__")))}
    if not callable(found.get("retry", print)):
        raise ConfigError(f"{kind.__qualname__}.retry would hide self.retry(): say @app.task(retry=…), or autoretry_for and its kin")
    return {name: value for name, value in found.items() if name != "retry" and not isinstance(value, property)}
