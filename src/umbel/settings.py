"""The settings, their defaults and what each accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, tzinfo
from typing import Any, TypedDict

import msgspec

from .depth import depths, when_full
from .errors import ArgumentError, ConfigError
from .message import check_name
from .release import check_queue, check_release

DEFAULT_BROKER = "sqlite:///umbel.db"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, checked. Durations in seconds (given as seconds or ``timedelta``), sizes in bytes."""

    name: str = "umbel"
    """The app's name: stores keep apps apart by it, so that several may share one Redis database."""
    app: str | None = None
    """Where the command line finds the app, ``module:attribute``. Without it, it is looked for."""
    broker: str = DEFAULT_BROKER
    """Address of the broker. A relative SQLite path is anchored at the project's root."""
    soft_time_limit: float | None = 300.0
    """After this, ``SoftTimeLimitExceeded`` is raised in a task that has no soft limit of its own."""
    time_limit: float | None = 330.0
    """After this, the process of a task that has no hard limit of its own is killed. Must be more than the soft one."""
    lease_ttl: float = 20.0
    """For how long a worker's tasks are its own after its last heartbeat; at least 3 x ``heartbeat``."""
    heartbeat: float = 5.0
    """Time between two renewals of a worker's lease."""
    enqueue_retry: float = 3.0
    """For how long a call is tried again while the broker is certainly out of reach (nothing was stored); 0: not at all."""
    crash_limit: int = 3
    """Deaths of the child that ran it, after which a message is a dead letter (``poison``); 0: never."""
    worker_loss_limit: int = 10
    """Losses of the whole worker that ran it, after which a message is a dead letter (``worker_lost``); 0: never. Wide, since spot
    instances do go."""
    shutdown_timeout: float = 25.0
    """For how long what runs may go on after TERM. Under the 30 s after which orchestrators kill."""
    max_tasks_per_child: int = 0
    """After at most so many tasks a worker's child is replaced by a fresh one; 0: never."""
    max_memory_per_child: int | str | None = "auto"
    """KiB that a worker's child may have for itself; ``"auto"``: 80 % of the memory there is, shared among the children."""
    deploy_grace: float = 86_400.0
    """For how long a message is parked, waiting for a worker that knows its task and its parameters; then it is a dead letter."""
    max_payload: int = 262_144
    """Largest body of a call; a larger one is refused with ``PayloadTooLarge``."""
    warn_payload: int = 16_384
    """Size of a body from which a warning is logged, once a task."""
    max_result: int = 262_144
    """Largest result that a record keeps; ``get()`` of a larger one raises ``ResultUnreadable``."""
    record_ttl: float = 86_400.0
    """For how long a record (state, result, error) is kept after the end."""
    dead_letter_bytes: int = 256 * 1024 * 1024
    """Room for dead letters; beyond it the oldest go, with a line in the log that says how many."""
    dead_letter_ttl: float = 30 * 86_400.0
    """For how long a dead letter is kept."""
    default_queue: str = "default"
    """Queue of the tasks that name none."""
    max_depth: Mapping[str, int] = {}
    """How many messages may wait in a queue, by its name; ``"*"``: in any that is not named. Not exact to the last message."""
    on_max_depth: str = "raise"
    """What a call to a queue that is full does: raise ``QueueFull``, or block until there is room."""
    max_depth_wait: float = 60.0
    """For how long such a call blocks before it raises after all."""
    release: str | None = None
    """Name of this release of the user's code; shown with its workers."""
    versioned_queues: bool = False
    """Send calls to this release's own workers while one of them lives (``release`` must be said)."""
    timezone: str = "UTC"
    """How a naive ``eta`` (one without a time zone) is read."""
    redact: tuple[str, ...] = ()
    """Names of arguments whose values umbel's commands never show. Where there are any, positional arguments are hidden too, since they
    have no names on the wire."""


class SettingKeywords(TypedDict, total=False):
    """The keywords of ``Umbel(...)``, for type checkers. None is as if it was not said, but for limits."""

    broker: str | None
    soft_time_limit: float | timedelta | None
    time_limit: float | timedelta | None
    lease_ttl: float | timedelta | None
    heartbeat: float | timedelta | None
    enqueue_retry: float | timedelta | None
    crash_limit: int | None
    worker_loss_limit: int | None
    shutdown_timeout: float | timedelta | None
    max_tasks_per_child: int | None
    max_memory_per_child: int | str | None
    deploy_grace: float | timedelta | None
    max_payload: int | str | None
    warn_payload: int | str | None
    max_result: int | str | None
    record_ttl: float | timedelta | None
    dead_letter_bytes: int | str | None
    dead_letter_ttl: float | timedelta | None
    default_queue: str | None
    max_depth: Mapping[str, int] | None
    on_max_depth: str | None
    max_depth_wait: float | timedelta | None
    release: str | None
    versioned_queues: bool | None
    timezone: str | None
    redact: Sequence[str] | None


