"""What depends on which app and which run are current: ``current_app``, ``current_task``, ``shared_task``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from .app import Umbel, declared
from .options import TaskKeywords
from .registry import get_current, share
from .request import current
from .task import Task

P = ParamSpec("P")
R = TypeVar("R")


class _Proxy:
    """Stands for whatever ``find`` answers with at the moment of use."""

    __slots__ = ("_find", "_name")

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_find", find)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._find(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._find(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    def __bool__(self) -> bool:
        try:
            self._find()
        except Exception:  # whatever it says, there is none
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return bool(self) and self._find() == other

    def __hash__(self) -> int:
        return hash(self._find())

    def __dir__(self) -> list[str]:
        return dir(self._find())

    def __repr__(self) -> str:
        return repr(self._find()) if self else f"<no {self._name}>"


def _current_task() -> Any:
    request = current.get()
    if request is None:
        raise RuntimeError("current_task: no task is running here")
    return request.definition


current_app: Umbel = cast(Umbel, _Proxy("current app", get_current))
"""The app that was made last, or set with ``app.set_current()``; in a worker, the worker's."""

current_task: Task[..., Any] = cast("Task[..., Any]", _Proxy("current task", _current_task))
"""The task that is running here; false outside of one."""


@overload
def shared_task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: Literal[True], base: type[Task[..., Any]] | None = None, **options: Unpack[TaskKeywords]
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def shared_task(
    *, bind: Literal[False] = False, base: type[Task[..., Any]] | None = None, **options: Unpack[TaskKeywords]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def shared_task(fn: Callable[..., Any] | None = None, /, *, base: type[Task[..., Any]] | None = None, **options: Any) -> Any:
    """Declare a task for every app, without having one: for packages that others use. Takes what ``@app.task`` takes.

    Its calls go through the app that is current at the time of the call.
    """

    def declare(decorated: Callable[..., Any]) -> Task[..., Any]:
        task = declared(decorated, base, options, get_current)
        share(task)
        return task

    return declare(fn) if fn is not None else declare
