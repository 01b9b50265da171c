"""A call that is not made yet: a task, some of its arguments, and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .call import CALL_OPTIONS, refuse_options
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


class Signature(Generic[R_co]):
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
        self.set(**dict(options or {}))

    @property
    def task(self) -> str:
        """The task's name."""
        return self.callee.name

    def set(self, **options: Any) -> Signature[R_co]:
        """Change options of the call (``queue=``, ``countdown=`` …) in place; answers with itself."""
        unknown = {name: value for name, value in options.items() if name not in CALL_OPTIONS}
        if unknown:
            refuse_options(self.callee.name, unknown)
        self.options.update(options)
        return self

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature[R_co]:
        """A copy, with more arguments and options."""
        own_args, own_kwargs = self._merged(args, kwargs)
        return Signature(self.callee, own_args, own_kwargs, {**self.options, **options}, immutable=self.immutable)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send it."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> AsyncResult[R_co]:
        """Send it with further arguments and options."""
        own_args, own_kwargs = self._merged(args, kwargs)
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
