"""What one call says beyond its arguments, and what is the same for all calls of a task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

import msgspec

from .clock import seconds, to_ms
from .codec import CallSignature
from .config import unknown_name
from .envelope import EXPLICIT, LOST_DEAD, TRACKED
from .errors import ArgumentError, ConfigError, PayloadTooLarge
from .message import RESERVED, check_name
from .options import KNOWN, LATER, TaskOptions
from .release import check_queue
from .settings import Settings, zone

if TYPE_CHECKING:
    from .marking import Marking
    from .traffic import Traffic

CALL_OPTIONS = ("countdown", "eta", "expires", "queue", "priority", "task_id", "headers", "track")
"""What ``apply_async`` takes besides the arguments."""


class BulkKeywords(TypedDict, total=False):
    """The keywords of ``delay_many``, for type checkers."""

    countdown: float | timedelta | None
    """Not before so many seconds from the moment of storing, on the store's clock."""
    eta: datetime | None
    """Not before this time; a naive one is in the app's ``timezone``. Not together with ``countdown``."""
    expires: float | timedelta | datetime | None
    """Dropped if it has not begun by then: seconds from now, or a time. Default: the task's."""
    queue: str | None
    """Another queue than the task's."""
    priority: int | None
    """0 to 9, larger is sooner. Default: the task's."""
    headers: Mapping[str, Any] | None
    """Plain JSON that ``self.request.headers`` shows."""
    track: bool | None
    """Keep a record, or not. Default: the task's."""


class CallKeywords(BulkKeywords, total=False):
    """The keywords of ``apply_async``, for type checkers."""

    task_id: str | None
    """An id of one's own; a second call with it within a day is a duplicate of the first. Not in ``delay_many``."""


_DELAY_MAX = 10_000 * 365 * 86_400.0
"""Seconds; ten thousand years fit every field, and more is a mistake."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """All that is the same for every call of one task under one app's settings. ``expires`` in ms from the call, 0 for never."""

    settings: Settings
    task: str
    head: bytes
    """Beginning of the body: ``{"t":…``."""
    signature: CallSignature
    queue: str
    priority: int
    expires: int
    crash_limit: int
    loss_limit: int
    flags: int
    marking: Marking | None
    """What makes the extras of each call; None for a task without traffic options."""
    max_payload: int
    warn_payload: int
    light: int
    """Size of a body below which nothing has to be said about it."""
    warned: set[str]
    """Names of the tasks whose large calls were reported, shared by all plans of an app."""
    debounced: bool
    release: str
    """The release whose own queues its calls go to; empty where queues have no versions."""

    def weigh(self, args: tuple[Any, ...], kwargs: dict[str, Any], size: int) -> None:
        """Refuse a body of ``size`` bytes if it is too large (``PayloadTooLarge``); warn once a task if it is large."""
        if size <= self.max_payload and (self.task in self.warned or size < self.warn_payload):
            return
        largest, bytes_of_it = self.signature.largest(args, kwargs)
        where = f"; the largest argument is {largest} with {bytes_of_it} bytes" if largest else ""
        name, remedy = self.signature.name, "store the data, and pass where it is"
        if size > self.max_payload:
            raise PayloadTooLarge(f"{name}(): the call has {size} bytes, more than max_payload = {self.max_payload}{where}; {remedy}")
        self.warned.add(self.task)
        import logging

        logging.getLogger("umbel").warning("%s(): a call has %d bytes%s; %s (said once a task)", name, size, where, remedy)


def plan_of(name: str, options: TaskOptions, signature: CallSignature, settings: Settings, warned: set[str]) -> Plan:
    """The plan of a task under an app's settings."""
    flags = (TRACKED if options.track else 0) | (LOST_DEAD if options.on_worker_lost == "dead" else 0)
    max_payload = settings.max_payload if options.max_payload is None else options.max_payload
    return Plan(
        settings=settings,
        task=name,
        head=b'{"t":' + msgspec.json.encode(name),
        signature=signature,
        queue=options.queue or settings.default_queue,
        priority=options.priority,
        expires=round((options.expires or 0) * 1000),
        crash_limit=settings.crash_limit if options.crash_limit is None else options.crash_limit,
        loss_limit=settings.worker_loss_limit,
        flags=flags,
        marking=None if options.traffic is None else _marking(name, options.traffic, signature),
        max_payload=max_payload,
        warn_payload=settings.warn_payload,
        light=min(settings.warn_payload, max_payload + 1),
        warned=warned,
        debounced=options.traffic is not None and options.traffic.debounce is not None,
        release=settings.release or "" if settings.versioned_queues else "",
    )


