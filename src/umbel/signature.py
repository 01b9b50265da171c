"""A call that is not made yet: a task, some of its arguments, and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .call import CALL_OPTIONS, Membership, refuse_options
from .envelope import Envelope
from .errors import ConfigError
from .graph import Entry, Exit, Graph, Takes
from .result import AsyncResult

R_co = TypeVar("R_co", covariant=True)


class Callee(Protocol):
    """What a signature asks of its task."""

    name: str

    @property
    def apply_async(self) -> Callable[..., AsyncResult[Any]]:
        """Sends one call."""
        ...

    @property
    def shown_call(self) -> Callable[[Sequence[Any], Mapping[str, Any]], str]:
        """Arguments as they may be shown."""
        ...

    @property
    def run(self) -> Callable[..., Any]:
        """Runs it here and now."""
        ...

    @property
    def app(self) -> Any:
        """The app that it is sent through."""
        ...

    @property
    def member(self) -> Callable[[tuple[Any, ...], dict[str, Any], Mapping[str, Any], Membership], tuple[Envelope, int]]:
        """Makes the message of a call that belongs to a flow."""
        ...


class Part:
    """What a flow is made of: a call, or several that are arranged. ``a | b`` is ``chain(a, b)``."""

    on_error: str | None = None
    """``"stop"`` or ``"continue"``, of this part alone; None: as the flow says."""

    def lay(self, graph: Graph, entry: Entry) -> Exit:
        """Put it into a graph, behind ``entry``."""
        raise NotImplementedError

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Part:
        """A copy whose beginning has these arguments too."""
        raise NotImplementedError

    @property
    def app(self) -> Any:
        """The app of its first call; None if there is no call in it."""
        raise NotImplementedError

    @property
    def kind(self) -> Callable[[], Any] | None:
        """What answers with the type of its value; None where it is made of several."""
        return None

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Part):
            return NotImplemented
        return _Shapes.chain(self, other)


class _Shapes:
    """Filled by ``canvas``, which knows all shapes and stands above this module."""

    chain: Callable[..., Any]
    linked: Callable[..., Any]
    app: Callable[[], Any]


def fill(chain: Callable[..., Any], linked: Callable[..., Any]) -> None:
    """What ``|`` makes, and what sends a call with links."""
    _Shapes.chain, _Shapes.linked = staticmethod(chain), staticmethod(linked)


def fill_app(app: Callable[[], Any]) -> None:
    """Say which app sends a flow in which no call says it: the current one. ``registry`` knows it, and stands above."""
    _Shapes.app = staticmethod(app)


def app_of_nothing() -> Any:
    """The app for what has no call in it."""
    return _Shapes.app()


class Signature(Part, Generic[R_co]):
    """What ``task.s(...)`` makes: call it later, hand it on, change its options.

    Arguments that come when it is called stand before those it has; named ones replace. An immutable one (``task.si(...)``)
    takes none.
    """

    def __init__(
        self,
        task: Callee,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
    ) -> None:
        self.callee = task
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.options: dict[str, Any] = {}
        self.immutable = immutable
        self.links: list[Part] = []
        self.errback: Part | None = None
        self.set(**dict(options or {}))

    @property
    def task(self) -> str:
        """The task's name."""
        return self.callee.name

    def set(self, **options: Any) -> Signature[R_co]:
        """Change options of the call (``queue=``, ``countdown=`` …) in place; answers with itself. ``on_error="continue"``: in a flow,
        its failure is a value for those that follow."""
        if "on_error" in options:
            self.on_error = checked_policy(options.pop("on_error"))
        for callback in _several(options.pop("link", None)):
            self.link(callback)
        for errback in _several(options.pop("link_error", None)):
            self.link_error(errback)
        unknown = {name: value for name, value in options.items() if name not in CALL_OPTIONS}
        if unknown:
            refuse_options(self.callee.name, unknown)
        self.options.update(options)
        return self

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature[R_co]:
        """A copy, with more arguments and options."""
        own_args, own_kwargs = self._merged(args, kwargs)
        return self._copy(own_args, own_kwargs, {**self.options, **options})

    def _copy(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Signature[R_co]:
        copy: Signature[R_co] = Signature(self.callee, args, kwargs, options, immutable=self.immutable)
        copy.links, copy.errback, copy.on_error = list(self.links), self.errback, self.on_error
        return copy

    # -- as a part of a flow

    def link(self, callback: Part) -> Signature[R_co]:
        """Call ``callback`` with the value once this has ended well; answers with itself."""
        self.links.append(callback)
        return self

    def link_error(self, errback: Part) -> Signature[R_co]:
        """Call ``errback`` with a :class:`~umbel.FlowFailure` if this, or the flow that it is a part of, fails; answers with itself."""
        self.errback = errback
        return self

    def lay(self, graph: Graph, entry: Entry) -> Exit:
        takes = Takes() if self.immutable else Takes(list(entry.values), dict(entry.named))
        number = graph.add(self.bound_to(graph.options, graph.beginning), entry, takes=takes, on_error=self.on_error)
        if self.errback is not None:
            graph.errbacks.append(self.errback)
        for callback in self.links:
            callback.lay(graph, Entry((number,), (number,)))
        return Exit((number,), number)

    def bound_to(self, options: Mapping[str, Any], beginning: Mapping[str, Any]) -> BoundCall:
        """Whoever makes its message as a member: ``options`` where it says nothing itself, ``beginning`` too if it begins the flow."""
        return BoundCall(self, options, beginning)

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Signature[R_co]:
        return self.clone(args, kwargs)

    @property
    def app(self) -> Any:
        return self.callee.app

    @property
    def kind(self) -> Callable[[], Any] | None:
        return getattr(self.callee, "result_type", None)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send it."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> AsyncResult[R_co]:
        """Send it with further arguments and options."""
        own_args, own_kwargs = self._merged(args, kwargs)
        if self.links or self.errback is not None:
            answer: AsyncResult[R_co] = _Shapes.linked(self._copy(own_args, own_kwargs, {**self.options, **options}))
            return answer
        return self.callee.apply_async(own_args, own_kwargs, **{**self.options, **options})

    def __call__(self, *args: Any, **kwargs: Any) -> R_co:
        """Run it here and now."""
        own_args, own_kwargs = self._merged(args, kwargs)
        value: R_co = self.callee.run(*own_args, **own_kwargs)
        return value

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "task": self.task,
            "args": list(self.args),
            "kwargs": dict(self.kwargs),
            "options": dict(self.options),
            "immutable": self.immutable,
        }

    def _merged(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.immutable:
            return self.args, dict(self.kwargs)
        return (*args, *self.args), {**self.kwargs, **(kwargs or {})}

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Signature) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it is a mutable value, and `set` changes it

    def __repr__(self) -> str:
        """The call as it would be written; the values of arguments that the app's ``redact`` names are ``***``."""
        try:
            shown = self.callee.shown_call(self.args, self.kwargs)
        except Exception:  # settings that cannot be read: a repr does not fail, and shows too little rather than too much
            shown = "…"
        return f"{self.task}.{'si' if self.immutable else 's'}({shown})"


