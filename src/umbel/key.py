"""Keys of locks, limits and duplicates: which text a call's arguments make.

A key is a format string over the call's arguments as the function sees them, defaults included (``"sync:{account_id}"``,
``"{order.customer_id}"``, ``"{day:%Y-%m}"``), or a callable that takes the call's arguments and returns text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from .errors import ArgumentError, ConfigError
from .shape import Shape

LATER = object()
"""Stands for an argument that is not known yet: a step before this one, in a flow, will give it."""
KEY_MAX = 200
"""Bytes of a key as it is; of a longer one a beginning and a digest stand for it, so that any text may be one."""
_HEAD = 100


class _Field(msgspec.Struct, frozen=True):
    """One replacement field: an argument, the way to a value in it, and how that is written."""

    argument: str
    path: tuple[str, ...]
    spec: str


class Key:
    """A key of one task's calls. Made when the task is declared, so a name that cannot be found is found then."""

    def __init__(self, task: str, option: str, source: str | Callable[..., Any], shape: Shape) -> None:
        """``shape`` is that of the task's function. Raises ``ConfigError``."""
        self._where = f"{task}: {option} = {source!r}" if isinstance(source, str) else f"{task}: {option}"
        self._source = source
        self._shape = shape
        self._parts: tuple[str | _Field, ...] = ()
        self._defaults: Mapping[str, Any] | None = None
        if isinstance(source, str):
            self._parts = tuple(self._parsed(source))
            self._check_names()

    @property
    def fields(self) -> frozenset[str] | None:
        """The arguments that it depends on; None for a callable, which does not say."""
        return None if callable(self._source) else frozenset(part.argument for part in self._parts if isinstance(part, _Field))

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """The key of a call that the function takes; None where a callable answered with None. ``ArgumentError`` where there is none."""
        try:
            if callable(self._source):
                self._refuse_later("an argument", [*args, *kwargs.values()])
                made = self._source(*args, **kwargs)
            else:
                made = self._formatted(args, kwargs)
            if made is None:
                return None
            if isinstance(made, bool) or not isinstance(made, str | int):
                made = self._text_of(made)
            return fitting(str(made))
        except ArgumentError:
            raise
        except Exception as exc:  # whatever a foreign callable or a foreign value's format does
            raise ArgumentError(f"{self._where}: no key can be made of this call: {type(exc).__name__}: {exc}") from exc

    def _text_of(self, made: object) -> str:
        if type(made).__name__ == "UUID":
            return str(made)
        raise ArgumentError(f"{self._where}: a key must be text (or None for no key), the callable returned {type(made).__name__}")

    # -- format strings

    def _parsed(self, source: str) -> Iterator[str | _Field]:
        from string import Formatter

        try:
            for literal, field, spec, conversion in Formatter().parse(source):
                if literal:
                    yield literal
                if field is not None:
                    if conversion or "{" in (spec or ""):
                        raise ConfigError(f"{self._where}: {{{field}}} may have a format, such as {{{field}:05}}, and nothing more")
                    yield self._field(field, spec or "")
        except ValueError as exc:
            raise ConfigError(f"{self._where} is no format string: {exc}") from None

    def _field(self, field: str, spec: str) -> _Field:
        first, *path = field.replace("[", ".[").split(".")
        for step in (first, *path):
            name = step[1:-1] if step.startswith("[") and step.endswith("]") and step is not first else step
            if not name or name.startswith("_") or (name is step and not step.isidentifier()):
                raise ConfigError(
                    f"{self._where}: {{{field}}} must name an argument, or a value in one: {{account_id}}, {{order.customer}}, {{row[id]}}"
                )
        return _Field(first, tuple(path), spec)

    def _check_names(self) -> None:
        shape = self._shape
        known = [parameter.name for parameter in shape.parameters]
        for name in sorted(self.fields or ()):
            if name not in known and not shape.varkw:
                raise ConfigError(f"{self._where}: the task has no parameter {name!r}; it has {', '.join(known) or 'none'}")

    def _formatted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        return "".join(part if isinstance(part, str) else self._written(part, args, kwargs) for part in self._parts)

    def _written(self, field: _Field, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        value = self._argument(field.argument, args, kwargs)
        self._refuse_later(repr(field.argument), [value])
        for step in field.path:
            value = _item(value, step[1:-1]) if step.startswith("[") else getattr(value, step)
        return format(value, field.spec)

    def _refuse_later(self, what: str, values: Sequence[Any]) -> None:
        if any(value is LATER for value in values):
            raise ArgumentError(
                f"{self._where}: in this flow {what} comes from the step before, and is not known when the flow is sent; "
                "give what the key is made of in the call itself"
            )

    def _argument(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if name in kwargs:
            return kwargs[name]
        for given, parameter in zip(args, self._shape.positional, strict=False):
            if parameter.name == name:
                return given
        if self._defaults is None:
            self._defaults = _defaults_of(self._shape)
        if name not in self._defaults:
            raise ArgumentError(f"{self._where}: the call has no argument {name!r}")
        return self._defaults[name]


def fitting(key: str) -> str:
    """The key itself, or what stands for one that is too long. ``UnicodeEncodeError`` for text that UTF-8 cannot carry."""
    data = key.encode()
    if len(data) <= KEY_MAX:
        return key
    import hashlib  # with OpenSSL behind it, for keys that hardly anybody has

    return f"{data[:_HEAD].decode(errors='ignore')}~{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _item(value: Any, step: str) -> Any:
    return value[int(step)] if isinstance(value, Sequence) else value[step]


def _defaults_of(shape: Shape) -> Mapping[str, Any]:
    import inspect

    found = inspect.signature(shape.owner).parameters.values() if shape.owner is not None else ()
    return {parameter.name: parameter.default for parameter in found if parameter.default is not parameter.empty}
