"""Queues: list, peek, purge, pause, resume."""

from __future__ import annotations

from tests.cli.conftest import Run, Stage, answer
from umbel.facets import Serves, require


def test_peek_shows_the_next_and_takes_nothing(run: Run, stage: Stage) -> None:
    first, second = stage.send("t.a", 1, kwargs={"x": 2}), stage.send("t.b")
    got = answer(run("queues", "peek", "default", "--json"))
    assert [(m["id"], m["task"]) for m in got] == [(first, "t.a"), (second, "t.b")]
    assert got[0]["args"] == [1] and got[0]["kwargs"] == {"x": 2}
    said = run("queues", "peek", "default", "-n", "1")
    assert "(1, x=2)" in said.stdout and "t.b" not in said.stdout and "there are more" in said.stderr
    assert stage.broker.stats()[0].ready == 2


def test_peek_elsewhere(run: Run, stage: Stage) -> None:
    stage.worker("default")
    stage.send("t.a")
    running = stage.lease("default")
    later = stage.send("t.b", after=60_000)
    assert [m["id"] for m in answer(run("queues", "peek", "default", "--scheduled", "--json"))] == [later]
    assert [m["worker"] for m in answer(run("queues", "peek", "default", "--running", "--json"))] == ["w1"]
    assert running in run("queues", "peek", "default", "--running").stdout


def test_a_queue_that_is_not_there(run: Run, stage: Stage) -> None:
    stage.send("t.a", queue="emails")
    for command in ("peek", "purge"):
        said = run("queues", command, "emials")
        assert said.exit_code == 1 and "did you mean 'emails'?" in said.stderr


def test_purge_asks_and_needs_an_answer(run: Run, stage: Stage) -> None:
    stage.send("t.a")
    said = run("queues", "purge", "default")
    assert said.exit_code == 2 and "--yes" in said.stderr
    assert stage.broker.stats()[0].ready == 1
    stage.send("t.a", after=60_000)
    assert answer(run("queues", "purge", "default", "--yes", "--json")) == {"purged": {"default": 2}}
    assert sum(q.ready + q.scheduled for q in stage.broker.stats()) == 0


def test_pause_and_resume(run: Run, stage: Stage) -> None:
    stage.worker("default")
    stage.send("t.a")
    assert run("queues", "pause", "default").stdout == "default: paused\n"
    assert "already paused" in run("queues", "pause", "default").stdout
    assert stage.broker.claim("w1-child", 1, ["default"], 1).deliveries == []
    assert answer(run("queues", "list", "--json"))[0]["paused"]
    assert run("queues", "resume", "default").stdout == "default: resumed\n"
    assert len(stage.broker.claim("w1-child", 2, ["default"], 1).deliveries) == 1


def test_pausing_a_queue_that_has_nothing_is_done_and_said(run: Run, stage: Stage) -> None:
    stage.send("t.a", queue="emails")
    said = run("queues", "pause", "emials")
    assert said.exit_code == 0 and "did you mean 'emails'?" in said.stderr


def test_a_name_that_no_queue_can_have(run: Run, stage: Stage) -> None:
    assert run("queues", "pause", "a\nb").exit_code == 2
    assert run("queues", "pause", "\udcff").exit_code == 2


def test_a_pause_is_for_all_releases(run: Run, stage: Stage) -> None:
    stage.worker("emails", "emails@1")
    require(stage.broker, Serves).serve("w1", ["emails", "emails@1"])
    stage.send("t.a", queue="emails@2")
    stage.send("t.a", queue="emails-of-others")
    assert answer(run("queues", "pause", "emails", "--json")) == {"paused": ["emails", "emails@1", "emails@2"]}
    said = run("queues", "resume", "emails")
    assert said.stdout == "emails: resumed\nemails@1: resumed\nemails@2: resumed\n"
    assert run("queues", "pause", "emails@2").stdout == "emails@2: paused\n"
    assert [one["queue"] for one in answer(run("queues", "list", "--json")) if one["paused"]] == ["emails@2"]


def test_what_is_left_by_a_release_is_served_by_who_takes_it_over(run: Run, stage: Stage) -> None:
    stage.worker("emails", "emails@2")
    stage.send("t.a", queue="emails@1")
    stage.send("t.a", queue="emails@2")
    found = {one["queue"]: one["workers"] for one in answer(run("queues", "list", "--json"))}
    assert found == {"emails@1": ["w1"], "emails@2": ["w1"]}
