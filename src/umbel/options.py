"""What ``@app.task(...)`` accepts: our names, Celery's names for the same, and clear words for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, cast

import msgspec
from msgspec import UNSET, UnsetType

from .clock import seconds
from .config import unknown_name
from .errors import ConfigError
from .message import check_name
from .policy import DEFAULT_DELAY, DEFAULT_MAX, Retry, exception_types
from .release import check_queue
from .settings import Settings

SOFT_TO_HARD = 300 / 330
"""A limit that is not said keeps the proportion of the defaults to the one that is."""


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A task's options, checked. What is not said here (None, or UNSET where None has a meaning) is the app's default.

    Spans in seconds. The two limits: a number, None for no limit, UNSET for the app's default.
    """

    queue: str | None = None
    priority: int = 5
    soft_time_limit: float | UnsetType | None = UNSET
    time_limit: float | UnsetType | None = UNSET
    expires: float | None = None
    max_payload: int | None = None
    retry: Retry | None = None
    on_worker_lost: str = "rerun"
    crash_limit: int | None = None
    throws: tuple[type[BaseException], ...] = ()
    track: bool = False
    aliases: tuple[str, ...] = ()
    unknown_kwargs: str = "park"
    bind: bool = False
    default_retry_delay: float = DEFAULT_DELAY
    max_retries: int | None = DEFAULT_MAX

    @property
    def retry_or_default(self) -> Retry:
        """The policy that ``self.retry()`` follows where no ``retry`` was asked for."""
        return self.retry or Retry(max=self.max_retries, on=(), delay=self.default_retry_delay)

    def limits(self, settings: Settings) -> tuple[float, float]:
        """Soft and hard limit in seconds, 0 for none. Where only one is the task's own, the app's other one gives way."""
        soft, hard = self.soft_time_limit, self.time_limit
        if isinstance(soft, UnsetType):
            soft = settings.soft_time_limit
            if isinstance(hard, float) and soft is not None:
                soft = min(soft, hard * SOFT_TO_HARD)
        if isinstance(hard, UnsetType):
            hard = settings.time_limit
            if soft is not None and hard is not None:
                hard = max(hard, soft / SOFT_TO_HARD)
        return soft or 0.0, hard or 0.0


LATER = frozenset(
    (
        *("rate_limit", "max_concurrency", "lock", "on_locked", "unique", "unique_until", "debounce", "debounce_key"),
        *("throttle", "throttle_key", "batch", "schedule", "atomic", "link", "link_error", "max_backlog"),
    )
)
"""Options that umbel knows and this version does not have."""

CELERY_RETRY = (
    "autoretry_for",
    "dont_autoretry_for",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
    "max_retries",
    "default_retry_delay",
)
_OURS = tuple(name for name in TaskOptions.__struct_fields__ if name not in CELERY_RETRY)
_CELERY = (*CELERY_RETRY, "ignore_result", "acks_late", "reject_on_worker_lost", "serializer")
KNOWN = (*_OURS, *_CELERY, "name", "base")
"""Every option that ``@app.task`` takes."""


