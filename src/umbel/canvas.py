"""Calls that are arranged: ``chain``, ``group``, ``chord``, with Celery's words and meaning. ``docs/flows.md`` tells it.

Nothing is stored before one of them is sent; what is sent is a flow (``flowsender.py``), whatever its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from .call import CALL_OPTIONS, refuse_options
from .errors import ConfigError
from .flowresult import FlowResult
from .flowsender import FlowPlan, FlowSender, Stream
from .graph import BLOCK, Entry, Exit, Graph, numbers_of
from .message import check_name, new_id
from .signature import Part, Signature, app_of_nothing, checked_policy, fill

C = TypeVar("C", bound="Canvas")

_BEGINNING = ("countdown", "eta")
_OF_THE_WHOLE = ("task_id", "on_error", "link", "link_error", "name", "keep")
"""What a flow takes besides the options of a call: its id; ``"stop"`` or ``"continue"``; what is called at its end, well or not; how
it is shown; and for how many seconds it is kept after its end."""


class Canvas(Part):
    """Several calls, arranged."""

    label = "flow"

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    # -- building

    def set(self: C, **options: Any) -> C:
        """Options for all of it, in place; answers with itself: those of a call (for calls that say nothing themselves; ``countdown``
        and ``eta`` for those that begin it), ``on_error``, ``link``, ``link_error``, ``task_id``, ``name``, ``keep``."""
        unknown = {name: value for name, value in options.items() if name not in CALL_OPTIONS and name not in _OF_THE_WHOLE}
        if unknown:
            refuse_options(self.label, unknown)
        if "on_error" in options:
            self.on_error = checked_policy(options["on_error"])
        self.options.update(options)
        return self

    def link(self: C, callback: Part) -> C:
        """Call ``callback`` with the value once all of it has ended well; answers with itself."""
        return self.set(link=[*_several(self.options.get("link")), callback])

    def link_error(self: C, errback: Part) -> C:
        """Call ``errback`` once, with a :class:`~umbel.FlowFailure`, if a member fails whose failure is no value; answers with itself."""
        return self.set(link_error=errback)

    # -- sending

    def delay(self, *args: Any, **kwargs: Any) -> FlowResult[Any]:
        """Send it; arguments go to what begins it. The same as ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> FlowResult[Any]:
        """Send it, with further arguments for what begins it, and options as ``set`` takes them.

        Raises what a call raises: ``TypeError``, ``ArgumentError``, ``EnqueueRefused`` (it will not run to its end), ``EnqueueUnknown``.
        With a ``task_id`` of one's own, which is the flow's id, sending it once more changes nothing while the flow is kept.
        """
        return send(self, args, kwargs, options)

    async def adelay(self, *args: Any, **kwargs: Any) -> FlowResult[Any]:
        """:meth:`delay` from a coroutine: it is sent on a thread, so the event loop goes on."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> FlowResult[Any]:
        """:meth:`apply_async` from a coroutine."""
        from asyncio import to_thread

        return await to_thread(lambda: self.apply_async(args, kwargs, **options))

    def __call__(self, *args: Any, **kwargs: Any) -> FlowResult[Any]:
        """Send it, as Celery's do."""
        return self.apply_async(args, kwargs)

    def lay(self, graph: Graph, entry: Entry) -> Exit:
        before = graph.policy
        graph.policy = self.on_error or before
        exit = self.laid(graph, entry)
        graph.policy = before
        _wishes(self, graph, exit)
        return exit

    def laid(self, graph: Graph, entry: Entry) -> Exit:
        """``lay`` without what is the same for all shapes."""
        raise NotImplementedError


class chain(Canvas):
    """One after the other: each is given the value of the one before, in front of its own arguments. A group followed by another part is
    a chord by itself. The value is the last one's."""

    label = "chain"

    def __init__(self, *parts: Any) -> None:
        """Parts, or one iterable of them."""
        super().__init__()
        self.parts = [checked_part(self, at, each) for at, each in enumerate(_spread(parts))]

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Part):
            return NotImplemented
        if self.options:
            return chain(self, other)
        return chain(*self.parts, *(other.parts if type(other) is chain and not other.options else (other,)))

    def laid(self, graph: Graph, entry: Entry) -> Exit:
        exit = Exit(entry.after, entry.values[0] if entry.values else None)
        for part in self.parts:
            exit = part.lay(graph, entry)
            entry = Entry(exit.ends, (exit.value,))
        return exit

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> chain:
        return _copied(self, chain(*[self.parts[0].given(args, kwargs), *self.parts[1:]] if self.parts else ()))

    @property
    def app(self) -> Any:
        return next((part.app for part in self.parts if part.app is not None), None)

    @property
    def kind(self) -> Any:
        return self.parts[-1].kind if self.parts else None

    def __repr__(self) -> str:
        return " | ".join(f"({part!r})" if isinstance(part, group | chord) else repr(part) for part in self.parts)


