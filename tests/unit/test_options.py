from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from umbel import ConfigError, Retry, SoftTimeLimitExceeded, Task, Umbel
from umbel.options import LATER, task_options
from umbel.settings import Settings


def fn() -> None: ...


def test_nothing_said_is_nothing_retried_and_nothing_kept() -> None:
    options = task_options("t", {})
    assert (options.retry, options.track, options.priority, options.on_worker_lost, options.unknown_kwargs) == (
        None,
        False,
        5,
        "rerun",
        "park",
    )
    assert options.limits(Settings()) == (300, 330)


def test_all_of_ours() -> None:
    policy = Retry(max=5)
    options = task_options(
        "t",
        {
            "queue": "emails",
            "priority": 9,
            "soft_time_limit": 20,
            "time_limit": timedelta(seconds=30),
            "expires": timedelta(hours=1),
            "max_payload": 10,
            "retry": policy,
            "on_worker_lost": "dead",
            "crash_limit": 1,
            "throws": KeyError,
            "track": True,
            "aliases": ["old.name"],
            "unknown_kwargs": "drop",
            "bind": True,
        },
    )
    assert (options.queue, options.priority, options.expires, options.max_payload) == ("emails", 9, 3600.0, 10)
    assert options.limits(Settings()) == (20, 30)
    assert (options.retry, options.on_worker_lost, options.crash_limit, options.throws) == (policy, "dead", 1, (KeyError,))
    assert (options.track, options.aliases, options.unknown_kwargs, options.bind) == (True, ("old.name",), "drop", True)
    assert options.max_retries == 5


def test_celerys_names_make_a_policy() -> None:
    options = task_options(
        "t",
        {
            "autoretry_for": (OSError,),
            "dont_autoretry_for": (TimeoutError,),
            "retry_backoff": True,
            "retry_backoff_max": 60,
            "retry_jitter": False,
            "max_retries": 7,
            "default_retry_delay": 9,
        },
    )
    assert options.retry == Retry(max=7, on=(OSError,), unless=(TimeoutError,), backoff=1, max_delay=60, jitter=False, delay=9)
    assert (options.max_retries, options.default_retry_delay) == (7, 9)


def test_max_retries_alone_retries_nothing_by_itself() -> None:
    options = task_options("t", {"max_retries": None})
    assert options.retry is not None
    assert options.retry.on == ()
    assert options.retry.max is None
    assert not options.retry.retries_timeouts


def test_celerys_other_names() -> None:
    assert task_options("t", {"ignore_result": False}).track
    assert not task_options("t", {"ignore_result": True}).track
    assert task_options("t", {"acks_late": True, "serializer": "json", "reject_on_worker_lost": False}).on_worker_lost == "dead"
    assert task_options("t", {"reject_on_worker_lost": True}).on_worker_lost == "rerun"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"qeue": "x"}, "task 't': unknown option 'qeue'; did you mean 'queue'?"),
        ({"rate_limits": "1/s"}, "did you mean 'rate_limit'"),
        ({"zzz": 1}, "unknown option 'zzz'$"),
        ({"queue": "a\nb"}, "queue name must not have control characters"),
        ({"queue": 3}, "queue"),
        ({"priority": 10}, "from 0 to 9"),
        ({"priority": True}, "from 0 to 9"),
        ({"time_limit": 0}, "time_limit = 0"),
        ({"time_limit": "30"}, "seconds"),
        ({"soft_time_limit": 30, "time_limit": 30}, "must be less than"),
        ({"expires": -1}, "expires"),
        ({"retry": 3}, r"a Retry\("),
        ({"retry": Retry(), "max_retries": 3}, "not both"),
        ({"autoretry_for": "OSError"}, "autoretry_for"),
        ({"throws": [1]}, "exception types"),
        ({"on_worker_lost": "retry"}, "'rerun' or 'dead'"),
        ({"unknown_kwargs": "ignore"}, "'park', 'drop' or 'error'"),
        ({"crash_limit": 256}, "255"),
        ({"track": 1}, "True or False"),
        ({"aliases": "name"}, "list of names"),
        ({"aliases": [""]}, "empty"),
        ({"serializer": "pickle"}, "JSON"),
        ({"acks_late": False}, "on_worker_lost"),
        ({"ignore_result": True, "track": True}, "not both"),
        ({"max_payload": 0}, "max_payload"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        task_options("t", options)


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_comes_later_is_known(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not supported by this version yet"):
        task_options("t", {name: 1})


def test_one_limit_of_its_own_moves_the_other_out_of_its_way() -> None:
    settings = Settings()
    assert task_options("t", {"time_limit": 110}).limits(settings) == pytest.approx((100, 110))
    assert task_options("t", {"soft_time_limit": 600}).limits(settings) == pytest.approx((600, 660))
    assert task_options("t", {"time_limit": None}).limits(settings) == (300, 0)
    assert task_options("t", {"time_limit": None, "soft_time_limit": None}).limits(settings) == (0, 0)
    assert task_options("t", {"time_limit": 3600}).limits(settings) == (300, 3600)
    assert task_options("t", {}).limits(Settings(soft_time_limit=None, time_limit=None)) == (0, 0)


def test_class_attributes_are_defaults(app: Umbel) -> None:
    class Base(Task[Any, Any]):
        autoretry_for = (OSError,)
        max_retries = 9
        queue = "base"
        rate_limit = None

        def lock(self) -> None: ...

    class Lower(Base):
        queue = "lower"

    options = app.task(base=Lower)(fn).options
    assert options.retry == Retry(max=9, on=(OSError,))
    assert options.queue == "lower"
    own = app.task(base=Base, queue="own", retry=Retry(max=1), name="own")(fn)
    assert (own.options.queue, own.options.max_retries) == ("own", 1)


def test_a_class_must_not_hide_the_method_retry(app: Umbel) -> None:
    class Base(Task[Any, Any]):
        retry = Retry()  # type: ignore[assignment]  # what is refused

    with pytest.raises(ConfigError, match=r"hide self\.retry"):
        app.task(base=Base)(fn)


def test_soft_limit_in_on_is_said_in_the_policy() -> None:
    assert Retry(on=(SoftTimeLimitExceeded,)).retries_timeouts
