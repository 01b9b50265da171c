"""What the setting ``redact`` hides: the values of named arguments, wherever a call, its error or its result is shown.

Two ways. Where the data itself is shown, a value below a hidden name is replaced, at any depth: named arguments, positional
ones by the parameter that they fill, keys of dicts, fields of objects. Where only text is left (an error's words, a trace),
each place where such a value is written out is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .message import Body
from .shape import Shape

HIDDEN = "***"
EVERY = "*"
_ANYWHERE = 4
"""Characters from which a value is hidden inside of words too; shorter ones, from two, only where they stand alone: one
character, hidden wherever it is, would leave nothing to read, and names nobody's account."""
_DEPTH_MAX = 100


class Redaction:
    """The names that are hidden, whatever their case; ``*`` is every name."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.casefold() for name in names)

    def __bool__(self) -> bool:
        return bool(self._names)

    def hides(self, name: object) -> bool:
        return isinstance(name, str) and (name.casefold() in self._names or EVERY in self._names)

    def value(self, value: Any) -> Any:
        """Plain data with what is hidden replaced; other objects stay as they are."""
        return self._value(value, 0) if self._names else value

    def _value(self, value: Any, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            return HIDDEN
        if isinstance(value, dict):
            return {key: HIDDEN if self.hides(key) else self._value(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(inner, depth + 1) for inner in value]
        return value

    def args(self, args: Any, shape: Shape | None) -> Any:
        """Positional arguments by the parameters that they fill. Without the function's ``shape`` nobody knows their names:
        all are hidden."""
        if not self._names or not isinstance(args, list | tuple):
            return self.value(args)
        if shape is None:
            return [HIDDEN] * len(args)
        return [HIDDEN if self._hides_at(shape, i) else self.value(arg) for i, arg in enumerate(args)]

    def _hides_at(self, shape: Shape, index: int) -> bool:
        if index < len(shape.positional):
            return self.hides(shape.positional[index].name)
        return not shape.varargs or self.hides(shape.varargs)  # more than the function takes: whatever it is

    def call_text(self, args: Iterable[Any], kwargs: Mapping[str, Any], shape: Shape | None) -> str:
        """Arguments as Python would write them, between the parentheses."""
        told = list(args)
        hidden = self.args(told, shape)
        shown = [self._repr(value) if hide is not HIDDEN else HIDDEN for value, hide in zip(told, hidden, strict=True)]
        shown += [f"{name}={HIDDEN if self.hides(name) else self._repr(value)}" for name, value in kwargs.items()]
        return ", ".join(shown)

    def _repr(self, value: Any) -> str:
        return self.secrets_of(value).hidden_in(repr(value)) if self._names else repr(value)

    def secrets(self, args: Any, kwargs: Any, shape: Shape | None, body: Body | None = None) -> Secrets:
        """The hidden values of a call, as they were given and as they travel in ``body``. Without a ``shape``, all that is
        positional."""
        if not self._names:
            return Secrets(())
        found = self._values(args, kwargs, shape)
        if body is not None:  # as it came: the task may have changed what it was given
            found += self._values(decoded(body.a), decoded(body.k), shape)
        return Secrets(found)

    def _values(self, args: Any, kwargs: Any, shape: Shape | None) -> list[Any]:
        found: list[Any] = []
        for index, value in enumerate(args if isinstance(args, list | tuple) else ()):
            hidden = shape is None or self._hides_at(shape, index)
            found += _leaves(value) if hidden else self._below(value)
        return [*found, *self._below(kwargs)]

    def secrets_of(self, value: Any) -> Secrets:
        """The hidden values inside of one."""
        return Secrets(self._below(value))

    def _below(self, value: Any, depth: int = 0) -> Iterator[Any]:
        if depth > _DEPTH_MAX:
            return
        for name, inner in _parts(value):
            if self.hides(name):
                yield from _leaves(inner)
            else:
                yield from self._below(inner, depth + 1)


def decoded(raw: msgspec.Raw) -> Any:
    """Arguments as they travel, as plain data; None for none, text for what is not JSON."""
    data = bytes(raw)
    try:
        return msgspec.json.decode(data) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace")


class Secrets:
    """Values that must not stand in a text."""

    def __init__(self, values: Iterable[Any]) -> None:
        forms = {form for value in values for form in _written(value)}
        anywhere = sorted((form for form in forms if len(form) >= _ANYWHERE), key=len, reverse=True)
        alone = [form for form in forms if 2 <= len(form) < _ANYWHERE]
        parts = [re.escape(form) for form in anywhere] + [rf"(?<!\w){re.escape(form)}(?!\w)" for form in alone]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def hidden_in(self, text: str) -> str:
        """``text`` with each of them replaced."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


def _parts(value: Any) -> Iterable[tuple[object, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return ((None, inner) for inner in value)
    if isinstance(value, msgspec.Struct):
        return ((name, getattr(value, name)) for name in value.__struct_fields__)
    fields = getattr(type(value), "__dataclass_fields__", None) or getattr(type(value), "__attrs_attrs__", None)
    if fields:  # by their marks, since importing dataclasses takes 10 ms that a producer need not pay
        names = fields if isinstance(fields, dict) else [field.name for field in fields]
        return ((name, getattr(value, name, None)) for name in names)
    if hasattr(type(value), "model_fields"):  # a pydantic model
        return list(vars(value).items())
    return ()


def _leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    """What stands inside a hidden value, down to what has no parts; names of fields are no secrets."""
    if depth > _DEPTH_MAX:
        return
    parts = list(_parts(value))
    if not parts and value is not None and not isinstance(value, bool):
        yield value
    for _, inner in parts:
        yield from _leaves(inner, depth + 1)


def _written(value: Any) -> Iterator[str]:
    """How a value may stand in a text: as it is, as Python quotes it, as JSON does."""
    if isinstance(value, list | tuple | dict | set | frozenset):  # an empty one
        return
    try:
        text, quoted = str(value), repr(value)
    except Exception:  # a foreign object that cannot be written does not stand in a text
        return
    yield text
    yield quoted
    if isinstance(value, str):
        yield quoted[1:-1]
        yield json.dumps(value)[1:-1]
        yield json.dumps(value, ensure_ascii=False)[1:-1]
        yield text.strip()
    elif isinstance(value, bytes | bytearray):
        yield quoted.partition("'")[2].rstrip("'")
        yield value.decode("utf-8", "replace")
