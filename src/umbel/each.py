"""The task of ``map``, ``starmap`` and ``chunks``: another task, once for each of a list, in one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import Any

import msgspec

from .errors import ConfigError
from .options import TaskOptions
from .task import EACH, Task


def each_task(owner: Callable[[], Any]) -> Task[..., Any]:
    """The task ``umbel.each`` of one app."""

    def each(task: str, items: list[list[Any]]) -> list[Any]:
        found = owner().resolve(task)
        if found is None:
            raise ConfigError(f"no task named {task!r} in this release, which {EACH} is to run")
        return [_run(found, item) for item in items]

    made: Task[..., Any] = Task()
    made.declare(each, EACH, TaskOptions(), owner)
    return made


def _run(task: Task[..., Any], item: list[Any]) -> Any:
    args, kwargs = task.signature.decode(msgspec.json.encode(item), None)
    value = task.invoke(args, kwargs)
    return asyncio.run(value) if type(value) is CoroutineType else value
