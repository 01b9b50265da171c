"""Schedules: list, show, add, pause, resume, run, remove."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run, Stage, answer
from umbel.facets import require
from umbel.ticks import Planned, Ticks

APP = """
from umbel import Umbel, cron
app = Umbel("umbel", redact=["token"])

@app.task(name="report", schedule=cron("0 4 * * *"))
def report(): ...

@app.task(name="poll", queue="slow")
def poll(bank, *, token=""): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(APP)


@pytest.fixture
def ticks(stage: Stage) -> Ticks:
    return require(stage.broker, Ticks)


def test_none(run: Run, stage: Stage) -> None:
    assert "there are no schedules" in run("schedule").stdout
    assert answer(run("schedule", "list", "--json")) == []


def test_adding_one_and_looking_at_it(run: Run, stage: Stage, project: None) -> None:
    said = run("schedule", "add", "nightly", "poll", '["bank"]', "--cron", "30 2 * * *", "--tz", "Europe/Moscow", "--no-overlap")
    assert said.exit_code == 0 and "nightly: cron 30 2 * * * (Europe/Moscow); next 2" in said.stdout, said.output
    got = answer(run("schedule", "show", "nightly", "--json"))
    assert (got["task"], got["args"], got["queue"], got["overlap"], got["in_code"], got["paused"]) == (
        "poll",
        ["bank"],
        "slow",
        False,
        False,
        False,
    )
    assert len(got["next"]) == 5 and all(at.endswith("T02:30:00+03:00") for at in got["next"])
    text = run("schedule", "show", "nightly").stdout
    assert "poll('bank')" in text and got["next"][4] in text and "at run time" in text
    listed = run("schedule", "list")
    assert "nightly" in listed.stdout and "no worker lives" in listed.stderr
    stage.worker("slow")
    assert "no worker lives" not in run("schedule", "list").stderr
    assert [one["name"] for one in answer(run("schedule", "list", "--json"))] == ["nightly"]


def test_secrets_are_not_shown(run: Run, stage: Stage, project: None) -> None:
    run("schedule", "add", "poll", "poll", '["bank"]', "-k", '{"token": "s3cret"}', "--every", "30")
    for command in (("show", "poll"), ("show", "poll", "--json"), ("list", "--json")):
        said = run("schedule", *command)
        assert said.exit_code == 0 and "s3cret" not in said.output and "poll" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("poll", '["b"]'), "one of --cron, --every and --at"),
        (("poll", '["b"]', "--every", "5", "--at", "2030-01-01"), "one of --cron, --every and --at"),
        (("poll", '["b"]', "--every", "5", "--tz", "UTC"), "--tz is the time zone of --cron"),
        (("poll", '["b"]', "--cron", "99 * * * *"), "bad minute"),
        (("poll", '["b"]', "--at", "soon"), "is no time"),
        (("poll", '["b"]', "--at", "2030-01-01"), "with a time zone"),
        (("poll", "--every", "5"), "missing 1 required positional argument"),
        (("pol", '["b"]', "--every", "5"), "did you mean 'poll'"),
        (("poll", "[b]", "--every", "5"), "not JSON"),
    ],
)
def test_what_cannot_be(run: Run, stage: Stage, project: None, arguments: tuple[str, ...], words: str) -> None:
    said = run("schedule", "add", "s", *arguments)
    assert said.exit_code == 2 and words in said.stderr, said.output


def test_a_name_that_is_taken(run: Run, stage: Stage, ticks: Ticks, project: None) -> None:
    run("schedule", "add", "s", "poll", '["a"]', "--every", "5")
    assert "replace=True" in run("schedule", "add", "s", "poll", '["b"]', "--every", "5").stderr
    assert run("schedule", "add", "s", "poll", '["b"]', "--every", "5", "--replace").exit_code == 0
    assert answer(run("schedule", "show", "s", "--json"))["args"] == ["b"]


def test_pausing_resuming_running_and_removing(run: Run, stage: Stage, ticks: Ticks, project: None) -> None:
    run("schedule", "add", "s", "poll", '["a"]', "--every", "3600")
    assert run("schedule", "pause", "s").stdout == "s: paused\n"
    assert "already paused" in run("schedule", "pause", "s").stdout
    assert answer(run("schedule", "show", "s", "--json"))["next"] == []
    assert "paused" in run("schedule", "list").stdout
    id = run("schedule", "run", "s").stdout.strip()
    assert [m["id"] for m in answer(run("queues", "peek", "slow", "--json"))] == [id]
    assert "s: resumed; next 2" in run("schedule", "resume", "s").stdout
    assert run("schedule", "remove", "s").exit_code == 0
    assert ticks.timetable().entries == []


def test_one_that_is_not_there(run: Run, stage: Stage, project: None) -> None:
    run("schedule", "add", "nightly", "poll", '["a"]', "--every", "5")
    for command in ("show", "pause", "resume", "run", "remove"):
        said = run("schedule", command, "nihtly")
        assert said.exit_code == 1 and "did you mean 'nightly'?" in said.stderr


def test_those_of_code_stay(run: Run, stage: Stage, ticks: Ticks) -> None:
    ticks.declare_schedules(
        "1", 60, 0, [Planned("report", "r", b'{"when":{"rule":{"type":"every","ms":60000}},"task":"report","queue":"q"}')]
    )
    said = run("schedule", "remove", "report")
    assert said.exit_code == 1 and "declared in code" in said.stderr
    assert "in code" in run("schedule", "show", "report").stdout


def test_one_of_a_newer_release(run: Run, stage: Stage, ticks: Ticks) -> None:
    ticks.add_schedule(Planned("new", "r", b'{"moon":1}'))
    assert "of a newer release" in run("schedule", "list").stdout
    assert run("schedule", "show", "new").exit_code == 0
    assert answer(run("schedule", "show", "new", "--json"))["when"] == "(of a newer release of umbel)"
    assert run("schedule", "run", "new").exit_code == 1


def test_names_that_would_steer_a_terminal(run: Run, stage: Stage, ticks: Ticks) -> None:
    ticks.add_schedule(Planned("\x1b[2J", "r", b'{"when":{"rule":{"type":"every","ms":60000}},"task":"\x1b]0;","queue":"q"}'))
    ticks.add_schedule(Planned("a", "r", b'{"when":{"rule":{"type":"every","ms":60000}},"task":"\\u001b]0;","queue":"q"}'))
    for command in (("list",), ("show", "a"), ("show", "\x1b[2J"), ("pause", "\x1b[2J")):
        assert "\x1b" not in run("schedule", *command).output
