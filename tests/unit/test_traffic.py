"""Rates, keys and locks as options of tasks, and what their calls carry."""

from __future__ import annotations

import uuid
from datetime import date, timedelta
from typing import Any

import pytest

from umbel import Concurrency, Rate, Umbel
from umbel.envelope import SKIPS, Envelope, Extra
from umbel.errors import ArgumentError, ConfigError, WireError
from umbel.gcra import CATCH_UP, is_full, returned, room_at, sane, taken
from umbel.lane import JOIN, LOCK, Debounce, Mark, Rule, Throttle, check_extras, marks_of
from umbel.marking import rules_of
from umbel.producer import Collector
from umbel.task import Task
from umbel.traffic import parsed_rate


@pytest.fixture
def app() -> Umbel:
    return Umbel("t", broker="memory://", set_as_current=False)


def made(app: Umbel, task: Task[..., Any], *args: Any, **kwargs: Any) -> Envelope:
    with app.producer.collecting(Collector()) as collector:
        task.delay(*args, **kwargs)
    [envelope] = collector.envelopes
    return envelope


def lanes(envelope: Envelope) -> tuple[str, str]:
    """The names of the lane's limit and of the group's."""
    marks = marks_of(envelope.extras)
    if marks is None:
        return "", ""
    return marks.lane.limit, marks.group.limit if marks.group else ""


def sync(account_id: int, *, kind: str = "full", day: date = date(2026, 11, 24)) -> None: ...


# -- rates


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("70/s", (7, 100)),
        ("100/m", (1, 600)),
        ("5/h", (1, 720_000)),
        ("1/d", (1, 86_400_000)),
        ("1/10s", (1, 10_000)),
        ("0.5/s", (1, 2000)),
        ("1.25/minute", (1, 48_000)),
        (" 10 / hours ", (1, 360_000)),
        (3, (3, 1000)),
        ("3", (3, 1000)),
        (0.1, (1, 10_000)),
        ("0/s", (0, 1000)),
    ],
)
def test_rates_in_words(said: Any, expected: tuple[int, int]) -> None:
    assert parsed_rate(said) == expected


@pytest.mark.parametrize("said", ["", "fast", "10/y", "-1/s", "1/0s", "1e3/s", None, True, float("nan"), float("inf"), [], "1/s/s"])
def test_what_is_no_rate(said: Any) -> None:
    with pytest.raises(ConfigError, match="is no rate"):
        parsed_rate(said)


def test_a_rate_in_the_long_run() -> None:
    rule, tat, now, got = Rule(70, 1000), 0.0, 1_700_000_000_000, 0
    for ms in range(20_000):
        while room_at(tat := sane(tat, rule, now + ms), rule, now + ms) <= now + ms:
            tat, got = taken(tat, rule, now + ms), got + 1
    assert 1400 <= got <= 1400 + 8


def test_tokens_given_back_and_states_that_need_not_be_kept() -> None:
    rule, now = Rule(1, 1000, 2), 1_700_000_000_000
    one = taken(0.0, rule, now)
    assert room_at(one, rule, now) <= now < room_at(taken(one, rule, now), rule, now)
    assert room_at(returned(taken(one, rule, now), rule), rule, now) <= now
    assert not is_full(one, now) and is_full(one, now + 1000 + int(CATCH_UP))
    assert room_at(sane(taken(0.0, rule, now + 3_600_000), rule, now), rule, now) == now + 1000


# -- what travels


@pytest.mark.parametrize(
    "rule", [Rule(), Rule(70, 1000, 5, 3), Rule(concurrency=1), Rule(0), Rule(-1), Rule(concurrency=-1), Rule(10**14, 10**14, 10**8)]
)
def test_numbers_and_marks_come_back(rule: Rule) -> None:
    assert Rule.read(rule.pack()) == rule and Rule.read(rule.pack() + b",new,things") == rule
    for mark in (Mark("task:a", "task:a", rule), Mark("key:a\x1f\0é,", "key:a", rule)):
        assert Mark.read(mark.pack()) == mark


@pytest.mark.parametrize("data", [b"", b",,,1", b",,,1\0a", b"x\0a\0b", b",,,1\0\0", b",,,1\0\0\xff", b"-2,,,\0\0a"])
def test_what_is_no_mark(data: bytes) -> None:
    with pytest.raises(WireError):
        Mark.read(data)


@pytest.mark.parametrize("data", [b"", b"5", b"x\0k", b"0\0k", b"5\0\xff", b"5,5,5\0k"])
def test_what_is_no_span(data: bytes) -> None:
    with pytest.raises(WireError):
        Throttle.read(data)
    with pytest.raises(WireError):
        Debounce.read(data)