class group(Canvas):
    """All at once. The value is the list of theirs, in order. A generator that begins a flow is read while it is sent, so its members may
    run before it ends, and are never all in memory; elsewhere it is read when the flow is sent."""

    label = "group"

    def __init__(self, *parts: Any) -> None:
        """Parts, or one iterable of them."""
        super().__init__()
        self.stream: Iterator[Any] | None = None
        self._parts: list[Part] = []
        if len(parts) == 1 and not isinstance(parts[0], Part) and isinstance(parts[0], Iterator):
            self.stream = parts[0]
        else:
            self._parts = [checked_part(self, at, each) for at, each in enumerate(_spread(parts))]
        self._given: tuple[Sequence[Any], Mapping[str, Any] | None] | None = None

    @property
    def parts(self) -> list[Part]:
        """Its members; a generator is read to its end for it."""
        if self.stream is not None:
            self._parts, self.stream = [self.member(at, each) for at, each in enumerate(self.stream)], None
        return self._parts

    def member(self, at: int, part: Any) -> Part:
        """One that was just read."""
        checked = checked_part(self, at, part)
        return checked.given(*self._given) if self._given is not None else checked

    def laid(self, graph: Graph, entry: Entry) -> Exit:
        if not self.parts:
            return Exit(entry.after, [])
        entry = graph.narrowed(entry, len(self.parts))
        exits = [part.lay(graph, entry) for part in self.parts]
        return Exit(tuple(dict.fromkeys(end for exit in exits for end in exit.ends)), [exit.value for exit in exits])

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> group:
        if self.stream is not None:
            copy = group(self.stream)
            before = self._given or ((), {})
            copy._given = ((*args, *before[0]), {**(before[1] or {}), **(kwargs or {})})
            return _copied(self, copy)
        return _copied(self, group([part.given(args, kwargs) for part in self.parts]))

    @property
    def app(self) -> Any:
        return None if self.stream is not None else next((part.app for part in self.parts if part.app is not None), None)

    def __repr__(self) -> str:
        return "group(…)" if self.stream is not None else f"group({', '.join(map(repr, self.parts))})"


class chord(Canvas):
    """All at once, then a body that is given the list of their values, once. ``chord(header)(body)`` sends it."""

    label = "chord"

    def __init__(self, header: Any, body: Part | None = None) -> None:
        """``header``: a group, or an iterable of parts."""
        super().__init__()
        self.header = header if isinstance(header, group) else group(header)
        self.body = None if body is None else checked_part(self, 1, body)

    def __call__(self, *args: Any, **kwargs: Any) -> FlowResult[Any]:
        """``chord(header)(body)``; of one that has its body, send it."""
        if self.body is None:
            return _copied(self, chord(self.header, checked_part(self, 1, args[0] if args else None))).apply_async((), None, **kwargs)
        return self.apply_async(args, kwargs)

    def laid(self, graph: Graph, entry: Entry) -> Exit:
        exit = self.header.lay(graph, entry)
        return self._body().lay(graph, Entry(exit.ends, (exit.value,)))

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> chord:
        return _copied(self, chord(self.header.given(args, kwargs), self.body))

    @property
    def app(self) -> Any:
        return self.header.app if self.header.app is not None else self._body().app

    @property
    def kind(self) -> Any:
        return self._body().kind

    def _body(self) -> Part:
        if self.body is None:
            raise ConfigError("a chord needs a body: chord(header, body), or chord(header)(body)")
        return self.body

    def __repr__(self) -> str:
        return f"chord({self.header!r}, {self.body!r})"


