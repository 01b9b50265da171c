"""Why is my task not running?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run, Stage, answer, tracked
from umbel.broker import Settle
from umbel.clock import SYSTEM
from umbel.failure import encode_result
from umbel.outcome import Done, Released, Retry


def why(run: Run, id: str) -> str:
    said = run("task", "show", id)
    got = answer(run("task", "show", id, "--json"))["why"]
    timeless = re.compile(r"[\d.]+ (?:s|min \d+ s)")  # the second of the two was asked a moment later
    assert all(timeless.sub("", line) in timeless.sub("", said.stdout) for line in got)
    return "\n".join(got)


def test_paused(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a")
    stage.broker.pause_queue("default")  # type: ignore[attr-defined]  # the SQLite broker has this facet
    assert "queue 'default' is paused: umbel queues resume default" in why(run, id)


def test_nobody_serves_its_queue(run: Run, stage: Stage) -> None:
    id = stage.send("t.a", queue="emails")
    assert "no worker is running" in why(run, id)
    stage.worker("default")
    assert "no worker serves 'emails' (those that run serve default): umbel worker -Q emails" in why(run, id)


def test_nobody_knows_the_task(run: Run, stage: Stage) -> None:
    id = stage.send("t.new")
    stage.worker("default", tasks=("t.old",))
    assert "no worker that serves 'default' knows the task 't.new'" in why(run, id)


def test_not_due(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a", after=3_600_000)
    assert "it is not due yet: due in 59 min" in why(run, id) or "due in 1 h" in why(run, id)


def test_waiting_behind_others(run: Run, stage: Stage) -> None:
    stage.worker("default")
    ids = [stage.send("t.a") for _ in range(3)]
    assert why(run, ids[0]) == "it is ready, and the next of its queue"
    assert why(run, ids[2]) == "it is ready, behind 2 in its queue"


def test_behind_more_than_a_page(run: Run, stage: Stage) -> None:
    stage.worker("default")
    ids = [stage.send("t.a") for _ in range(1_203)]
    assert why(run, ids[-1]) == "it is ready, behind 1,202 in its queue"


def test_running(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a", **tracked())
    stage.lease("default")
    assert "it is in the hands of worker w1 (pid 42 on box), handed out 0." in why(run, id)


def test_running_where_the_worker_is_gone(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a")
    stage.lease("default")
    stage.broker.renew("w1", 0.001)
    assert "that worker's lease ended" in why(run, id)


def test_dead(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a")
    stage.kill("default")
    said = run("task", "show", id).stdout
    assert "(failed): its last attempt failed" in said and f"umbel dead retry {id}" in said and "ValueError: no such account" in said


def test_retry(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a")
    stage.lease("default")
    stage.broker.settle("w1-child", 2, [Settle(stage.held.receipt, Retry(60_000, b""))])
    assert "attempt 2: due in" in why(run, id)


def test_parked(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a")
    stage.lease("default")
    stage.broker.settle("w1-child", 2, [Settle(stage.held.receipt, Released(60_000, "unknown task", parked=True))])
    said = why(run, id)
    assert "it is parked since" in said and "next try: due in" in said


def test_expired(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a", expires=SYSTEM.now() - 5_000)
    assert "it expired 5." in why(run, id)


def test_finished_with_a_record(run: Run, stage: Stage) -> None:
    stage.worker("default")
    id = stage.send("t.a", **tracked())
    stage.lease("default")
    stage.broker.settle("w1-child", 2, [Settle(stage.held.receipt, Done(encode_result({"x": 1}, 1000)))])
    assert "it succeeded" in why(run, id)
    assert answer(run("task", "show", id, "--json"))["record"]["result"] == {"x": 1}


def test_unknown(run: Run, stage: Stage) -> None:
    said = run("task", "show", "nope")
    assert said.exit_code == 1 and "the store knows no message with this id" in said.stdout


def test_cancel(run: Run, stage: Stage) -> None:
    stage.worker("default")
    first, second = stage.send("t.a"), stage.send("t.a")
    stage.lease("default")
    assert answer(run("task", "cancel", second, "--json")) == {"id": second, "found": "waiting"}
    assert "it runs; it may finish" in run("task", "cancel", first).stdout
    assert "cancelled, and will not run again" in why(run, first)
    assert run("task", "cancel", second).exit_code == 1


def test_redacted_arguments_are_never_shown(run: Run, stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.umbel]\nredact = ["password"]\n')
    id = stage.send("t.a", "positional-secret", kwargs={"password": "named-secret", "deep": {"password": "deep-secret"}, "n": 1})
    for command in (("task", "show", id), ("task", "show", id, "--json"), ("queues", "peek", "default")):
        assert "secret" not in run(*command).stdout
    assert "n=1" in run("task", "show", id).stdout


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[1]", b'{"t":', b'{"t":"x","a":{"not":"a list"},"k":[1]}', b'{"t":"x","a":[' + b"[" * 5000]
)
def test_foreign_bodies_are_shown_all_the_same(run: Run, stage: Stage, body: bytes) -> None:
    from umbel.envelope import Envelope

    stage.broker.enqueue([Envelope("odd", "default", body)])
    for command in (("task", "show", "odd"), ("queues", "peek", "default"), ("status",)):
        for more in ((), ("--json",)):
            said = run(*command, *more)
            assert said.exit_code == 0, said.exception