def test_extras_that_cannot_be_together() -> None:
    with pytest.raises(ValueError, match="UNIQUE and THROTTLE"):
        check_extras("a", {Extra.UNIQUE: b"k", Extra.THROTTLE: b"5\0k"})
    with pytest.raises(ValueError, match="group and no lane"):
        check_extras("a", {Extra.GROUP: b",,,1\0\0k"})
    for extras in ({Extra.UNIQUE: b"\xff"}, {Extra.UNIQUE: b"k", Extra.UNIQUE_UNTIL: b"x"}):
        with pytest.raises(WireError):
            check_extras("a", extras)


# -- the lane of a call


def test_the_tasks_own_limit_is_its_lane(app: Umbel) -> None:
    task = app.task(name="t", rate_limit="70/s", max_concurrency=3)(sync)
    envelope = made(app, task, 7)
    assert lanes(envelope) == ("task:t", "") and marks_of(envelope.extras) == (Mark("task:t", "task:t", Rule(7, 100, 1, 3)), None)
    assert rules_of("t", task.options.traffic) == {"task:t": Rule(7, 100, 1, 3)}


def test_a_lock_and_the_tasks_limit(app: Umbel) -> None:
    task = app.task(name="t", rate_limit=Rate("1/s", burst=5), lock="sync:{account_id}", on_locked="skip")(sync)
    envelope = made(app, task, account_id=7)
    assert lanes(envelope) == ("lock:sync:7", "task:t") and envelope.flags & SKIPS
    marks = marks_of(envelope.extras)
    assert marks is not None and (marks.lane.rule, marks.lane.numbers) == (LOCK, Rule(concurrency=1))
    assert rules_of("t", task.options.traffic) == {"task:t": Rule(1, 1000, 5)}


def test_limits_of_keys_beside_the_tasks_own(app: Umbel) -> None:
    task = app.task(name="t", rate_limit=Rate("1/s", key="{kind}"), max_concurrency=9)(sync)
    assert lanes(made(app, task, 7)) == (f"key:t{JOIN}full", "task:t")
    assert rules_of("t", task.options.traffic) == {"task:t": Rule(concurrency=9), "key:t": Rule(1)}
    both = app.task(name="u", rate_limit=Rate("1/s", key="{kind}"), max_concurrency=Concurrency(2, "{kind}"))(sync)
    assert lanes(made(app, both, 7, kind="x")) == (f"key:u{JOIN}x", "")
    assert rules_of("u", both.options.traffic) == {"key:u": Rule(1, concurrency=2)}


def test_a_task_without_any_pays_nothing(app: Umbel) -> None:
    assert made(app, app.task(name="t")(sync), 7).extras is None


# -- keys


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("{account_id}", "7"),
        ("sync:{account_id}:{kind}", "sync:7:full"),
        ("{day:%Y-%m}", "2026-11"),
        ("{day.year}", "2026"),
        ("{account_id:05}", "00007"),
        ("{{}}", "{}"),
        ("fixed", "fixed"),
        (lambda account_id, **_: f"a{account_id}", "a7"),
        (lambda account_id, **_: account_id, "7"),
        (lambda account_id, **_: uuid.UUID(int=account_id), str(uuid.UUID(int=7))),
    ],
)
def test_a_key_is_made_of_the_arguments_with_defaults(app: Umbel, key: Any, expected: str) -> None:
    task = app.task(name="t", lock=key)(sync)
    assert lanes(made(app, task, 7))[0] == f"lock:{expected}"
    assert lanes(made(app, task, account_id=7))[0] == f"lock:{expected}"


def test_values_in_arguments(app: Umbel) -> None:
    def load(row: dict[str, int], ids: list[int]) -> None: ...

    task = app.task(name="t", lock="{row[id]}:{ids[1]}")(load)
    assert lanes(made(app, task, {"id": 5}, [1, 2]))[0] == "lock:5:2"
    with pytest.raises(ArgumentError, match="no key can be made of this call: KeyError"):
        task.delay({"other": 5}, [1, 2])
    with pytest.raises(ArgumentError, match="IndexError"):
        task.delay({"id": 5}, [])


def test_of_a_bound_task_and_one_with_any_arguments(app: Umbel) -> None:
    @app.task(name="bound", bind=True, lock="{account_id}")
    def bound(self: Any, account_id: int) -> None: ...

    @app.task(name="any", lock="{x}")
    def anything(*args: int, **kwargs: int) -> None: ...

    assert lanes(made(app, bound, 7))[0] == "lock:7"
    assert lanes(made(app, anything, x=7))[0] == "lock:7"
    with pytest.raises(ArgumentError, match="the call has no argument 'x'"):
        anything.delay(7)


def test_no_key_no_lock(app: Umbel) -> None:
    task = app.task(name="t", max_concurrency=2, lock=lambda account_id, **_: None, on_locked="skip")(sync)
    envelope = made(app, task, 7)
    assert lanes(envelope) == ("task:t", "") and not envelope.flags & SKIPS, "it skips a lock, and not a limit"


