"""``umbel worker``: what Celery's users type, and what it becomes. The worker itself does not start here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from umbel.worker import supervisor
from umbel.worker.options import WorkerOptions


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[WorkerOptions]:
    """The options of each worker that would have been started; each ends with 75, as after a drain without time."""
    seen: list[WorkerOptions] = []

    class Recorder:
        def __init__(self, options: WorkerOptions, twin: object = None) -> None:
            seen.append(options)

        def run(self) -> int:
            return 75

    monkeypatch.setattr(supervisor, "Supervisor", Recorder)
    return seen


def test_celerys_line(bare: Run, started: list[WorkerOptions]) -> None:
    assert bare("-A", "proj", "worker", "-l", "INFO").exit_code == 75
    assert bare("worker", "-A", "proj", "-l", "info", "-P", "prefork").exit_code == 75
    assert started[0] == started[1]
    assert (started[0].app, started[0].loglevel, started[0].settings) == ("proj", "info", {})


def test_every_flag(bare: Run, started: list[WorkerOptions], tmp_path: Path) -> None:
    line = "worker -A p:app -b redis://h/0 --app-name n -c 3 -Q b,a,,b --strict -n w@%h --loglevel debug --logfile l --pidfile p"
    said = bare(*line.split(), "--time-limit", "30", "--soft-time-limit", "20", "--fail-fast", "--json", *["--max-tasks-per-child", "9"])
    assert said.exit_code == 75, said.output
    assert started == [
        WorkerOptions(
            app="p:app",
            concurrency=3,
            queues=("b", "a"),
            strict=True,
            name=f"w@{os.uname().nodename}",
            loglevel="debug",
            logfile=f"{tmp_path}/l",
            log_json=True,
            pidfile=f"{tmp_path}/p",
            fail_fast=True,
            settings={"broker": "redis://h/0", "name": "n", "time_limit": "30", "soft_time_limit": "20", "max_tasks_per_child": "9"},
        )
    ]


def test_flags_that_are_not_needed_are_accepted_with_a_note(bare: Run, started: list[WorkerOptions]) -> None:
    said = bare("-A", "p", "worker", "-B", "-E", "-O", "fair", "--without-gossip", "--without-mingle", "--without-heartbeat")
    assert said.exit_code == 75 and len(said.stderr.splitlines()) == 6


@pytest.mark.parametrize(
    "flags",
    ["-P gevent", "-P solo", "-D", "--autoscale 3,1"],
)
def test_what_this_version_has_not_is_said(bare: Run, started: list[WorkerOptions], flags: str) -> None:
    said = bare("-A", "p", "worker", *flags.split())
    assert said.exit_code == 2 and started == []
    assert said.stderr.startswith("umbel: ") and said.stderr.count("\n") == 1
    assert "not in this version" in said.stderr or "there is no such pool" in said.stderr


def test_pools(bare: Run, started: list[WorkerOptions]) -> None:
    for flags in ("-P threads", "-P asyncio", "-P asyncio -c 10000 --processes 2", "-c 3"):
        assert bare("-A", "p", "worker", *flags.split()).exit_code == 75
    assert [(one.pool, one.concurrency, one.children, one.beside) for one in started] == [
        ("threads", 10, 1, 10),
        ("asyncio", 100, 1, 100),
        ("asyncio", 10_000, 2, 10_000),
        ("prefork", 3, 3, 0),
    ]


@pytest.mark.parametrize("flags", ["--processes 2", "-P prefork --processes 1", "-c 1001", "-P threads -c 20001"])
def test_what_a_pool_has_not_is_said(bare: Run, started: list[WorkerOptions], flags: str) -> None:
    said = bare("-A", "p", "worker", *flags.split())
    assert said.exit_code == 2 and started == []


@pytest.mark.parametrize(
    "flags",
    ["-c 0", "-c x", "-l loud", "--time-limit soon", "--time-limit 0", "--logfile no/such/l", "-b nonsense", "--what", "extra"]
    + ["--max-tasks-per-child -1", "--max-tasks-per-child some", "--max-memory-per-child lots", "--max-memory-per-child 0"],
)
def test_bad_usage_is_one_line(bare: Run, started: list[WorkerOptions], flags: str) -> None:
    said = bare("-A", "p", "worker", *flags.split())
    assert said.exit_code == 2 and started == []
    assert said.stderr.startswith("umbel: ") and said.stderr.count("\n") == 1


def test_the_app_is_found_and_not_imported(bare: Run, started: list[WorkerOptions], tmp_path: Path) -> None:
    assert bare("worker").exit_code == 2
    (tmp_path / "tasks.py").write_text("raise SystemExit('imported')\nfrom umbel import Umbel\napp = Umbel()")
    assert bare("worker").exit_code == 75
    assert started[0].app == "tasks"


def test_reload(bare: Run, started: list[WorkerOptions], tmp_path: Path) -> None:
    assert bare("-A", "p", "worker").exit_code == 75
    assert bare("-A", "p", "worker", "--reload").exit_code == 75
    assert bare("-A", "p", "worker", "--reload-dir", ".", "--reload-include", "*.yaml").exit_code == 75
    assert bare("-A", "p", "up").exit_code == 75
    assert bare("-A", "p", "up", "--no-reload", "-P", "asyncio").exit_code == 75
    assert [one.reload for one in started] == [(), (str(tmp_path),), (str(tmp_path),), (str(tmp_path),), ()]
    assert [one.reload_include for one in started] == [("*.py",), ("*.py",), ("*.py", "*.yaml"), ("*.py",), ("*.py",)]
    assert [(one.pool, one.concurrency) for one in started[3:]] == [("prefork", 2), ("asyncio", 100)]
    assert (started[3].log_json, started[0].log_json) == (False, None)
    said = bare("-A", "p", "worker", "--reload-dir", "gone")
    assert said.exit_code == 2 and "there is no such folder" in said.stderr


@pytest.mark.parametrize("line", ["worker --reload", "up"])
def test_reload_without_its_package(bare: Run, started: list[WorkerOptions], monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    from umbel.cli import reload

    monkeypatch.setattr(reload, "find_spec", lambda _: None)
    said = bare("-A", "p", *line.split())
    assert said.exit_code == 2 and started == [] and "pip install 'umbel[dev]'" in said.stderr and said.stderr.count("\n") == 1
    assert bare("-A", "p", "up", "--no-reload").exit_code == 75