def chunked(make: Any, items: Iterable[Any], size: Any) -> group:
    """A group of one call for each ``size`` items, made as the items are read. ``make`` makes the call of one list."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"chunks: n = {size!r}: it must be a whole number from 1 on")

    def calls() -> Iterator[Part]:
        rest = iter(items)
        while chunk := list(islice(rest, size)):
            yield make(chunk)

    return group(calls())


# -- sending


def send(part: Part, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]) -> FlowResult[Any]:
    """Make a flow of a part and store it."""
    if args or kwargs:
        part = part.given(tuple(args), kwargs)
    if options:
        part = _with(part, options)
    wishes = part.options if isinstance(part, Canvas) else {}
    graph = Graph()
    graph.options = {name: value for name, value in wishes.items() if name in CALL_OPTIONS and name not in (*_BEGINNING, "task_id")}
    graph.beginning = {name: wishes[name] for name in _BEGINNING if name in wishes}
    stream, exit, held, app = _laid(part, graph)
    if app is None:
        app = app_of_nothing()
    id = wishes["task_id"] if wishes.get("task_id") is not None else new_id(app.producer.clock.now())
    plan = FlowPlan(
        id=check_name("task_id's", id),
        graph=graph,
        result=exit.value,
        label=str(wishes.get("name") or _shown(part)),
        on_error=checked_policy(wishes.get("on_error") or part.on_error or "stop"),
        handler=_handler(graph),
        ttl=wishes.get("keep"),
        stream=stream,
        held=held,
    )
    FlowSender(app.producer, plan, numbers_of(exit.value)).send()
    return FlowResult(id, app.producer, kind=part.kind if isinstance(exit.value, int) else None)


def _laid(part: Part, graph: Graph) -> tuple[Stream | None, Exit, tuple[int, ...], Any]:
    """(what is read while it is sent, the end of all, the numbers of those that wait for what is read, the app)."""
    streamed, rest = _streamed(part)
    if streamed is None or streamed.stream is None:
        return None, part.lay(graph, Entry()), (), part.app
    first = next(streamed.stream, None)
    members = (streamed.member(at, each) for at, each in enumerate(_after(first, streamed.stream)))
    streamed.stream = None

    def lay(into: Graph, member: Part) -> Exit:
        into.options, into.beginning, into.policy = graph.options, graph.beginning, streamed.on_error
        return member.lay(into, Entry())

    stream = Stream(iter(members), lay)
    value: Any = {"b": BLOCK}
    exit, held = Exit((), value), tuple[int, ...]()
    if rest:
        entry = Entry((), (value,))
        number = graph.next
        if not isinstance(rest[0], Signature):
            entry = Entry((graph.add(None, entry),), entry.values)
        exit, held = chain(*rest).lay(graph, entry), (number,)
    _wishes(part, graph, exit)
    app = (first.app if isinstance(first, Part) else None) or next((each.app for each in rest if each.app is not None), None)
    return stream, exit, held, app


def _wishes(part: Part, graph: Graph, exit: Exit) -> None:
    """What is to be called at the end of a part."""
    if isinstance(part, Canvas):
        if "link_error" in part.options:
            graph.errbacks.append(part.options["link_error"])
        for callback in _several(part.options.get("link")):
            callback.lay(graph, Entry(exit.ends, (exit.value,)))


def _streamed(part: Part, top: bool = True) -> tuple[group | None, list[Part]]:
    """The group at the beginning whose members are still to be read, and what follows it. What has wishes of its own inside of another
    is not taken apart: it is read when it is laid."""
    if not isinstance(part, Canvas) or (not top and (part.options or part.on_error)):
        return None, []
    found: tuple[group | None, list[Part]] = (None, [])
    if isinstance(part, group):
        found = (part if part.stream is not None else None, [])
    elif isinstance(part, chord):
        found = (_streamed(part.header, False)[0], [part._body()])
    elif isinstance(part, chain) and part.parts:
        streamed, rest = _streamed(part.parts[0], False)
        found = (streamed, [*rest, *part.parts[1:]])
    return (None, []) if not found[1] and "link" in part.options else found


def _after(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
        yield from rest


def _handler(graph: Graph) -> Any:
    found = list({id(each): each for each in graph.errbacks}.values())
    if len(found) > 1:
        raise ConfigError("a flow has one failure handler: say link_error of the whole, once")
    if not found:
        return None
    if not isinstance(found[0], Signature):
        raise ConfigError(f"link_error: {found[0]!r} must be one call, such as notify.s()")
    return found[0].bound_to({}, {})


def _with(part: Part, options: Mapping[str, Any]) -> Part:
    """A copy with more options."""
    copy = part.given((), None)
    if isinstance(copy, Canvas):
        links = [*_several(copy.options.get("link")), *_several(options.get("link"))]
        return copy.set(**{**options, "link": links} if links else options)
    return copy


def _shown(part: Part) -> str:
    return part.label if isinstance(part, Canvas) else part.task if isinstance(part, Signature) else "flow"


def _copied(old: C, new: C) -> C:
    new.options, new.on_error = dict(old.options), old.on_error
    return new


def _several(found: Any) -> list[Part]:
    if found is None:
        return []
    return list(found) if isinstance(found, list | tuple) else [found]


def _spread(parts: tuple[Any, ...]) -> Iterable[Any]:
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], Part) and isinstance(parts[0], Iterable) else parts


def checked_part(whole: Canvas, at: int, part: Any) -> Part:
    """``part`` itself, if it is one."""
    if not isinstance(part, Part):
        raise ConfigError(f"{whole.label}: part {at} is a {type(part).__name__}, not a call: write task.s(…), or a chain, group or chord")
    return part


def _linked(signature: Signature[Any]) -> FlowResult[Any]:
    """Send one call that has links."""
    return send(signature, (), None, {})


fill(chain, _linked)
