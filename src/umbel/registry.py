"""Which tasks there are: those of one app, those shared by all, and which app is current."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .message import check_name
from .signature import fill_app
from .task import Task

AnyTask = Task[..., Any]


class Registry:
    """The tasks of one app, by name."""

    def __init__(self) -> None:
        self.tasks: dict[str, AnyTask] = {}
        self._aliases: dict[str, AnyTask] = {}
        self._shared_seen = 0

    def add(self, task: AnyTask) -> None:
        """Make a task known. The same function declared anew (a reload, a notebook) replaces; another under a taken name is a
        ``ConfigError``."""
        for name in (task.name, *task.options.aliases):
            other = self.tasks.get(name) or self._aliases.get(name)
            if other is not None and other is not task and not _same_place(other, task):
                raise ConfigError(
                    f"two tasks are called {name!r}: {_place(other)} and {_place(task)}; give one of them another name, @app.task(name=…)"
                )
        self.tasks[task.name] = task
        for alias in task.options.aliases:
            self._aliases[alias] = task

    def add_shared(self) -> None:
        """Make known what was shared since the last time."""
        while self._shared_seen < len(_shared):
            task = _shared[self._shared_seen]
            self._shared_seen += 1
            if task.name not in self.tasks:  # an app's own task of that name is meant to replace it
                self.add(task)

    def resolve(self, name: str) -> AnyTask | None:
        """The task that is called so, now or by an alias."""
        return self.tasks.get(name) or self._aliases.get(name)


def _same_place(one: AnyTask, other: AnyTask) -> bool:
    return _place(one) == _place(other)


def _place(task: AnyTask) -> str:
    fn = task.fn
    return f"{module_name(fn)}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def module_name(fn: Callable[..., Any]) -> str:
    """The module of a function, by the name under which a worker imports it: for a script, its file's name."""
    module = getattr(fn, "__module__", None) or type(fn).__module__
    if module != "__main__":
        return str(module)
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def task_name(fn: Callable[..., Any], given: str | None) -> str:
    """The name of a task: what was said, else its module's and its own."""
    if given is not None:
        try:
            return check_name("task", given)
        except TypeError as exc:
            raise ConfigError(str(exc)) from None
    own = getattr(fn, "__name__", None)
    if not own or own == "<lambda>":
        raise ConfigError(f"a {type(fn).__name__} has no name of its own: say @app.task(name=…)")
    return f"{module_name(fn)}.{own}"


_shared: list[AnyTask] = []
_current: list[Any] = []
"""The current app, if there is one."""


def share(task: AnyTask) -> None:
    """Make a task known to every app, those that are made later too."""
    for i, other in enumerate(_shared):
        if other.name == task.name and _same_place(other, task):
            _shared[i] = task
            return
    _shared.append(task)


def set_current(app: Any) -> None:
    """Make ``app`` what ``current_app`` is, in all threads."""
    _current[:] = [app]


def replace_current(app: Any | None) -> Any | None:
    """Make ``app`` the current one, or have none; answers with the one before, if there was one."""
    before = _current[0] if _current else None
    _current[:] = [] if app is None else [app]
    return before


def get_current() -> Any:
    """The current app: the one that was made last, or set. ``ConfigError`` if there is none."""
    if not _current:
        raise ConfigError("there is no app yet: make one first, app = Umbel('name'), and import its module where tasks are called")
    return _current[0]


fill_app(get_current)
