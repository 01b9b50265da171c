"""The parameters of a function as a caller sees them: does a call fit, and if not, Python's own words for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

import msgspec

_VARARGS, _VARKEYWORDS, _GENERATOR, _COROUTINE = 0x04, 0x08, 0x20 | 0x200, 0x80
"""Bits of ``co_flags``; taken from here, since ``inspect`` costs 10 ms to import."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter that has a name of its own."""

    name: str
    required: bool
    positional: bool
    keyword: bool
    default_none: bool = False


class Shape:
    """What a function can be called with."""

    def __init__(
        self,
        name: str,
        parameters: Sequence[Parameter],
        *,
        varargs: str | None,
        varkw: str | None,
        bound: str | None = None,
        owner: Any = None,
    ) -> None:
        """``bound`` names a parameter more in front, which callers do not pass. ``owner`` has the annotations."""
        self.name = name
        self.parameters = tuple(parameters)
        self.varargs, self.varkw, self.bound, self.owner = varargs, varkw, bound, owner
        self.positional = tuple(p for p in parameters if p.positional)
        self.keywords = {p.name: i if p.positional else -1 for i, p in enumerate((*self.positional, *self._keyword_only())) if p.keyword}
        self.least = sum(p.required for p in self.positional)
        self.most = 1 << 30 if varargs else len(self.positional)
        self._required_keywords = tuple(p.name for p in self._keyword_only() if p.required)
        if self._required_keywords:
            self.least_alone = 1 << 31  # no call without keywords fits
        else:
            self.least_alone = self.least

    def _keyword_only(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if not p.positional)

    def accepts(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Would a plain call with these arguments begin?"""
        given = len(args)
        if not kwargs:
            return self.least_alone <= given <= self.most
        return given <= self.most and self._knows(kwargs, given) and self._has_required(kwargs, given)

    def _knows(self, kwargs: Mapping[str, Any], given: int) -> bool:
        """Does each keyword name a parameter that no positional argument has filled?"""
        keywords = self.keywords
        for name in kwargs:
            place = keywords.get(name)
            if place is None:
                if not self.varkw:
                    return False
            elif -1 < place < given:
                return False
        return True

    def _has_required(self, kwargs: Mapping[str, Any], given: int) -> bool:
        for parameter in self.positional[given : self.least]:
            if not (parameter.keyword and parameter.name in kwargs):
                return False
        return all(name in kwargs for name in self._required_keywords)

    def complaint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TypeError | None:
        """The ``TypeError`` of a plain call, word for word; None if it fits. Runs nothing of the function."""
        try:
            self._stub()(*((None,) if self.bound else ()), *args, **kwargs)
        except TypeError as exc:
            return TypeError(*exc.args)
        return None

    def name_of(self, index: int) -> str:
        """The name of the positional argument at ``index``, as a message shows it."""
        if index < len(self.positional):
            return self.positional[index].name
        return f"{self.varargs or 'args'}[{index - len(self.positional)}]"

    def _stub(self) -> Callable[..., None]:
        """A function of the same name and parameters that does nothing."""
        parts = [self.bound] if self.bound else []
        last_without_keyword = max((i for i, p in enumerate(self.positional) if not p.keyword), default=-1)
        for i, p in enumerate(self.positional):
            parts.append(p.name if p.required else f"{p.name}=None")
            if i == last_without_keyword:
                parts.append("/")
        keyword_only = self._keyword_only()
        if self.varargs:
            parts.append(f"*{self.varargs}")
        elif keyword_only:
            parts.append("*")
        parts += [p.name if p.required else f"{p.name}=None" for p in keyword_only]
        if self.varkw:
            parts.append(f"**{self.varkw}")
        space: dict[str, Any] = {}
        exec(f"def stub({', '.join(parts)}): pass", space)
        stub: FunctionType = space["stub"]
        stub.__qualname__ = self.name
        return stub


ANYTHING = Shape("task", (), varargs="args", varkw="kwargs")
"""The shape of a function that is not known here."""


def shape_of(fn: Callable[..., Any], *, bound: bool = False) -> Shape:
    """The shape of a callable. A decorator that passes everything on (``*args, **kwargs``) is looked through to what it
    wraps; one with parameters or a ``__signature__`` of its own is taken at its word."""
    seen = _unwrapped(fn)
    code = getattr(seen, "__code__", None)
    if isinstance(seen, FunctionType) and isinstance(code, CodeType) and not hasattr(seen, "__signature__"):
        return _of_code(seen, code, bound)
    return _of_signature(fn, bound)


def _unwrapped(fn: Any) -> Any:
    for _ in range(100):  # a chain of decorators has an end; a circle has not
        code = getattr(fn, "__code__", None)
        inner = getattr(fn, "__wrapped__", None)
        if inner is None or not isinstance(code, CodeType) or hasattr(fn, "__signature__"):
            break
        if code.co_argcount or code.co_kwonlyargcount or code.co_flags & (_VARARGS | _VARKEYWORDS) != _VARARGS | _VARKEYWORDS:
            break
        fn = inner
    return fn


def _of_code(fn: FunctionType, code: CodeType, bound: bool) -> Shape:
    names, count, only = code.co_varnames, code.co_argcount, code.co_kwonlyargcount
    defaults, keyword_defaults = fn.__defaults__ or (), fn.__kwdefaults__ or {}
    first_default = count - len(defaults)
    parameters = [
        Parameter(
            names[i], i < first_default, True, i >= code.co_posonlyargcount, i >= first_default and defaults[i - first_default] is None
        )
        for i in range(bound, count)
    ]
    parameters += [
        Parameter(name, name not in keyword_defaults, False, True, keyword_defaults.get(name, name) is None)
        for name in names[count : count + only]
    ]
    rest = count + only
    varargs = names[rest] if code.co_flags & _VARARGS else None
    varkw = names[rest + (varargs is not None)] if code.co_flags & _VARKEYWORDS else None
    return Shape(fn.__qualname__, parameters, varargs=varargs, varkw=varkw, bound=names[0] if bound and count else None, owner=fn)


def _of_signature(fn: Callable[..., Any], bound: bool) -> Shape:
    import inspect

    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    try:
        found = list(inspect.signature(fn).parameters.values())
    except (ValueError, TypeError):  # a built-in that does not say
        return Shape(name, (), varargs="args", varkw="kwargs", owner=fn)
    first = None
    if bound and found and found[0].kind in (found[0].POSITIONAL_ONLY, found[0].POSITIONAL_OR_KEYWORD):
        first = found.pop(0).name
    named = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    parameters = [
        Parameter(p.name, p.default is p.empty, p.kind is not p.KEYWORD_ONLY, p.kind is not p.POSITIONAL_ONLY, p.default is None)
        for p in named
    ]
    varargs = next((p.name for p in found if p.kind is p.VAR_POSITIONAL), None)
    varkw = next((p.name for p in found if p.kind is p.VAR_KEYWORD), None)
    owner = fn if hasattr(fn, "__annotations__") else type(fn).__call__
    return Shape(name, parameters, varargs=varargs, varkw=varkw, bound=first, owner=owner)


def is_coroutine(fn: Callable[..., Any]) -> bool:
    """Does a call of ``fn`` make a coroutine?"""
    return bool(_flags(fn) & _COROUTINE)


def never_runs(fn: Callable[..., Any]) -> bool:
    """Is ``fn`` a generator function, whose call runs nothing?"""
    return bool(_flags(fn) & _GENERATOR)


def _flags(fn: Any) -> int:
    while hasattr(fn, "func"):  # functools.partial
        fn = fn.func
    code = getattr(fn, "__code__", None) or getattr(getattr(type(fn), "__call__", None), "__code__", None)  # noqa: B004 - its code is wanted
    return code.co_flags if isinstance(code, CodeType) else 0