def _marking(name: str, traffic: Traffic, signature: CallSignature) -> Marking:
    from .marking import Marking  # not for those who have none of it

    return Marking(name, traffic, signature.shape)


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call's own wishes; the defaults say nothing. Times in ms."""

    queue: str | None = None
    priority: int | None = None
    after: int = 0
    """From the moment of storing, on the store's clock."""
    due: int = 0
    """Absolute."""
    expires: int | None = None
    """Absolute; 0 for never; None for as the task says."""
    id: str | None = None
    headers: dict[str, Any] | None = None
    flags: int = 0
    """Bits added to the task's own."""
    without: int = 0
    """Bits taken from them."""


PLAIN = Call()


def call_of(
    plan: Plan,
    now: int,
    *,
    countdown: float | timedelta | None = None,
    eta: datetime | None = None,
    expires: float | timedelta | datetime | None = None,
    queue: str | None = None,
    priority: int | None = None,
    task_id: str | None = None,
    headers: Mapping[str, Any] | None = None,
    track: bool | None = None,
) -> Call:
    """A call from what ``apply_async`` was told. Raises ``ArgumentError`` for what cannot be meant."""
    name = plan.signature.name
    if plan.debounced and (countdown is not None or eta is not None):
        raise ArgumentError(f"{name}: it is debounced, which says when it runs: countdown and eta cannot be meant")
    if countdown is not None and eta is not None:
        raise ArgumentError(f"{name}: say countdown (in how many seconds) or eta (when), not both")
    if task_id is not None:
        _check_id(task_id)
    if queue is not None:
        check_queue(queue)
    _check_priority(name, priority)
    return Call(
        queue=queue,
        priority=priority,
        after=0 if countdown is None else _span_ms(name, "countdown", countdown),
        due=0 if eta is None else _moment_ms(name, "eta", eta, plan.settings),
        expires=None if expires is None else _expiry(name, expires, now, plan.settings),
        id=task_id,
        headers=None if headers is None else checked_headers(name, headers),
        flags=(EXPLICIT if task_id is not None else 0) | (TRACKED if track else 0),
        without=TRACKED if track is False else 0,
    )


def refuse_options(task: str, unknown: Mapping[str, Any]) -> NoReturn:
    """Say what is wrong with the first of these options of a call."""
    name = next(iter(unknown))
    if name in LATER:
        raise ConfigError(f"{task}: {name} is not supported by this version yet")
    if name in KNOWN:
        raise ConfigError(f"{task}: {name} is an option of the task, @app.task({name}=…), not of one call")
    raise ConfigError(f"{task}: {unknown_name('option', name, list(CALL_OPTIONS))}")


def _check_priority(task: str, priority: object) -> None:
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9):
        raise ArgumentError(f"{task}: priority = {priority!r}: it must be a whole number from 0 to 9; larger is sooner")


def _check_id(task_id: object) -> None:
    check_name("task_id's", task_id)


def _span_ms(task: str, what: str, span: object) -> int:
    if isinstance(span, bool) or not isinstance(span, int | float | timedelta):
        raise ArgumentError(f"{task}: {what} must be seconds or a timedelta, not {type(span).__name__}")
    value = seconds(span)
    if not -_DELAY_MAX < value < _DELAY_MAX:  # NaN too
        raise ArgumentError(f"{task}: {what} = {span!r} is no time")
    return max(0, round(value * 1000))


def _moment_ms(task: str, what: str, moment: object, settings: Settings) -> int:
    if not isinstance(moment, datetime):
        raise ArgumentError(f"{task}: {what} must be a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(settings))
    try:
        return max(1, to_ms(moment))
    except (OverflowError, ValueError) as exc:
        raise ArgumentError(f"{task}: {what} = {moment!r} is no time that can be stored") from exc


def _expiry(task: str, expires: object, now: int, settings: Settings) -> int:
    if isinstance(expires, datetime):
        return _moment_ms(task, "expires", expires, settings)
    return now + _span_ms(task, "expires", expires)


def checked_headers(task: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's headers, which must be JSON under names that are not ours."""
    if not isinstance(headers, Mapping):
        raise ArgumentError(f"{task}: headers must be a dict, not {type(headers).__name__}")
    for name, value in headers.items():
        check_name("header", name)
        if name.startswith(RESERVED):
            raise ArgumentError(f"{task}: header {name!r}: names that begin with {RESERVED!r} are umbel's own")
        try:
            same = msgspec.json.decode(msgspec.json.encode(value)) == value
        except (TypeError, ValueError, RecursionError, OverflowError):
            same = False
        if not same:
            raise ArgumentError(f"{task}: header {name!r}: a {type(value).__name__} would not arrive as it is; headers are plain JSON")
    return dict(headers)
