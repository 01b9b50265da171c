"""What stands in the store, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import Run, Stage, answer
from tests.servers import RedisServer
from umbel.broker import Facet
from umbel.brokers import make_broker


def test_queues_workers_and_nothing_wrong(run: Run, stage: Stage) -> None:
    stage.worker("default")
    stage.send("t.a")
    said = run("status")
    assert said.exit_code == 0
    assert "Nothing waits in vain" in said.stdout
    got = answer(run("status", "--json"))
    assert [(q["queue"], q["ready"], q["workers"]) for q in got["queues"]] == [("default", 1, ["w1"])]
    assert got["workers"][0]["about"]["pid"] == 42 and got["wrong"] == []


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"concurrency": 4, "pool": "prefork", "children": 4}, "4"),
        ({"concurrency": 100, "pool": "asyncio", "children": 2}, "2 x 100 asyncio"),
        ({"concurrency": 8}, "8"),
        ({}, "-"),
    ],
)
def test_how_many_tasks_a_worker_runs_at_once(run: Run, stage: Stage, about: dict[str, object], said: str) -> None:
    stage.broker.renew("w1", 600.0, msgspec.json.encode({"pid": 42, "queues": ["default"], **about}))
    [line] = [line for line in run("status").stdout.splitlines() if line.startswith("w1 ")]
    assert f" {said}  " in line or line.split()[3] == said
    assert answer(run("status", "--json"))["workers"][0]["about"].get("children", 0) == about.get("children", 0)


def test_says_what_is_wrong(run: Run, stage: Stage) -> None:
    stage.worker("default", "paused")
    stage.send("t.a", queue="emails")
    stage.send("t.a", queue="paused")
    stage.broker.pause_queue("paused")  # type: ignore[attr-defined]  # the SQLite broker has this facet
    stage.send("t.a")
    stage.kill("default")
    wrong = "\n".join(answer(run("status", "--json"))["wrong"])
    assert "queue 'paused' is paused" in wrong and "umbel queues resume paused" in wrong
    assert "no worker serves 'emails' (those that run serve default, paused)" in wrong
    assert "1 dead letter: umbel dead list" in wrong


def test_no_worker_at_all(run: Run, stage: Stage) -> None:
    stage.send("t.a")
    assert "no worker is running" in run("status").stdout


def test_a_worker_whose_lease_is_over(run: Run, stage: Stage) -> None:
    stage.worker("default")
    stage.lapse()
    stage.send("t.a")
    wrong = answer(run("status", "--json"))["wrong"]
    assert any("worker w1 is gone" in line for line in wrong)
    assert any("no worker is running" in line for line in wrong)


def test_a_table_keeps_to_80_columns(run: Run, stage: Stage) -> None:
    stage.worker("default", *(f"queue-{n}" for n in range(30)), name="a-host-with-a-long-name.example.org.12345.abcdef012345")
    stage.send("t.a", queue="q" * 150)
    for command in (("status",), ("queues", "list"), ("queues", "peek", "q" * 150)):
        lines = run(*command).stdout.splitlines()
        assert [line for line in lines if len(line) > 80 and not line.startswith(("!", "umbel on"))] == []


def test_control_characters_never_reach_the_terminal(run: Run, stage: Stage) -> None:
    evil = "\x1b[31mred\x07\r\n\u202e\x9b"
    id = stage.send(evil, evil, queue=evil, kwargs={evil: evil})
    stage.worker(evil, name=evil)
    for command in (("status",), ("queues", "list"), ("queues", "peek", evil), ("task", "show", id), ("queues", "peek", evil + "x")):
        for more in ((), ("--json",)):
            said = run(*command, *more)
            assert not set(said.stdout + said.stderr) & set("\x1b\x07\r\u202e\x9b"), command
    stage.seq = 0
    stage.broker.admit(evil, "w1-child")
    stage.kill(evil, "failed", ValueError(evil))
    for command in (("dead", "list"), ("dead", "show", id)):
        said = run(*command)
        assert said.exit_code == 0 and not set(said.stdout) & set("\x1b\x07\r\u202e\x9b")


def test_a_hostile_name_stays_one_word_of_a_suggested_command(run: Run, stage: Stage) -> None:
    stage.worker("default")
    stage.send("t.a", queue="x; touch y")
    assert "umbel worker -Q 'x; touch y'" in run("status").stdout


def test_broker_alone_imports_no_app(run: Run, stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('imported')\napp = Umbel()")
    stage.send("t.a")
    assert run("status").exit_code == 0


def test_the_environment_names_the_broker(bare: Run, stage: Stage, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.send("t.a")
    monkeypatch.setenv("UMBEL_BROKER", url)
    assert answer(bare("status", "--json"))["queues"][0]["ready"] == 1


def test_looking_makes_no_database(bare: Run, tmp_path: Path) -> None:
    said = bare("status")
    assert said.exit_code == 69
    assert f"there is no database {tmp_path}/umbel.db" in said.stderr
    assert not (tmp_path / "umbel.db").exists()


def test_the_default_database_is_named(bare: Run, tmp_path: Path) -> None:
    broker = make_broker(f"sqlite:///{tmp_path}/umbel.db")
    broker.open()
    broker.close()
    assert f"umbel: database {tmp_path}/umbel.db\n" in bare("status").stderr


def test_a_broker_without_the_facet(bare: Run, redis_server: RedisServer) -> None:
    broker = f"redis://127.0.0.1:{redis_server.port}/0"
    said = bare("--broker", broker, "--app-name", "cli-facets", "status")
    assert said.exit_code == 0, said.output
    lacks = Facet.INSPECTS not in make_broker(broker).capabilities.facets
    assert ("does not tell its workers" in said.stderr) == lacks
    said = bare("--broker", broker, "--app-name", "cli-facets", "dead", "retry", "some-id")
    assert said.exit_code == (2 if lacks else 1)
    assert "Traceback" not in said.output and ("does not support 'inspects'" in said.stderr) == lacks


def test_a_shared_store_needs_the_apps_name(bare: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    broker = f"redis://127.0.0.1:{redis_server.port}/0"
    (tmp_path / "tasks.py").write_text("from umbel import Umbel\napp = Umbel('cli-named', set_as_current=False)")
    assert answer(bare("--broker", broker, "status", "--json"))["app"] == "cli-named"
    (tmp_path / "app.py").write_text("1/0\nUmbel()")
    said = bare("-A", "app", "--broker", broker, "status")
    assert said.exit_code == 3 and "ZeroDivisionError" in said.stderr and "--app-name NAME --broker URL does without it" in said.stderr


def test_a_broker_out_of_reach(bare: Run) -> None:
    said = bare("--broker", "redis://127.0.0.1:1/0", "--app-name", "x", "status")
    assert said.exit_code == 69
    assert said.stderr.startswith("umbel: ") and said.stderr.count("\n") == 1 and "Traceback" not in said.output