class BoundCall:
    """A signature among the options of the whole flow."""

    __slots__ = ("beginning", "options", "signature")

    def __init__(self, signature: Signature[Any], options: Mapping[str, Any], beginning: Mapping[str, Any]) -> None:
        self.signature, self.options, self.beginning = signature, options, beginning

    @property
    def begins(self) -> str:
        """How it is shown: its task."""
        return self.signature.task

    def made(self, member: Membership, *, begins: bool) -> tuple[Envelope, int]:
        """Its message, and how many ms after it became ready it expires (0: as the message says)."""
        signature = self.signature
        options = {**self.options, **(self.beginning if begins else {}), **signature.options}
        if "countdown" in signature.options or "eta" in signature.options:
            options = {k: v for k, v in options.items() if k not in ("countdown", "eta") or k in signature.options}
        if options.get("task_id") is not None:
            raise ConfigError(f"{signature.task}: task_id is the id of a call that stands alone; a flow takes one for all of it")
        return signature.callee.member(signature.args, signature.kwargs, options, member)


def _several(found: Any) -> Sequence[Any]:
    return () if found is None else found if isinstance(found, list | tuple) else (found,)


def checked_policy(word: object) -> str:
    """``on_error`` as it may be."""
    if word not in ("stop", "continue"):
        raise ConfigError(f'on_error = {word!r}: it must be "stop" (what follows is abandoned) or "continue" (a failure is a value)')
    return str(word)