REMOVED = {
    "backend": "records are kept by the broker itself: leave it out, and say track=True on the tasks",
    "result_backend": "records are kept by the broker itself: leave it out, and say track=True on the tasks",
    "broker_transport_options": "leases are renewed, so there is no visibility timeout: leave it out; options stand in the address",
    "broker_connection_retry_on_startup": "workers try again for ever: leave it out, or start them with --fail-fast",
    "enable_utc": "times are always UTC inside: leave it out",
    "imports": "say Umbel(include=[...]), or app.autodiscover_tasks([...])",
    "include": "say Umbel(include=[...]), or app.autodiscover_tasks([...])",
    "task_routes": "say queue= on the tasks, or on one call",
    "task_queues": "a queue exists as soon as somebody sends to it: leave it out; a worker serves those of -Q",
    "task_default_priority": "say priority= on the tasks; 5 if not said",
    "task_ignore_result": "results are kept only for tasks with track=True: leave it out",
    "task_track_started": "say track=True on the tasks",
    "task_reject_on_worker_lost": 'a lost task runs again: leave it out; one that must never begin twice says on_worker_lost="dead"',
    "task_publish_retry": "say enqueue_retry, seconds",
    "task_publish_retry_policy": "say enqueue_retry, seconds",
    "worker_prefetch_multiplier": "a child takes about 20 ms of work, and gives back what it cannot begin: leave it out",
    "worker_concurrency": "say umbel worker -c N",
    "worker_send_task_events": "events are always there for who listens: leave it out",
    "task_serializer": "arguments travel as JSON, typed by annotation: leave it out",
    "result_serializer": "results are JSON: leave it out",
    "accept_content": "only JSON is accepted: leave it out",
    "task_acks_late": "a message always stays in the broker until its run has ended: leave it out",
    "task_always_eager": "not supported: call the task itself, task(...), to run it here and now",
}
"""Settings that people will try, and what to do instead."""


def zone(settings: Settings) -> tzinfo:
    """The time zone of ``timezone``."""
    from datetime import UTC

    if settings.timezone == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(settings.timezone)


# -- what each setting accepts: from what was given (in code, in a file, or text of the environment) to its value


def _number(given: object) -> float:
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, str):
        given = float(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError
    value = float(given)
    if not 0 <= value < float("inf"):  # also refuses NaN
        raise ValueError
    return value


def _span(given: object) -> float:
    """seconds (a number over 0) or a timedelta"""
    value = _number(given)
    if value == 0:
        raise ValueError
    return value


def _grace(given: object) -> float:
    """seconds (a number, 0 or more) or a timedelta"""
    return _number(given)


def _limit(given: object) -> float | None:
    """seconds (a number over 0), a timedelta, or none"""
    return None if _is_none(given) else _span(given)


def _count(given: object) -> int:
    """a whole number, 0 or more"""
    if isinstance(given, str):
        given = int(given.replace("_", ""))
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise ValueError
    return given


def _counter(given: object) -> int:
    """a whole number from 0 (no limit) to 255"""
    value = _count(given)
    if value > 255:
        raise ValueError
    return value


def _tasks(given: object) -> int:
    """a whole number of tasks, or none"""
    return 0 if _is_none(given) else _count(given)


def _is_none(given: object) -> bool:
    return given is None or (isinstance(given, str) and given.strip().lower() in ("none", "off", ""))


_UNITS = {"kib": 1024, "mib": 1024**2, "gib": 1024**3, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _size(given: object) -> int:
    """bytes (a whole number), or text such as '256 KiB'"""
    if isinstance(given, str):
        text = given.strip().lower()
        for unit, factor in _UNITS.items():
            if text.endswith(unit):
                return round(_number(text[: -len(unit)]) * factor)
    return _count(given)


def _memory(given: object) -> int | str | None:
    """'auto', none, a size with its unit such as '200MB' or '1.5GiB', or KiB (a whole number), as in Celery"""
    if _is_none(given):
        return None
    if not isinstance(given, str):
        size = _count(given)
    elif (text := given.strip().lower()) == "auto":
        return text
    else:
        size = _size(text) // 1024 if text.endswith(tuple(_UNITS)) else _count(text)
    if size == 0:
        raise ValueError
    return size


def _text(given: object) -> str:
    """text that is not empty"""
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise ValueError
    return given.strip()


def _optional_text(given: object) -> str | None:
    """text, or none"""
    return None if given is None or given == "" else _text(given)


def _name(given: object) -> str:
    """a name: text of at most 200 bytes without control characters"""
    try:
        return check_name("setting's", given)
    except ArgumentError:
        raise ValueError from None


def _queue(given: object) -> str:
    """a queue's name: text of at most 200 bytes without '@' and control characters"""
    try:
        return check_queue(given)
    except ArgumentError:
        raise ValueError from None


def _release(given: object) -> str | None:
    """a release's name: text of at most 50 bytes without '@' and control characters; or none"""
    if given is None or given == "":
        return None
    try:
        return check_release(given)
    except ArgumentError:
        raise ValueError from None


_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False, "": False}


def _flag(given: object) -> bool:
    """true or false"""
    if isinstance(given, str):
        given = _WORDS.get(given.strip().lower())
    if not isinstance(given, bool):
        raise ValueError
    return given


def _names(given: object) -> tuple[str, ...]:
    """a list of names (in the environment: with commas between)"""
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",") if part.strip()]
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(part, str) for part in given):
        raise ValueError
    return tuple(given)


