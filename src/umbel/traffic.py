"""A task's traffic options: rates, concurrency, locks, and calls that stand for several."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from .clock import seconds
from .errors import ConfigError
from .lane import Rule
from .shape import Shape

if TYPE_CHECKING:
    from .key import Key

KeySource = str | Callable[..., Any]
"""What a key is made by: see ``key.py``."""

_RATE = re.compile(r"\s*(\d{1,9})(?:\.(\d{1,3}))?\s*(?:/\s*(\d{0,6})\s*(s|sec|second|m|min|minute|h|hour|d|day)s?\s*)?", re.IGNORECASE)
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DEBOUNCE_MOST = 10
"""A debounced call waits at most so many times its span: a stream of calls that never pauses must not keep it for ever."""


class Rate(msgspec.Struct, frozen=True):
    """How often: ``"70/s"``, ``"100/m"``, ``"5/h"``, ``"1/10s"``, or a number per second. Over all workers together.

    ``burst`` of them may begin at once after a pause. With ``key``, a format string over the arguments or a callable, each key has
    a rate of its own. Raises ``ConfigError`` for what is none.
    """

    limit: str | float
    burst: int = 1
    key: KeySource | None = None

    def __post_init__(self) -> None:
        count, _ = parsed_rate(self.limit)
        if count == 0:
            raise ConfigError(f"Rate({self.limit!r}): say None for no limit; a task is stopped with umbel control rate-limit TASK 0")
        _check_whole(f"Rate({self.limit!r}): burst", self.burst)
        _check_key("Rate", self.key)


class Concurrency(msgspec.Struct, frozen=True):
    """How many may run at a time, over all workers together; with ``key``, of each key. Raises ``ConfigError`` for what is none."""

    limit: int
    key: KeySource | None = None

    def __post_init__(self) -> None:
        _check_whole("Concurrency", self.limit)
        _check_key("Concurrency", self.key)


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic options of a task, checked. Spans in seconds."""

    rate_limit: Rate | None = None
    """How often it may begin, over all workers: text such as `"70/s"`, or `Rate("70/s", burst=10, key="{provider}")` for one rate
    per key. Others wait, and hold nobody up."""
    max_concurrency: Concurrency | None = None
    """How many may run at a time, over all workers: a number, or `Concurrency(3, key="{provider}")`."""
    lock: KeySource | None = None
    """One at a time of each key, whatever the task: `"sync:{account_id}"`. The others wait; no process is held."""
    on_locked: str = "wait"
    """What a new call does whose lock is held or waited for: wait its turn, or be dropped (`locked`)."""
    unique: KeySource | None = None
    """One call of each key that waits or runs: a second one is a duplicate of it, and is not stored."""
    unique_until: str = "end"
    """Until when: its end, however it comes, or its start, so that what changes while it runs is not missed."""
    debounce: float | None = None
    """Runs so long after the last call of its key, at most 10 times as long after the first, with the last call's arguments."""
    debounce_key: KeySource | None = None
    """Default: all calls of the task are one key."""
    throttle: float | None = None
    """Of each key at most one call is accepted in such a span; the others are duplicates of it."""
    throttle_key: KeySource | None = None
    """Default: all calls of the task are one key."""

    @property
    def keyed(self) -> KeySource | None:
        """The key of the limits that each key has for itself."""
        rate, concurrency = self.rate_limit, self.max_concurrency
        return (rate.key if rate else None) or (concurrency.key if concurrency else None)

    def rule(self, *, keyed: bool) -> Rule | None:
        """The numbers of the task's own limit, or of its keys'."""
        rate, concurrency = self.rate_limit, self.max_concurrency
        if rate is not None and (rate.key is not None) != keyed:
            rate = None
        if concurrency is not None and (concurrency.key is not None) != keyed:
            concurrency = None
        if rate is None and concurrency is None:
            return None
        count, period = parsed_rate(rate.limit) if rate else (None, 1000)
        return Rule(count, period, rate.burst if rate else 1, concurrency.limit if concurrency else None)

    def check(self, task: str, shape: Shape) -> None:
        """Refuse keys over parameters that the function does not have."""
        from .key import Key  # not for those who have none

        made = {option: Key(task, option, source, shape) for option, source in self._keys()}
        debounced = made.get("debounce_key")
        for option in ("lock", "rate_limit", "max_concurrency"):
            lane = made.get(option)
            if self.debounce and lane is not None and not _covers(debounced, lane):
                raise ConfigError(
                    f"{task}: the key of {option} must follow from debounce_key, since the call that waits stands for all of its key: "
                    "use the same arguments in both"
                )

    def _keys(self) -> list[tuple[str, KeySource]]:
        found = {
            "lock": self.lock,
            "rate_limit": self.rate_limit.key if self.rate_limit else None,
            "max_concurrency": self.max_concurrency.key if self.max_concurrency else None,
            "unique": self.unique,
            "debounce_key": self.debounce_key,
            "throttle_key": self.throttle_key,
        }
        return [(option, source) for option, source in found.items() if source is not None]


def _covers(debounced: Key | None, lane: Key) -> bool:
    if lane.fields is None or (debounced is not None and debounced.fields is None):
        return True  # a callable does not say, so its author is believed
    return lane.fields <= (debounced.fields or frozenset() if debounced else frozenset())


TRAFFIC_OPTIONS = Traffic.__struct_fields__


