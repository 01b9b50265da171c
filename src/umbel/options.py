"""What ``@app.task(...)`` accepts: our names, Celery's names for the same, and clear words for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from .clock import seconds
from .config import unknown_name
from .errors import ConfigError
from .message import check_name
from .policy import DEFAULT_DELAY, DEFAULT_MAX, Retry, exception_types
from .release import check_queue
from .settings import Settings
from .traffic import TRAFFIC_OPTIONS, Traffic, TrafficKeywords, traffic_of

if TYPE_CHECKING:
    from .schedule import When

SOFT_TO_HARD = 300 / 330
"""A limit that is not said keeps the proportion of the defaults to the one that is."""


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A task's options, checked. What is not said here (None, or UNSET where None has a meaning) is the app's default.

    Spans in seconds. The two limits: a number, None for no limit, UNSET for the app's default.
    """

    queue: str | None = None
    """Where its calls wait. Default: the setting ``default_queue``."""
    priority: int = 5
    """Larger is sooner, within a queue, on every broker."""
    soft_time_limit: float | UnsetType | None = UNSET
    """After this, ``SoftTimeLimitExceeded`` is raised in the task. Default: the setting of the same name."""
    time_limit: float | UnsetType | None = UNSET
    """After this, the process that runs it is killed. Default: the setting of the same name."""
    expires: float | None = None
    """A call that has not begun so long after it was made is dropped. Default: never."""
    max_payload: int | None = None
    """A call with a larger body is refused. Default: the setting of the same name."""
    retry: Retry | None = None
    """When a failed attempt is followed by another. Default: never."""
    on_worker_lost: str = "rerun"
    """What follows when its process, or its worker, dies in it: run it again, or keep it as a dead letter, never begun twice."""
    crash_limit: int | None = None
    """Deaths of its process, after which it is a dead letter; 0: never. Default: the setting of the same name."""
    throws: tuple[type[BaseException], ...] = ()
    """Exceptions that are expected: a failure with one of them leaves no trace in the log."""
    track: bool = False
    """Keep a record of each call: state, progress, result, error. ``AsyncResult`` can tell nothing without it."""
    aliases: tuple[str, ...] = ()
    """Older names under which the task is also known."""
    unknown_kwargs: str = "park"
    """What becomes of a call with parameters that this release lacks: it waits for a newer worker, runs without them, or
    is a dead letter at once."""
    bind: bool = False
    """The function's first parameter, ``self``, is the task."""
    schedule: When | None = None
    """When it is called by itself, without arguments. Its schedule is named like it."""
    default_retry_delay: float = DEFAULT_DELAY
    """What ``self.retry()`` without ``countdown`` waits, where no policy says otherwise."""
    atomic: bool = False
    """What a run calls is stored in the very step that settles it, and only if it succeeds: at most 5,000 calls and 4 MiB."""
    max_retries: int | None = DEFAULT_MAX
    """How often ``self.retry()`` may be used, where no policy says otherwise; None: for ever."""

    traffic: Traffic | None = None
    """Limits, locks and keys; None where there is none of them."""

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
    ("batch", "link", "link_error"),
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
CELERY_MEANS = {
    "autoretry_for": "`Retry(on=…)`",
    "dont_autoretry_for": "`Retry(unless=…)`",
    "retry_backoff": "`Retry(backoff=…)`; `True` is one second",
    "retry_backoff_max": "`Retry(max_delay=…)`",
    "retry_jitter": "`Retry(jitter=…)`; takes away up to half of a wait, where Celery may leave none of it",
    "max_retries": "`Retry(max=…)`",
    "default_retry_delay": "`Retry(delay=…)`",
    "ignore_result": "`track=False`; `ignore_result=False` is `track=True`",
    "acks_late": "only `True` is accepted: a message always stays in the broker until its run has ended",
    "reject_on_worker_lost": '`True` is `on_worker_lost="rerun"`, `False` is `on_worker_lost="dead"`',
    "serializer": 'only `"json"` is accepted',
}
"""Celery's options that ``@app.task`` takes too, and what each means here."""
_OURS = tuple(name for name in TaskOptions.__struct_fields__ if name not in CELERY_RETRY and name != "traffic")
_CELERY = tuple(CELERY_MEANS)
KNOWN = (*_OURS, *TRAFFIC_OPTIONS, *_CELERY, "name", "base")
"""Every option that ``@app.task`` takes."""


def task_options(task: str, given: Mapping[str, Any]) -> TaskOptions:
    """The options of a task from what was said. ``ConfigError`` names the task, the option, and what to say instead."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in LATER:
            raise ConfigError(f"task {task!r}: {name} is not supported by this version yet")
        if name not in KNOWN:
            raise ConfigError(f"task {task!r}: {unknown_name('option', name, [*KNOWN, *sorted(LATER)])}")
        if name in _OURS:
            values[name] = _checked(task, name, value)
    _take_celery(task, given, values)
    _take_retry(task, given, values)
    _check_together(task, values)
    values["traffic"] = traffic_of(task, given)
    return TaskOptions(**values)


class TaskKeywords(TrafficKeywords, total=False):
    """The keywords of ``@app.task``, for type checkers."""

    atomic: bool
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
    schedule: When | None
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
    """a name without '@'"""
    return check_queue(value)


def _schedule(value: Any) -> When:
    """cron(…), every(…), at(…) or crontab(…)"""
    from .schedule import When  # who has one has it loaded

    if not isinstance(value, When):
        raise ValueError
    return value


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
    "atomic": _flag,
    "schedule": _schedule,
}
_NONE_IS_UNSAID = frozenset(("queue", "priority", "max_payload", "retry", "crash_limit", "schedule"))


def accepted(name: str) -> str:
    """What one of our options accepts, in words."""
    return "exception types" if name == "throws" else str(_CHECKS[name].__doc__)


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