def _timezone(given: object) -> str:
    """the name of a time zone, such as 'UTC' or 'Europe/Moscow'"""
    name = _text(given)
    if name != "UTC":
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, OSError):
            raise ValueError from None
    return name


def _broker(given: object) -> str:
    """a broker address, such as 'redis://127.0.0.1:6379/0' or 'sqlite:///umbel.db'"""
    address = _text(given)
    if ":" not in address:
        raise ValueError
    return address


ACCEPTS: dict[str, Callable[[object], Any]] = {
    "name": _name,
    "app": _optional_text,
    "broker": _broker,
    "soft_time_limit": _limit,
    "time_limit": _limit,
    "lease_ttl": _span,
    "heartbeat": _span,
    "enqueue_retry": _grace,
    "crash_limit": _counter,
    "worker_loss_limit": _counter,
    "shutdown_timeout": _grace,
    "max_tasks_per_child": _tasks,
    "max_memory_per_child": _memory,
    "deploy_grace": _grace,
    "max_payload": _size,
    "warn_payload": _size,
    "max_result": _size,
    "record_ttl": _span,
    "dead_letter_bytes": _size,
    "dead_letter_ttl": _span,
    "default_queue": _queue,
    "max_depth": depths,
    "on_max_depth": when_full,
    "max_depth_wait": _span,
    "release": _release,
    "versioned_queues": _flag,
    "timezone": _timezone,
    "redact": _names,
}

CELERY_NAMES = {
    "broker_url": "broker",
    "task_default_queue": "default_queue",
    "task_time_limit": "time_limit",
    "task_soft_time_limit": "soft_time_limit",
    "result_expires": "record_ttl",
    "worker_max_tasks_per_child": "max_tasks_per_child",
    "worker_max_memory_per_child": "max_memory_per_child",
}
"""Celery's names for settings of the same meaning: accepted in code, not in files of ours."""


def accept(key: str, given: object, where: str) -> Any:
    """The value of setting ``key`` from what was given; ``ConfigError`` names the setting, the place and what it accepts."""
    try:
        return ACCEPTS[key](given)
    except (ValueError, TypeError, OverflowError):
        shown = "(not shown)" if key == "broker" else repr(given)[:80]
        raise ConfigError(f"{key} = {shown} ({where}): it must be {ACCEPTS[key].__doc__}") from None


def check(settings: Settings, origin: Callable[[str], str]) -> None:
    """What must hold between settings. ``origin`` says where a setting came from."""
    s = settings
    if s.lease_ttl < 3 * s.heartbeat:
        raise ConfigError(
            f"lease_ttl = {s.lease_ttl:g} s ({origin('lease_ttl')}) must be at least three times heartbeat = {s.heartbeat:g} s "
            f"({origin('heartbeat')}), so that one late heartbeat loses no lease: "
            f"lease_ttl >= {3 * s.heartbeat:g} or heartbeat <= {s.lease_ttl / 3:g}"
        )
    if s.soft_time_limit is not None and s.time_limit is not None and s.soft_time_limit >= s.time_limit:
        raise ConfigError(
            f"soft_time_limit = {s.soft_time_limit:g} s ({origin('soft_time_limit')}) must be less than time_limit = {s.time_limit:g} s "
            f"({origin('time_limit')}), so that a task has time to clean up"
        )
    if s.versioned_queues and s.release is None:
        raise ConfigError(
            f"versioned_queues = true ({origin('versioned_queues')}) needs the setting release, such as release='2026.11': "
            "a name that is new with each release"
        )
