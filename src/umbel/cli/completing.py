"""What a shell offers for names of tasks and queues: read from the project's sources, since importing them takes too long, and
asking a store may hang. It is a guess that costs milliseconds; whatever goes wrong, nothing is offered."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

_FILES_MAX = 300
"""Sources looked at: a key pressed in a home directory must not read all of it."""
_SIZE_MAX = 200_000
_DECORATORS = ("task", "shared_task")


def task_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Tasks whose names, or last parts of them, begin so."""
    names = {name for name, _ in _declared()}
    return sorted(name for name in names if name.startswith(incomplete) or name.rpartition(".")[2].startswith(incomplete))


def queue_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Queues that tasks name, and the default one; behind a comma, the next of a list."""
    before, comma, last = incomplete.rpartition(",")
    names = {queue for _, queue in _declared() if queue} | {"default"}
    return sorted(before + comma + name for name in names if name.startswith(last) and name not in before.split(","))


def _declared() -> list[tuple[str, str]]:
    """Names and queues of the tasks that the sources here declare; none where anything goes wrong."""
    try:
        return [found for path in _sources() for found in _in(path)]
    except Exception:  # a key that was pressed for help must never be answered with a trace
        return []


def _sources() -> Iterator[Path]:
    count = 0
    for at, folders, files in os.walk("."):
        folders[:] = [one for one in sorted(folders) if not one.startswith((".", "__")) and one not in ("node_modules", "site-packages")]
        if "pyvenv.cfg" in files:
            folders[:] = []
            continue
        for file in sorted(files):
            if file.endswith(".py"):
                count += 1
                if count > _FILES_MAX:
                    return
                yield Path(at, file)


def _in(path: Path) -> Iterator[tuple[str, str]]:
    try:
        data = path.read_bytes()
        if b"task" not in data or len(data) > _SIZE_MAX:
            return
        tree = ast.parse(data)
    except (OSError, SyntaxError, ValueError):
        return
    module = ".".join(part for part in path.with_suffix("").parts if part != "__init__")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                said = _said(decorator)
                if said is not None:
                    yield said.get("name") or f"{module}.{node.name}", said.get("queue", "")


def _said(decorator: ast.expr) -> dict[str, str] | None:
    """The texts that a task's decorator says by name; None if it is another."""
    function: Any = decorator.func if isinstance(decorator, ast.Call) else decorator
    if getattr(function, "attr", getattr(function, "id", "")) not in _DECORATORS:
        return None
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return {
        one.arg: one.value.value for one in keywords if one.arg and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
    }
