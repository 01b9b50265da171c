from __future__ import annotations

import random
from datetime import timedelta

import pytest

from umbel.errors import ConfigError, MaxRetriesExceeded, RetryLater, SoftTimeLimitExceeded, TaskInterrupted
from umbel.outcome import Dead
from umbel.outcome import Retry as RetryOutcome
from umbel.policy import HardLimitPolicy, Retry, Verdict, after_failure, after_hard_limit, hard_limit_policy


def after(policy: Retry | None, exc: BaseException, attempt: int = 1, **more: object) -> int | None:
    return after_failure(policy, exc, attempt, **more).retry_after_ms  # type: ignore[arg-type]  # passed through as they are


def test_without_a_policy_nothing_is_retried() -> None:
    assert after(None, OSError()) is None


def test_only_what_the_policy_names_is_retried() -> None:
    policy = Retry(on=(OSError,), delay=7)
    assert after(policy, ConnectionResetError()) == 7000
    assert after(policy, TimeoutError()) == 7000, "a TimeoutError that the task's own code raises is an OSError like others"
    assert after(policy, ValueError()) is None
    assert after(Retry(on=(Exception,), unless=(KeyError,)), KeyError()) is None
    assert after(Retry(), KeyboardInterrupt()) is None


def test_retries_are_counted_from_the_first_run() -> None:
    policy = Retry(max=2, delay=1)
    assert [after(policy, OSError(), attempt) for attempt in (1, 2, 3)] == [1000, 1000, None]
    assert after(Retry(max=0), OSError()) is None
    assert after(Retry(max=None, delay=1), OSError(), 100_000) == 1000


def test_backoff_doubles_up_to_its_cap() -> None:
    policy = Retry(max=None, backoff=2, max_delay=60, jitter=False)
    waits = [after(policy, OSError(), attempt) for attempt in (1, 2, 3, 5, 6, 2_000_000_000)]
    assert waits == [2000, 4000, 8000, 32000, 60000, 60000]


def test_jitter_takes_up_to_half_and_never_all() -> None:
    policy, rng = Retry(max=None, backoff=1, max_delay=600), random.Random(7)
    for attempt in range(1, 12):
        full = min(600_000, 1000 * 2 ** (attempt - 1))
        waits = [after(policy, OSError(), attempt, rng=rng) or 0 for _ in range(200)]
        assert full / 2 <= min(waits) < max(waits) <= full
    assert after(Retry(backoff=0.000001), OSError()) == 1, "a wait is rounded to a millisecond, never to nothing"


@pytest.mark.parametrize("timeout", [SoftTimeLimitExceeded()])
def test_a_time_limit_is_retried_only_where_it_is_named(timeout: BaseException) -> None:
    assert after(Retry(on=(Exception,)), timeout) is None
    assert after(Retry(on=(BaseException,)), timeout) is None
    assert after(Retry(on=(Exception,), on_timeout=True, delay=1), timeout) == 1000
    assert after(Retry(on=(SoftTimeLimitExceeded,), delay=1), timeout) == 1000
    assert after(Retry(on=(TaskInterrupted,), delay=1), timeout) is None


def test_a_task_that_asks_is_retried_without_any_policy() -> None:
    assert after(None, RetryLater(5)) == 5000
    assert after(None, RetryLater()) == 180_000, "Celery's three minutes"
    assert after(None, RetryLater(5), 4) is None, "Celery's three retries"
    assert after(Retry(on=(), max=1), RetryLater(0), 1) == 0
    assert after(Retry(max=1), RetryLater(0), 2) is None
    assert after(Retry(max=1), RetryLater(0, max_retries=9), 2) == 0
    assert after(None, RetryLater(-3)) == 0


def test_what_was_expected_is_told_apart() -> None:
    assert after_failure(None, KeyError(), 1, throws=(LookupError,)) == Verdict(None, True)
    assert after_failure(None, RetryLater(exc=KeyError(), max_retries=0), 1, throws=(LookupError,)) == Verdict(None, True)
    assert not after_failure(None, ValueError(), 1, throws=(LookupError,)).expected


def test_the_end_of_retries_is_not_itself_retried() -> None:
    assert after(Retry(), MaxRetriesExceeded()) is None


def test_the_hard_limit_follows_the_same_policy_as_data() -> None:
    assert after_hard_limit(hard_limit_policy(None), 1, error=b"e") == Dead("time_limit", b"e")
    assert after_hard_limit(hard_limit_policy(Retry(on=(Exception,))), 1) == Dead("time_limit", b"")
    for policy in (Retry(on_timeout=True, max=1, delay=9), Retry(on=(SoftTimeLimitExceeded,), max=1, delay=9)):
        data = hard_limit_policy(policy)
        assert after_hard_limit(data, 1, error=b"e") == RetryOutcome(9000, b"e")
        assert after_hard_limit(data, 2) == Dead("time_limit", b"")
    assert isinstance(after_hard_limit(HardLimitPolicy(retries=True, backoff=2), 3), RetryOutcome)


def test_one_exception_or_a_list_and_timedeltas_are_taken() -> None:
    policy = Retry(on=OSError, unless=[KeyError], delay=timedelta(minutes=1), backoff=True)  # type: ignore[arg-type]  # more than is declared
    assert (policy.on, policy.unless, policy.delay, policy.backoff) == ((OSError,), (KeyError,), 60.0, 1.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"on": (1,)},
        {"on": "OSError"},
        {"max": -1},
        {"max": 2.5},
        {"max": True},
        {"delay": -1},
        {"delay": float("nan")},
        {"delay": "1"},
        {"max_delay": float("inf")},
        {"backoff": -2},
    ],
)
def test_a_policy_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"Retry\({next(iter(bad))}"):
        Retry(**bad)  # type: ignore[arg-type]  # that is the test