def task_options(task: str, given: Mapping[str, Any]) -> TaskOptions:
    """The options of a task from what was said. ``ConfigError`` names the task, the option, and what to say instead."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in LATER:
            raise ConfigError(f"task {task!r}: {name} is not supported by this version yet")
        if name not in _OURS and name not in _CELERY:
            raise ConfigError(f"task {task!r}: {unknown_name('option', name, [*KNOWN, *sorted(LATER)])}")
        if name not in _CELERY:
            values[name] = _checked(task, name, value)
    _take_celery(task, given, values)
    _take_retry(task, given, values)
    _check_together(task, values)
    return TaskOptions(**values)


class TaskKeywords(TypedDict, total=False):
    """The keywords of ``@app.task``, for type checkers."""

    name: str | None
    queue: str | None
    priority: int | None
    soft_time_limit: float | timedelta | None
    time_limit: float | timedelta | None
    expires: float | timedelta | None
    max_payload: int | None
    retry: Retry | None
    on_worker_lost: Literal["rerun", "dead"]
    crash_limit: int | None
    throws: type[BaseException] | tuple[type[BaseException], ...]
    track: bool
    aliases: Sequence[str]
    unknown_kwargs: Literal["park", "drop", "error"]
    autoretry_for: type[BaseException] | tuple[type[BaseException], ...]
    dont_autoretry_for: type[BaseException] | tuple[type[BaseException], ...]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    max_retries: int | None
    default_retry_delay: float
    ignore_result: bool
    acks_late: bool
    reject_on_worker_lost: bool
    serializer: Literal["json"]


# -- one option at a time


def _span(value: Any) -> float:
    """seconds (a number over 0) or a timedelta"""
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta) or not 0 < seconds(value) < float("inf"):
        raise ValueError
    return seconds(value)


def _limit(value: Any) -> float | None:
    """seconds (a number over 0), a timedelta, or None for no limit"""
    return None if value is None else _span(value)


def _priority(value: Any) -> int:
    """a whole number from 0 to 9; larger is sooner"""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ValueError
    return value


def _size(value: Any) -> int:
    """bytes, a whole number over 0"""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError
    return value


def _count(value: Any) -> int:
    """a whole number from 0 (no limit) to 255"""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    """True or False"""
    if not isinstance(value, bool):
        raise ValueError
    return value


def _lost(value: Any) -> str:
    """'rerun' or 'dead'"""
    if value not in ("rerun", "dead"):
        raise ValueError
    return cast(str, value)


def _misfit(value: Any) -> str:
    """'park', 'drop' or 'error'"""
    if value not in ("park", "drop", "error"):
        raise ValueError
    return cast(str, value)


def _retry(value: Any) -> Retry:
    """a Retry(...)"""
    if not isinstance(value, Retry):
        raise ValueError
    return value


def _queue(value: Any) -> str:
    return check_queue(value)


def _aliases(value: Any) -> tuple[str, ...]:
    """a list of names"""
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise ValueError
    return tuple(check_name("task", name) for name in value)


_CHECKS = {
    "queue": _queue,
    "priority": _priority,
    "soft_time_limit": _limit,
    "time_limit": _limit,
    "expires": _limit,
    "max_payload": _size,
    "retry": _retry,
    "on_worker_lost": _lost,
    "crash_limit": _count,
    "track": _flag,
    "aliases": _aliases,
    "unknown_kwargs": _misfit,
    "bind": _flag,
}
_NONE_IS_UNSAID = frozenset(("queue", "priority", "max_payload", "retry", "crash_limit"))


def _checked(task: str, name: str, value: Any) -> Any:
    default = getattr(TaskOptions(), name)
    if value is None and name in _NONE_IS_UNSAID:
        return default
    if name == "throws":
        return exception_types(f"task {task!r}: throws", value)
    check: Any = _CHECKS[name]
    try:
        return check(value)
    except ValueError:
        raise ConfigError(f"task {task!r}: {name} = {value!r}: it must be {check.__doc__}") from None
    except TypeError as exc:  # a name that cannot be one
        raise ConfigError(f"task {task!r}: {name}: {exc}") from None


# -- Celery's names


def _take_celery(task: str, given: Mapping[str, Any], values: dict[str, Any]) -> None:
    if given.get("serializer", "json") not in ("json", None):
        raise ConfigError(
            f"task {task!r}: serializer = {given['serializer']!r}: arguments travel as JSON, typed by annotation, and as nothing else"
        )
    if "ignore_result" in given:
        if "track" in given:
            raise ConfigError(f"task {task!r}: say track or ignore_result, not both")
        values["track"] = not _flag_named(task, "ignore_result", given)
    if "acks_late" in given and not _flag_named(task, "acks_late", given):
        raise ConfigError(
            f"task {task!r}: acks_late = False: a message always stays in the broker until its run has ended; "
            'for a task that must never begin twice say on_worker_lost="dead"'
        )
    if "reject_on_worker_lost" in given and "on_worker_lost" not in given:
        values["on_worker_lost"] = "rerun" if _flag_named(task, "reject_on_worker_lost", given) else "dead"


def _flag_named(task: str, name: str, given: Mapping[str, Any]) -> bool:
    if not isinstance(given[name], bool):
        raise ConfigError(f"task {task!r}: {name} = {given[name]!r}: it must be True or False")
    return cast(bool, given[name])


def _take_retry(task: str, given: Mapping[str, Any], values: dict[str, Any]) -> None:
    said = {name: given[name] for name in CELERY_RETRY if name in given}
    policy: Retry | None = values.get("retry")
    if policy is not None:
        if said:
            raise ConfigError(f"task {task!r}: say retry=Retry(…) or {', '.join(said)}, not both")
        values["max_retries"], values["default_retry_delay"] = policy.max, policy.delay
        return
    if not said:
        return
    try:
        policy = Retry(
            max=said.get("max_retries", DEFAULT_MAX),
            on=said.get("autoretry_for", ()),
            unless=said.get("dont_autoretry_for", ()),
            backoff=cast(Any, said.get("retry_backoff")),  # Celery's True means a factor of one second
            delay=said.get("default_retry_delay", DEFAULT_DELAY),
            max_delay=said.get("retry_backoff_max", 600),
            jitter=bool(said.get("retry_jitter", True)),
        )
    except ConfigError as exc:
        raise ConfigError(f"task {task!r}: {', '.join(said)}: {exc}") from None
    values["max_retries"], values["default_retry_delay"] = policy.max, policy.delay
    values["retry"] = policy


def _check_together(task: str, values: Mapping[str, Any]) -> None:
    soft, hard = values.get("soft_time_limit"), values.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        raise ConfigError(
            f"task {task!r}: soft_time_limit = {soft:g} s must be less than time_limit = {hard:g} s, so that it has time to clean up"
        )