class TrafficKeywords(TypedDict, total=False):
    """The keywords of ``@app.task`` on traffic, for type checkers."""

    rate_limit: str | float | Rate | None
    max_concurrency: int | Concurrency | None
    lock: str | Callable[..., str | None] | None
    on_locked: Literal["wait", "skip"]
    unique: str | Callable[..., str | None] | None
    unique_until: Literal["end", "start"]
    debounce: float | timedelta | None
    debounce_key: str | Callable[..., str | None] | None
    throttle: float | timedelta | None
    throttle_key: str | Callable[..., str | None] | None


def parsed_rate(limit: object) -> tuple[int, int]:
    """How many in how many ms. ``ConfigError`` for what is no rate."""
    text = format(limit, "f").rstrip("0").rstrip(".") if isinstance(limit, float) and math.isfinite(limit) else str(limit)
    found = _RATE.fullmatch(text) if isinstance(limit, int | float | str) and not isinstance(limit, bool) else None
    if found is None or found[3] == "0":
        raise ConfigError(f"{limit!r} is no rate: say how often in which time, '70/s', '100/m', '5/h', '1/10s', or a number per second")
    whole, fraction = found[1], (found[2] or "").rstrip("0")
    count = int(whole + fraction)
    period = int(found[3] or 1) * _UNITS[(found[4] or "s")[0].lower()] * 10 ** len(fraction)
    common = math.gcd(count, period) if count else 1
    return count // common, period // common


def traffic_of(task: str, given: Mapping[str, Any]) -> Traffic | None:
    """The traffic options among those given; None where none is. ``ConfigError`` names the task, the option, and what to say instead."""
    said = {name: _checked(task, name, given[name]) for name in TRAFFIC_OPTIONS if name in given}
    traffic = Traffic(**{name: value for name, value in said.items() if value is not None})
    if traffic == Traffic():
        return None
    _check_together(task, traffic)
    return traffic


def accepted(name: str) -> str:
    """What one of these options accepts, in words."""
    return str(_CHECKS[name].__doc__)


# -- one option at a time


def _rate(value: Any) -> Rate:
    """text such as `"70/s"`, a number per second, or a `Rate(...)`"""
    return value if isinstance(value, Rate) else Rate(value)


def _concurrency(value: Any) -> Concurrency:
    """a whole number over 0, or a `Concurrency(...)`"""
    return value if isinstance(value, Concurrency) else Concurrency(value)


def _key(value: Any) -> KeySource:
    """a format string over the arguments, or a callable that takes them"""
    if not (isinstance(value, str) or callable(value)):
        raise ValueError
    return value  # type: ignore[no-any-return]  # one of the two, as was just asked


def _on_locked(value: Any) -> str:
    """'wait' or 'skip'"""
    if value not in ("wait", "skip"):
        raise ValueError
    return str(value)


def _until(value: Any) -> str:
    """'end' or 'start'"""
    if value not in ("end", "start"):
        raise ValueError
    return str(value)


def _span(value: Any) -> float:
    """seconds (a number from 0.001) or a timedelta"""
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta) or not 0.001 <= seconds(value) < 1e11:
        raise ValueError
    return seconds(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "rate_limit": _rate,
    "max_concurrency": _concurrency,
    "lock": _key,
    "on_locked": _on_locked,
    "unique": _key,
    "unique_until": _until,
    "debounce": _span,
    "debounce_key": _key,
    "throttle": _span,
    "throttle_key": _key,
}


def _checked(task: str, name: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        return _CHECKS[name](value)
    except ConfigError as exc:
        raise ConfigError(f"task {task!r}: {name}: {exc}") from None
    except ValueError:
        raise ConfigError(f"task {task!r}: {name} = {value!r}: it must be {accepted(name)}") from None


def _check_whole(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1_000_000_000:
        raise ConfigError(f"{where} = {value!r}: it must be a whole number over 0")


def _check_key(where: str, key: object) -> None:
    if key is not None and not isinstance(key, str) and not callable(key):
        raise ConfigError(f"{where}: key = {key!r}: it must be a format string over the arguments, or a callable that takes them")


# -- what cannot be said together


def _check_together(task: str, t: Traffic) -> None:
    rate_key, concurrency_key = t.rate_limit and t.rate_limit.key, t.max_concurrency and t.max_concurrency.key
    if rate_key is not None and concurrency_key is not None and rate_key != concurrency_key:
        raise ConfigError(f"task {task!r}: rate_limit and max_concurrency have different keys; a call waits for one key, so use the same")
    if t.lock is not None and t.keyed is not None:
        raise ConfigError(
            f"task {task!r}: a lock together with a limit per key: a call waits for one key. Say max_concurrency=Concurrency(1, key=…) "
            "instead of the lock, or a limit without a key"
        )
    for option, other, said in (
        ("on_locked", "lock", t.on_locked != "wait" and t.lock is None),
        ("unique_until", "unique", t.unique_until != "end" and t.unique is None),
        ("debounce_key", "debounce", t.debounce_key is not None and t.debounce is None),
        ("throttle_key", "throttle", t.throttle_key is not None and t.throttle is None),
    ):
        if said:
            raise ConfigError(f"task {task!r}: {option} means nothing without {other}")
    keyed = [name for name in ("unique", "debounce", "throttle") if getattr(t, name) is not None]
    if len(keyed) > 1:
        raise ConfigError(f"task {task!r}: {' and '.join(keyed)} together: each says what a second call comes to, so say one of them")


def debounce_spans(span: float) -> tuple[int, int]:
    """The span, and the longest wait, in ms."""
    return round(span * 1000), round(span * 1000) * _DEBOUNCE_MOST
