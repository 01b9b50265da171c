"""Limits from the command line: what is in force, changes of it, lanes, and why a task does not run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest

from tests.cli.conftest import Run, answer
from umbel import Rate, Umbel
from umbel.broker import Broker
from umbel.errors import ConfigError
from umbel.facets import Limits, require
from umbel.lane import Rule
from umbel.worker.declaring import declare, declared_rules

_names = itertools.count(1)


@pytest.fixture
def url() -> str:
    return f"memory://control-{next(_names)}"


@pytest.fixture
def app(url: str, tmp_path: Path) -> Iterator[Umbel]:
    app = Umbel(broker=url, set_as_current=False)
    app.task(name="shop.mail", rate_limit=Rate("70/s", burst=5))(lambda to: None)
    app.task(name="shop.sync", lock="sync:{account}", max_concurrency=2)(lambda account: None)
    app.task(name="shop.both", rate_limit=Rate("1/h", key="{x}"), max_concurrency=5)(lambda x: None)
    app.task(name="shop.plain")(lambda: None)
    declare(app.producer.broker(), declared_rules(app))
    yield app
    app.close()


@pytest.fixture
def run(app: Umbel, url: str, bare: Run) -> Run:
    return lambda *args, **more: bare("--broker", url, *args, **more)


def failed(result: click.testing.Result, code: int) -> str:
    assert result.exit_code == code, result.output
    return result.stderr


def claim(app: Umbel, limit: int = 9, seq: int = 1) -> Broker:
    broker = app.producer.broker()
    broker.renew("w", 60)
    broker.admit("w", "w.a")
    broker.claim("w.a", seq, ["default"], limit)
    return broker


def test_a_rate_is_changed_and_cleared(run: Run, app: Umbel) -> None:
    assert run("control", "rate-limit", "shop.mail", "50/s").stdout == "task:shop.mail: 50/s, burst 5 (was 70/s, burst 5)\n"
    assert app.control.limits()["task:shop.mail"].numbers == Rule(1, 20, 5)
    assert "still 50/s" in run("control", "rate-limit", "shop.mail", "50/s").stdout
    said = run("control", "rate-limit", "shop.mail", "0").stdout
    assert "task:shop.mail: 0 (was 50/s" in said and "nothing of it begins" in said
    assert "no rate" in run("control", "rate-limit", "shop.mail", "none").stdout
    assert answer(run("control", "rate-limit", "shop.mail", "--clear", "--json"))["after"] == {
        "count": 7,
        "period": 100,
        "burst": 5,
        "concurrency": None,
    }


def test_a_concurrency_is_changed_and_cleared(run: Run, app: Umbel) -> None:
    assert run("control", "concurrency", "shop.sync", "7").stdout == "task:shop.sync: 7 at a time (was 2 at a time)\n"
    assert "any number at a time" in run("control", "concurrency", "shop.sync", "none").stdout
    assert "2 at a time" in run("control", "concurrency", "shop.sync", "--clear").stdout


def test_of_a_task_with_limits_of_both_kinds(run: Run, app: Umbel) -> None:
    assert "key:shop.both: 2/h (was 1/h)" in run("control", "rate-limit", "shop.both", "2/h").stdout
    assert "task:shop.both: 6 at a time" in run("control", "concurrency", "shop.both", "6").stdout
    assert "key:shop.both: 2/h, 3 at a time" in run("control", "concurrency", "shop.both", "3", "--per-key").stdout


def test_all_limits(run: Run, app: Umbel) -> None:
    app.control.rate_limit("shop.mail", "5/m")
    said = run("control").stdout
    assert "task:shop.mail" in said and "5/m, burst 5" in said and "70/s, burst 5" in said
    assert answer(run("control", "limits", "--json"))["task:shop.sync"]["concurrency"] == 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("rate-limit", "shop.mial", "5/s"), "did you mean 'shop.mail'?"),
        (("rate-limit", "shop.plain", "5/s"), "declares rate_limit or max_concurrency"),
        (("rate-limit", "shop.mail", "fast"), "'fast' is no rate"),
        (("rate-limit", "shop.mail"), "say a value, or --clear"),
        (("rate-limit", "shop.mail", "5/s", "--clear"), "not both"),
        (("rate-limit", "shop.mail", "5/s", "--per-key"), "has no limit per key"),
        (("concurrency", "shop.sync", "1.5"), "must be a whole number"),
    ],
)
def test_what_cannot_be_meant(run: Run, args: tuple[str, ...], words: str) -> None:
    assert words in failed(run("control", *args), 2)


def test_the_same_from_python(app: Umbel) -> None:
    task = app.tasks["shop.mail"]
    changed = app.control.rate_limit(task, "10/s", burst=1)
    assert (changed.rule, changed.after) == ("task:shop.mail", Rule(1, 100, 1))
    assert app.control.concurrency(task, 3).after == Rule(1, 100, 1, 3)
    assert app.control.clear(task).after == Rule(7, 100, 5)
    with pytest.raises(ConfigError, match="must be a whole number from 0"):
        app.control.concurrency(task, -1)


def test_lanes(run: Run, app: Umbel) -> None:
    assert run("queues", "lanes").stdout == "nothing waits in a lane\n"
    for account in (1, 1, 1, 2, 3):
        app.tasks["shop.sync"].delay(account)
    for x in "aa":
        app.tasks["shop.both"].delay(x)
    claim(app)
    said = run("queues", "lanes").stdout
    assert "lock:sync:1" in said and "1 of 1 run" in said and "task:shop.sync: 2 of 2 run" in said
    assert "key:shop.both:a" in said and "its rate of 1/h, in 59 min" in said
    found = {one["limit"]: one for one in answer(run("queues", "lanes", "default", "--json"))}
    assert (found["lock:sync:1"]["waiting"], found["lock:sync:1"]["waits"]) == (2, "concurrency")
    assert found["lock:sync:3"]["waits"] == "group_concurrency" and found["key:shop.both:a"]["until"] > 0


def test_status_tells_of_what_is_held(run: Run, app: Umbel) -> None:
    assert "held" not in run("status").stdout
    run("control", "rate-limit", "shop.mail", "0")
    run("control", "rate-limit", "shop.both", "0")
    said = run("status").stdout
    assert "'shop.mail' is held at 0 by umbel control: umbel control rate-limit shop.mail --clear\n" in said
    assert "umbel control rate-limit shop.both --clear --per-key" in said


def test_why_it_does_not_run(run: Run, app: Umbel) -> None:
    sync = app.tasks["shop.sync"]
    sync.delay(1)
    waits = sync.delay(1)
    claim(app)
    said = run("task", "show", waits.id).stdout
    assert "it stands in the lane 'lock:sync:1', which waits for 1 of 1 run" in said
    require(app.producer.broker(), Limits).override("task:shop.mail", Rule(0))
    held = app.tasks["shop.mail"].delay("x")
    said = run("task", "show", held.id).stdout
    assert "which waits for its rate of 0, until that is changed" in said
