"""A call is accepted exactly where Python would accept it, and refused in Python's words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from umbel.shape import is_coroutine, never_runs, shape_of


def nothing() -> None: ...
def one(a: Any) -> None: ...
def defaults(a: Any, b: Any = 1, c: Any = None) -> None: ...
def keyword_only(a: Any, *, b: Any, c: Any = 2) -> None: ...
def positional_only(a: Any, b: Any = 1, /, c: Any = 2) -> None: ...
def required_only(a: Any, /, *, b: Any) -> None: ...
def rest(a: Any, *args: Any, b: Any = 1, **kwargs: Any) -> None: ...
def only_rest(*args: Any) -> None: ...
def only_named(**kwargs: Any) -> None: ...
def same_name(a: Any, /, **kwargs: Any) -> None: ...


def passing_on(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def injecting(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(b: Any) -> Any:
        return fn(1, b)

    return wrapper


class Callable_:
    def __call__(self, a: Any, b: Any = 1) -> None: ...

    def method(self, a: Any, *, b: Any = 1) -> None: ...

    @classmethod
    def of_class(cls, a: Any) -> None: ...

    @staticmethod
    def static(a: Any) -> None: ...


FUNCTIONS: list[Callable[..., Any]] = [
    nothing,
    one,
    defaults,
    keyword_only,
    positional_only,
    required_only,
    rest,
    only_rest,
    only_named,
    same_name,
    passing_on(defaults),
    passing_on(passing_on(keyword_only)),
    injecting(defaults),
    functools.partial(defaults, 1),
    functools.partial(defaults, b=1),
    Callable_(),
    Callable_().method,
    Callable_.of_class,
    Callable_.static,
    lambda a, b=1: None,
]


@given(
    st.sampled_from(range(len(FUNCTIONS))),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcdx"), st.integers(), max_size=4),
)
def test_accepts_what_python_accepts(which: int, args: list[int], kwargs: dict[str, int]) -> None:
    fn = FUNCTIONS[which]
    shape = shape_of(fn)
    said = python_says(fn, args, kwargs)
    assert shape.accepts(args, kwargs) == (said is None)
    complaint = shape.complaint(args, kwargs)
    assert (complaint is None) == (said is None)
    if which < 10:
        assert said == (str(complaint) if complaint else None), "a plain function's complaint is the same word for word"


def python_says(fn: Callable[..., Any], args: list[int], kwargs: dict[str, int]) -> str | None:
    try:
        fn(*args, **kwargs)
    except TypeError as exc:
        return str(exc)
    return None


def bound(self: Any, a: Any, *, b: Any = 1) -> None: ...
def bound_positional(self: Any, a: Any, /) -> None: ...
def bound_rest(*args: Any) -> None: ...


@given(
    st.sampled_from((bound, bound_positional, bound_rest)),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(("a", "b", "self")), st.integers(), max_size=3),
)
def test_bound_functions_too(fn: Callable[..., Any], args: list[int], kwargs: dict[str, int]) -> None:
    shape = shape_of(fn, bound=True)
    said = python_says(functools.partial(fn, None), args, kwargs)
    complaint = shape.complaint(args, kwargs)
    assert shape.accepts(args, kwargs) == (said is None)
    assert said == (str(complaint) if complaint else None)


def test_builtins_that_do_not_say_accept_all() -> None:
    assert shape_of(dict).accepts((1, 2, 3), {"x": 1}) or shape_of(dict).complaint((1, 2, 3), {"x": 1})


def test_names_of_places() -> None:
    assert [shape_of(rest).name_of(i) for i in range(3)] == ["a", "args[0]", "args[1]"]


def test_kinds_of_functions() -> None:
    async def coroutine() -> None: ...
    def generator() -> Any:
        yield

    async def async_generator() -> Any:
        yield

    assert is_coroutine(coroutine)
    assert is_coroutine(functools.partial(coroutine))
    assert not is_coroutine(nothing)
    assert never_runs(generator)
    assert never_runs(async_generator)
    assert not never_runs(coroutine)
