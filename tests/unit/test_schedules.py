"""The schedules of an app: in code, in Celery's words, and at run time."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import msgspec
import pytest

from umbel import ConfigError, Umbel, at, cron, crontab, every, shared_task
from umbel.clock import to_datetime
from umbel.facets import Inspects, Place, require
from umbel.message import decode_body
from umbel.testing.clock import START, ManualClock
from umbel.ticks import Ticks
from umbel.timetable import Definition, definition_of

_numbers = count()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(clock: ManualClock) -> Umbel:
    return Umbel("schedules", broker=f"memory://schedules{next(_numbers)}", clock=clock, timezone="Europe/Moscow")


def declared(app: Umbel) -> dict[str, Definition]:
    found = {one.name: definition_of(one.definition) for one in app.schedules.declared()}
    return {name: one for name, one in found.items() if one is not None}


def waiting(app: Umbel) -> list[tuple[str, bytes]]:
    found = require(app.producer.broker(), Inspects).browse(None, Place.READY).messages
    return [(decode_body(one.envelope.body).t, bytes(decode_body(one.envelope.body).a)) for one in found]


# -- in code


def test_all_the_ways_to_declare(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="nightly", schedule=cron("30 2 * * *"), queue="slow", expires=60)
    def nightly() -> None: ...

    @app.task(name="report")
    def report(n: int, *, kind: str = "pdf") -> None: ...

    app.schedule("hourly", report.s(7, kind="odt").set(queue="reports", priority=9, expires=timedelta(minutes=5)), every(3600))
    app.schedule("plain", nightly, every(60))
    app.conf.beat_schedule = {
        "beat": {"task": "report", "schedule": crontab(minute=0), "args": (1,), "kwargs": {"kind": "x"}, "options": {"queue": "z"}},
    }
    app.conf.beat_schedule["elsewhere"] = {"task": "not.known.here", "schedule": 30.0, "args": [1, "two"]}
    found = declared(app)
    assert list(found) == ["beat", "elsewhere", "hourly", "nightly", "plain"]
    hourly, night = found["hourly"], found["nightly"]
    assert (hourly.task, hourly.args, hourly.kwargs, hourly.queue, hourly.priority) == ("report", "[7]", '{"kind":"odt"}', "reports", 9)
    assert hourly.expires == 300_000
    assert (night.when, night.queue, night.expires) == (cron("30 2 * * *", "Europe/Moscow"), "slow", 60_000), "in the app's time zone"
    assert (found["beat"].args, found["beat"].queue, found["beat"].when) == ("[1]", "z", crontab(minute=0, tz="Europe/Moscow"))
    assert "beat_schedule['elsewhere']: this app knows no task 'not.known.here'" in caplog.text
    assert (found["elsewhere"].task, found["elsewhere"].args, found["elsewhere"].when) == ("not.known.here", '[1,"two"]', every(30))


def test_a_shared_task(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.registry._shared", [])  # other tests' apps would have it too

    @shared_task(name="shared.by.schedules", schedule=every(60))
    def shared() -> None: ...

    assert "shared.by.schedules" in declared(app)


def test_celery_settings_of_a_module(app: Umbel) -> None:
    app.config_from_object({"CELERY_BEAT_SCHEDULE": {"a": {"task": "t", "schedule": timedelta(seconds=5)}}}, namespace="CELERY")
    assert declared(app)["a"].when == every(5)


def test_the_stamp_is_that_of_the_content(app: Umbel) -> None:
    stamps = [app.schedules.stamp(app.schedules.declared())]
    app.schedule("a", app.callee("t").s(), every(5))
    stamps += [app.schedules.stamp(app.schedules.declared()) for _ in range(2)]
    app.conf.release = "2026.11"
    stamps.append(app.schedules.stamp(app.schedules.declared()))
    assert stamps[1] == stamps[2]
    assert len(set(stamps)) == 3
    assert stamps[3].startswith("2026.11:")


def test_declared_twice(app: Umbel) -> None:
    call = app.callee("t").s(1)
    app.schedule("a", call, every(5))
    app.schedule("a", app.callee("t").s(1), every(5))  # a module that was imported anew
    with pytest.raises(ConfigError, match="two schedules are called 'a': every 0:00:05 and every 0:00:06"):
        app.schedule("a", call, every(6))
    app.conf.beat_schedule = {"a": {"task": "t", "schedule": 5}}
    with pytest.raises(ConfigError, match="two schedules are called 'a'"):
        app.schedules.declared()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("daily", "a dict with 'task' and 'schedule'"),
        ({"task": "t"}, "a dict with 'task' and 'schedule'"),
        ({"task": "t", "schedule": 5, "arg": ()}, "did you mean 'args'"),
        ({"task": "t", "schedule": "daily"}, "must be cron"),
        ({"task": "report", "schedule": 5}, "schedule 'a': .*missing 1 required positional argument"),
        ({"task": "report", "schedule": 5, "args": (object(),)}, "schedule 'a': .*object"),
        ({"task": "t", "schedule": 5, "options": {"countdown": 5}}, "countdown is not for the calls of a schedule"),
        ({"task": "t", "schedule": 5, "options": {"expires": "soon"}}, "expires = 'soon'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(app: Umbel, entry: object, words: str) -> None:
    @app.task(name="report")
    def report(n: int) -> None: ...

    app.conf.beat_schedule = {"a": entry}
    with pytest.raises(ConfigError, match=words):
        app.schedules.declared()


def test_mistakes_in_code(app: Umbel) -> None:
    with pytest.raises(ConfigError, match=r"schedule = 5: it must be cron"):
        app.task(name="t", schedule=5)(lambda: None)  # type: ignore[call-overload]  # that is the mistake
    with pytest.raises(ConfigError, match="a task or a signature"):
        app.schedule("a", "t", every(5))  # type: ignore[arg-type]  # that is the mistake
    with pytest.raises(ConfigError, match="control characters"):
        app.schedule("a\n", app.callee("t").s(), every(5))
    with pytest.raises(ConfigError, match="beat_schedule"):
        app.conf.beat_schedule = ["a"]


# -- at run time


def test_the_life_of_one_made_at_run_time(app: Umbel, clock: ManualClock) -> None:
    @app.task(name="poll")
    def poll(bank: str) -> None: ...

    schedules = app.schedules
    schedules.add("poll", poll.s("a"), every(60))
    [one] = schedules.list()
    assert (one.name, one.task, one.in_code, one.paused, one.last) == ("poll", "poll", False, False, None)
    assert [at.timestamp() * 1000 for at in one.next(2)] == [START // 60_000 * 60_000 + 60_000 * n for n in (1, 2)]
    with pytest.raises(ConfigError, match="replace=True"):
        schedules.add("poll", poll.s("b"), every(60))
    schedules.add("poll", poll.s("b"), every(60), replace=True)
    assert schedules.pause("poll")
    paused = schedules.get("poll")
    assert paused is not None and paused.paused and paused.next() == []
    assert schedules.run("poll").id
    assert waiting(app) == [("poll", b'["b"]')], "also while it is paused"
    assert schedules.resume("poll")
    assert schedules.remove("poll")
    assert not schedules.remove("poll") and not schedules.pause("poll") and not schedules.resume("poll")
    assert schedules.get("poll") is None
    with pytest.raises(ConfigError, match="unknown schedule 'poll'"):
        schedules.run("poll")


def test_arguments_are_checked_where_it_is_made(app: Umbel) -> None:
    @app.task(name="poll")
    def poll(bank: str) -> None: ...

    with pytest.raises(TypeError, match="bank"):
        app.schedules.add("poll", poll.s(), every(60))
    assert app.schedules.list() == []


def test_those_of_code_are_changed_in_code(app: Umbel) -> None:
    app.schedule("a", app.callee("t").s(), every(5))
    planned = app.schedules.declared()
    require(app.producer.broker(), Ticks).declare_schedules(app.schedules.stamp(planned), 60, START, planned)
    with pytest.raises(ConfigError, match="declared in code"):
        app.schedules.add("a", app.callee("t").s(), every(9), replace=True)
    with pytest.raises(ConfigError, match="declared in code"):
        app.schedules.remove("a")
    assert app.schedules.pause("a")


def test_once_and_times_in_its_own_zone(app: Umbel) -> None:
    moment = to_datetime(START + 60_000)
    app.schedules.add("once", app.callee("t").s(), at(moment))
    app.schedules.add("zone", app.callee("t").s(), cron("0 12 * * *"))
    once, zone = app.schedules.list()
    assert once.next(5) == [moment]
    assert [(time.hour, str(time.tzinfo)) for time in zone.next(2)] == [(12, "Europe/Moscow")] * 2


def test_one_of_a_newer_release_is_shown(app: Umbel) -> None:
    from umbel.ticks import Planned

    require(app.producer.broker(), Ticks).add_schedule(Planned("new", "?", b'{"moon":1}'))
    [one] = app.schedules.list()
    assert (one.name, one.task, one.when, one.next()) == ("new", "", None, [])
    assert "new" in repr(one)
    with pytest.raises(ConfigError, match="newer release"):
        app.schedules.run("new")


def test_inside_a_task_the_run_is_not_the_parent_for_ever(app: Umbel) -> None:
    """A schedule that a task makes does not send that task's id along for years."""
    from umbel.testing import Sandbox

    @app.task(name="adds")
    def adds() -> None:
        app.schedules.add("made", app.callee("t").s(), every(60))

    with Sandbox(app) as box:
        adds.delay()
        box.worker.run_until_idle()
        [entry] = require(box.broker(), Ticks).timetable().entries
        assert b"u-" not in msgspec.json.encode(msgspec.json.decode(entry.definition).get("headers", {}))
