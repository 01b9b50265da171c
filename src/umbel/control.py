"""Changing limits while workers run: ``app.control``, and what ``umbel control`` does."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from .broker import Broker
from .errors import ConfigError
from .facets import Limits, Ruled, require
from .lane import UNLIMITED, Rule
from .marking import key_rule, task_limit
from .traffic import parsed_rate


class Changed(NamedTuple):
    """A rule, and its numbers before and after a change."""

    rule: str
    before: Rule
    after: Rule


class Control:
    """Limits of an app's tasks at run time. What is said here is kept in the broker, is in force at once for all workers, survives
    restarts, and counts until :meth:`clear`, whatever the code declares meanwhile.

    A task is named by its name, or is the task. It must have a limit of its own already (``rate_limit``, ``max_concurrency``), since
    messages of one without stand in no lane; ``per_key`` means the limits of its keys, where it has both. All raise ``ConfigError``
    for a task whose limits the broker does not know, and ``NotSupported`` on a broker that keeps no limits.
    """

    def __init__(self, broker: Callable[[], Broker]) -> None:
        self._broker = broker

    def rate_limit(self, task: Any, rate: str | float | None, *, burst: int | None = None, per_key: bool | None = None) -> Changed:
        """How often it may begin from now on: ``"50/s"``; 0 for nothing at all; None for no limit. ``burst`` None: as declared."""
        limits = self._limits()
        count, period = (UNLIMITED, 1000) if rate is None else parsed_rate(rate)
        rule, ruled = find_rule(limits, _name_of(task), per_key, wants_rate=True)
        return _change(limits, rule, ruled, Rule(count, period, ruled.declared.burst if burst is None else checked(burst, "burst", 1)))

    def concurrency(self, task: Any, limit: int | None, *, per_key: bool | None = None) -> Changed:
        """How many may run at a time from now on; 0 for none at all (what runs goes on); None for no limit."""
        limits = self._limits()
        rule, ruled = find_rule(limits, _name_of(task), per_key, wants_rate=False)
        return _change(limits, rule, ruled, Rule(concurrency=UNLIMITED if limit is None else checked(limit, "a concurrency", 0)))

    def clear(self, task: Any, *, rate: bool = True, concurrency: bool = True, per_key: bool | None = None) -> Changed:
        """Let what the code declares count again."""
        limits = self._limits()
        rule, ruled = find_rule(limits, _name_of(task), per_key, wants_rate=rate)
        limits.clear(rule, rate=rate, concurrency=concurrency)
        return Changed(rule, ruled.numbers, limits.rules()[rule].numbers)

    def limits(self) -> dict[str, Ruled]:
        """All rules that the broker knows: what was declared, and what was said here."""
        return self._limits().rules()

    def _limits(self) -> Limits:
        found: Limits = require(self._broker(), Limits)
        return found


def find_rule(limits: Limits, task: str, per_key: bool | None, *, wants_rate: bool) -> tuple[str, Ruled]:
    """The rule of a task that is meant: its own or its keys', whichever has a number of the kind, its own if both have."""
    known = limits.rules()
    names = {None: (task_limit(task), key_rule(task)), True: (key_rule(task),), False: (task_limit(task),)}[per_key]
    found = [name for name in names if name in known]
    if not found:
        raise ConfigError(_unknown(task, known, per_key))
    of_kind = [name for name in found if (known[name].declared.count if wants_rate else known[name].declared.concurrency) is not None]
    name = (of_kind or found)[0]
    return name, known[name]


def checked(value: object, what: str, least: int) -> int:
    """A whole number from ``least``; ``ConfigError`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1_000_000_000:
        raise ConfigError(f"{value!r}: {what} must be a whole number from {least}")
    return value


def _change(limits: Limits, rule: str, ruled: Ruled, changes: Rule) -> Changed:
    limits.override(rule, changes)
    return Changed(rule, ruled.numbers, limits.rules()[rule].numbers)


def _unknown(task: str, known: dict[str, Ruled], per_key: bool | None) -> str:
    tasks = sorted({name.partition(":")[2] for name in known if name.startswith(("task:", "key:"))})
    if task in tasks:
        return f"the task {task!r} has no limit {'per key' if per_key else 'of its own; say per key'}"
    near = get_close_matches(task, tasks, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(tasks[:10])})" if tasks else ""
    return (
        f"the broker knows no limit of a task {task!r}{hint}. A task has one if it declares rate_limit or max_concurrency, and its worker "
        "has been started or a call of it was sent since; without, its messages stand in no lane that could be held"
    )


def _name_of(task: Any) -> str:
    return task if isinstance(task, str) else str(task.name)
