"""Whether, and when, a failed task runs again: pure decisions, without I/O.

Retries are off until asked for. A time limit is retried only where the policy says so by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import seconds
from .errors import ConfigError, MaxRetriesExceeded, RetryLater, SoftTimeLimitExceeded
from .outcome import Dead, Outcome
from .outcome import Retry as RetryOutcome

if TYPE_CHECKING:
    import random

DEFAULT_MAX = 3
DEFAULT_DELAY = 180.0
"""Seconds between attempts where nothing else is said: Celery's three minutes."""
DELAY_MAX = 365 * 86_400.0
"""No wait of a policy is longer than a year: beyond any use, and far from overflow."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed task runs again.

    Durations in seconds or ``timedelta``. Raises ``ConfigError`` for values that make no sense.
    """

    max: int | None = DEFAULT_MAX
    """Retries after the first run; None: for ever."""
    on: tuple[type[BaseException], ...] = (Exception,)
    """The exceptions that are retried."""
    backoff: float | None = None
    """The first wait, doubled each time up to ``max_delay``. None: every wait is ``delay``."""
    delay: float = DEFAULT_DELAY
    """Every wait, where there is no ``backoff``."""
    max_delay: float = 600.0
    """The longest wait of a back-off."""
    jitter: bool = True
    """Take away up to half of a back-off wait at random, so that those that failed together do not come back together. It
    never makes a wait zero."""
    on_timeout: bool = False
    """Also retry when a time limit is over, soft or hard. Naming ``SoftTimeLimitExceeded`` in ``on`` says the same."""
    unless: tuple[type[BaseException], ...] = ()
    """Those of ``on`` that are not retried."""

    def __post_init__(self) -> None:
        put = msgspec.structs.force_setattr
        put(self, "on", exception_types("Retry(on=…)", self.on))
        put(self, "unless", exception_types("Retry(unless=…)", self.unless))
        for key in ("backoff", "delay", "max_delay"):
            put(self, key, _duration(key, getattr(self, key)))
        limit: object = self.max
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise ConfigError(f"Retry(max={limit!r}): it must be a whole number, 0 or more, or None for no end")

    @property
    def retries_timeouts(self) -> bool:
        """Is a task whose time was over run again?"""
        return self.on_timeout or any(issubclass(kind, SoftTimeLimitExceeded) for kind in self.on)

    def wait(self, retries: int, rng: random.Random | None = None) -> float:
        """Seconds before retry number ``retries`` + 1; more than 0 unless the policy says 0."""
        return wait_before(self.backoff, self.delay, self.max_delay, self.jitter, retries, rng)


class HardLimitPolicy(msgspec.Struct, frozen=True):
    """What the supervisor, which has no user code, must know to settle a task that it has killed at its hard limit."""

    retries: bool = False
    """Is a hard limit retried at all?"""
    max: int | None = None
    backoff: float | None = None
    delay: float = DEFAULT_DELAY
    max_delay: float = 600.0
    jitter: bool = True


class Verdict(msgspec.Struct, frozen=True):
    """What follows a failure: again after ``retry_after_ms``, or never (None). ``expected``: the task names it in ``throws``."""

    retry_after_ms: int | None
    expected: bool = False


def exception_types(what: str, given: object) -> tuple[type[BaseException], ...]:
    """``given``, an exception type or several, as a tuple; ``ConfigError`` for anything else."""
    kinds = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigError(f"{what} must be exception types, not {kind!r}")
    return kinds


def _duration(key: str, given: Any) -> float | None:
    if given is None and key == "backoff":
        return None
    if given is True and key == "backoff":  # Celery's retry_backoff=True: a factor of one second
        return 1.0
    if given is False and key == "backoff":
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | timedelta) or not 0 <= seconds(given) < float("inf"):
        raise ConfigError(f"Retry({key}={given!r}): it must be seconds (0 or more) or a timedelta")
    return seconds(given)


def wait_before(
    backoff: float | None, delay: float, max_delay: float, jitter: bool, retries: int, rng: random.Random | None = None
) -> float:
    """Seconds before the next attempt after ``retries`` earlier retries: ``backoff * 2**retries``, at most ``max_delay``."""
    if not backoff:
        return min(delay, DELAY_MAX)
    wait = min(backoff * 2.0 ** min(retries, 64), max_delay, DELAY_MAX)  # 2**64 s is past every cap, and no overflow
    if jitter:
        wait *= 0.5 + 0.5 * (rng.random() if rng else _random())
    return wait


def _random() -> float:
    from random import random  # 6 ms that a producer need not spend

    return random()


def after_failure(
    policy: Retry | None,
    exc: BaseException,
    attempt: int,
    *,
    throws: Sequence[type[BaseException]] = (),
    rng: random.Random | None = None,
) -> Verdict:
    """What follows when attempt number ``attempt`` (1 is the first) ended with ``exc``.

    ``RetryLater`` asks for a retry whatever the policy is for; its own ``countdown`` and ``max_retries`` come first.
    """
    retries = attempt - 1
    if isinstance(exc, RetryLater):
        return _asked(policy or Retry(), exc, retries, throws, rng)
    expected = isinstance(exc, tuple(throws))
    if policy is None or not _covers(policy, exc) or _spent(policy.max, retries):
        return Verdict(None, expected)
    return Verdict(_ms(policy.wait(retries, rng)), expected)


def _asked(policy: Retry, exc: RetryLater, retries: int, throws: Sequence[type[BaseException]], rng: random.Random | None) -> Verdict:
    expected = exc.exc is not None and isinstance(exc.exc, tuple(throws))
    if _spent(policy.max if exc.max_retries is None else exc.max_retries, retries):
        return Verdict(None, expected)
    return Verdict(_ms(policy.wait(retries, rng)) if exc.countdown is None else milliseconds(exc.countdown), expected)


def _covers(policy: Retry, exc: BaseException) -> bool:
    if isinstance(exc, (MaxRetriesExceeded, *policy.unless)):
        return False
    if isinstance(exc, SoftTimeLimitExceeded):
        named = any(issubclass(kind, SoftTimeLimitExceeded) and isinstance(exc, kind) for kind in policy.on)
        return policy.on_timeout or named
    return isinstance(exc, policy.on)


def _spent(limit: int | None, retries: int) -> bool:
    return limit is not None and retries >= limit


def milliseconds(wait: float | timedelta) -> int:
    """A wait that a task asks for: at least none, at most a year. Raises ``ValueError`` or ``TypeError`` for what is none."""
    return _ms(min(max(0.0, seconds(wait)), DELAY_MAX))


def _ms(span: float) -> int:
    return max(1, round(span * 1000)) if span > 0 else 0


def hard_limit_policy(policy: Retry | None) -> HardLimitPolicy:
    """A policy as data for the supervisor."""
    if policy is None:
        return HardLimitPolicy()
    return HardLimitPolicy(policy.retries_timeouts, policy.max, policy.backoff, policy.delay, policy.max_delay, policy.jitter)


def after_hard_limit(data: HardLimitPolicy, attempt: int, *, error: bytes = b"", rng: random.Random | None = None) -> Outcome:
    """The outcome of attempt number ``attempt`` that was killed at its hard limit; ``error`` is kept with it."""
    retries = attempt - 1
    if not data.retries or _spent(data.max, retries):
        return Dead("time_limit", error)
    return RetryOutcome(_ms(wait_before(data.backoff, data.delay, data.max_delay, data.jitter, retries, rng)), error)