def test_long_and_strange_keys(app: Umbel) -> None:
    def load(name: str) -> None: ...

    task = app.task(name="t", lock="{name}")(load)
    keys = {lanes(made(app, task, name))[0] for name in ("é" * 1000, "é" * 999, "\0", "", "{name}", "a\nb")}
    assert len(keys) == 6 and all(len(key.encode()) <= 210 for key in keys)


@pytest.mark.parametrize("returned", [True, 1.5, ["x"], b"x"])
def test_a_callable_that_answers_with_no_text(app: Umbel, returned: Any) -> None:
    task = app.task(name="t", lock=lambda *_, **__: returned)(sync)
    with pytest.raises(ArgumentError, match="a key must be text"):
        task.delay(7)


# -- unique, debounce, throttle


def test_keys_are_a_tasks_own(app: Umbel) -> None:
    task = app.task(name="t", unique="{account_id}", unique_until="start")(sync)
    assert made(app, task, 7).extras == {Extra.UNIQUE: f"t{JOIN}7".encode(), Extra.UNIQUE_UNTIL: b"start"}
    debounced = app.task(name="d", debounce=timedelta(seconds=5), debounce_key="{account_id}")(sync)
    assert made(app, debounced, 7).extras == {Extra.DEBOUNCE: Debounce(f"d{JOIN}7", 5000, 50_000).pack()}
    throttled = app.task(name="h", throttle=60)(sync)
    assert made(app, throttled, 7).extras == {Extra.THROTTLE: Throttle(f"h{JOIN}", 60_000).pack()}


def test_a_debounced_call_says_no_time(app: Umbel) -> None:
    task = app.task(name="d", debounce=5)(sync)
    with pytest.raises(ArgumentError, match="it is debounced, which says when it runs"):
        task.apply_async((7,), countdown=5)


def test_what_the_handle_says(app: Umbel) -> None:
    unique = app.task(name="u", unique="{account_id}")(sync)
    first, second = unique.delay(7), unique.delay(7)
    assert (first.duplicate_of, second.duplicate_of, second.dropped) == (None, first.id, "")
    skipping = app.task(name="s", lock="{account_id}", on_locked="skip")(sync)
    assert [skipping.delay(7).dropped for _ in range(2)] == ["", "locked"]


# -- what cannot be meant


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_limit": "fast"}, "rate_limit: 'fast' is no rate"),
        ({"rate_limit": 0}, "say None for no limit"),
        ({"rate_limit": Concurrency(1)}, "is no rate"),
        ({"max_concurrency": 0}, "max_concurrency: Concurrency = 0: it must be a whole number over 0"),
        ({"lock": 5}, "lock = 5: it must be a format string"),
        ({"lock": "{acount_id}"}, "the task has no parameter 'acount_id'; it has account_id, kind, day"),
        ({"lock": "{}"}, "must name an argument"),
        ({"lock": "{0}"}, "must name an argument"),
        ({"lock": "{account_id.__class__}"}, "must name an argument"),
        ({"lock": "{account_id!r}"}, "may have a format"),
        ({"lock": "{account_id:{kind}}"}, "may have a format"),
        ({"lock": "{account_id"}, "is no format string"),
        ({"lock": "k", "on_locked": "fail"}, "on_locked = 'fail': it must be 'wait' or 'skip'"),
        ({"on_locked": "skip"}, "on_locked means nothing without lock"),
        ({"unique_until": "start"}, "unique_until means nothing without unique"),
        ({"debounce_key": "k"}, "debounce_key means nothing without debounce"),
        ({"throttle_key": "k"}, "throttle_key means nothing without throttle"),
        ({"unique": "k", "debounce": 5}, "unique and debounce together"),
        ({"debounce": 0}, "debounce = 0: it must be seconds"),
        ({"lock": "k", "rate_limit": Rate("1/s", key="x")}, "a lock together with a limit per key"),
        ({"rate_limit": Rate("1/s", key="{kind}"), "max_concurrency": Concurrency(1, "{day}")}, "different keys"),
        ({"debounce": 5, "debounce_key": "{kind}", "lock": "{account_id}"}, "the key of lock must follow from debounce_key"),
        ({"debounce": 5, "lock": "{account_id}"}, "the key of lock must follow from debounce_key"),
        ({"max_concurency": 5}, "did you mean 'max_concurrency'"),
    ],
)
def test_refused_where_it_is_declared(app: Umbel, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        app.task(name="t", **options)(sync)
    assert words in str(caught.value)


def test_none_is_no_limit(app: Umbel) -> None:
    task = app.task(name="t", rate_limit=None, lock=None, unique=None, debounce=None)(sync)
    assert task.options.traffic is None
