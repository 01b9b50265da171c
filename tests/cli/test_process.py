"""The command as people start it: ``python -m umbel`` in a project's folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_for

TASKS = """
from umbel import Umbel

app = Umbel("shop")

@app.task(track=True)
def add(a: int, b: int) -> int:
    return a + b

@app.task(queue="emails")
def boom() -> None:
    raise ValueError("no such account")
"""


def umbel(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umbel", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env={**os.environ, **environment})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


def test_the_first_five_minutes(project: Path) -> None:
    sent = umbel("call", "tasks.add", "[1, 2]")
    assert sent.returncode == 0 and f"database {project}/umbel.db" in sent.stderr
    id = sent.stdout.strip()
    assert umbel("call", "tasks.boom").returncode == 0
    asked = umbel("task", "show", id)
    assert "no worker is running, so nobody serves 'default'" in asked.stdout
    worker = subprocess.Popen([sys.executable, "-m", "umbel", "-A", "tasks", "worker", "-l", "info", "-c", "1", "--pidfile", "pid"])
    try:
        wait_for(lambda: "it succeeded" in umbel("task", "show", id).stdout, 30, 0.1)
        wait_for(lambda: json.loads(umbel("dead", "list", "--json").stdout), 30, 0.1)
        status = json.loads(umbel("status", "--json").stdout)
        assert status["app"] == "shop"
        assert status["workers"][0]["about"]["queues"] == ["default", "emails"]
        assert status["workers"][0]["about"]["pid"] == int(Path("pid").read_text())
        waited = umbel("call", "tasks.add", "[3, 4]", "--wait", "30")
        assert (waited.returncode, waited.stdout) == (0, "7\n")
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(180) == 0
    assert umbel("status").stdout.count("1 dead letter") == 1
    assert not Path("pid").exists()


@pytest.mark.parametrize("command", [("worker",), ("call", "tasks.add"), ("status",)])
def test_a_module_that_does_not_import(project: Path, command: tuple[str, ...]) -> None:
    (project / "tasks.py").write_text("from umbel import Umbel\nimport nothing_of_that_name\napp = Umbel()\n")
    said = umbel(*command)
    assert said.returncode == 3
    assert "nothing_of_that_name" in said.stderr and "line 2" in said.stderr
    assert "importlib" not in said.stderr


def test_a_worker_without_its_broker(project: Path) -> None:
    said = umbel("worker", "--fail-fast", "--broker", "redis://127.0.0.1:1/0")
    assert said.returncode == 69, said.stderr


def test_call_finds_mistakes(project: Path) -> None:
    for args, words in [
        (("add",), "did you mean 'tasks.add'"),
        (("tasks.add", "[1]"), "'b'"),
        (("tasks.add", '[1, "x"]'), "add(b)"),
        (("tasks.add", "1"), "write it as '[1, 2]'"),
        (("tasks.add", "["), "is not JSON"),
        (("tasks.add", "[1,2]", "--eta", "soon"), "is no time"),
        (("tasks.add", "[1,2]", "-a", "[1]"), "given twice"),
    ]:
        said = umbel("call", *args)
        assert said.returncode == 2 and words in said.stderr and "Traceback" not in said.stderr, said.stderr
    assert not (project / "umbel.db").exists() or json.loads(umbel("status", "--json").stdout)["queues"] == []


def test_call_options(project: Path) -> None:
    sent = umbel("call", "tasks.add", "-a", "[1]", "-k", '{"b": 2}', "--countdown", "3600", "--task-id", "mine", "--queue", "q", "--json")
    assert json.loads(sent.stdout) == {"id": "mine", "task": "tasks.add", "duplicate_of": None}
    again = umbel("call", "tasks.add", "[1, 2]", "--task-id", "mine")
    assert again.returncode == 0 and "duplicate of mine" in again.stderr
    shown = json.loads(umbel("task", "show", "mine", "--json").stdout)
    assert shown["message"]["place"] == "scheduled" and shown["message"]["queue"] == "q"
    assert umbel("call", "elsewhere.task", "[1]", "--force").returncode == 0


def test_call_with_a_broker_and_no_app(tmp_path: Path) -> None:
    broker = f"sqlite:///{tmp_path}/other.db"
    assert umbel("--broker", broker, "call", "elsewhere.task", "[1]", "--force").returncode == 0
    assert json.loads(umbel("--broker", broker, "status", "--json").stdout)["queues"][0]["ready"] == 1


def test_config_says_where_each_value_came_from(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.umbel]\nheartbeat = 4\nbroker = "redis://user:secret@host/0"\n')
    said = umbel("config", "--json", UMBEL_LEASE_TTL="30")
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(said.stdout)}
    assert rows["name"] == ("shop", "code")
    assert rows["heartbeat"] == (4, "pyproject")
    assert rows["lease_ttl"] == (30, "environment")
    assert rows["time_limit"] == (330, "default")
    assert "secret" not in said.stdout
    changed = umbel("config", "--changed").stdout
    assert changed.count("\n") == 4 and "pyproject.toml [tool.umbel]" in changed


def test_config_without_a_working_app(project: Path) -> None:
    (project / "tasks.py").write_text("app = Umbel()")
    said = umbel("config")
    assert said.returncode == 0 and "its app cannot be read" in said.stderr and "lease_ttl" in said.stdout
    assert umbel("-A", "tasks", "config").returncode == 3


def test_unknown_settings_are_one_line(project: Path) -> None:
    said = umbel("status", UMBEL_BROKR="x")
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert "did you mean 'UMBEL_BROKER'" in said.stderr


def test_debug_shows_the_trace(project: Path) -> None:
    said = umbel("status", UMBEL_DEBUG="1")
    assert said.returncode == 69 and "Traceback" in said.stderr


def test_help_needs_no_worker_and_no_broker() -> None:
    code = "import sys; from umbel.cli.group import umbel; umbel.main(['--help'])"
    slow = ["umbel.app", "umbel.worker", "umbel.brokers", "umbel.task", "importlib.metadata", "asyncio"]
    script = f"import atexit, sys; atexit.register(lambda: print('SLOW', [m for m in {slow} if m in sys.modules])); {code}"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and "SLOW []" in said.stdout, said.stdout[-300:]


def test_a_mistyped_command(project: Path) -> None:
    said = umbel("wroker")
    assert (said.returncode, said.stderr) == (2, "umbel: there is no command 'wroker'; did you mean 'worker'? (umbel --help)\n")


def test_a_group_without_a_command(project: Path) -> None:
    assert umbel("call", "tasks.add", "[1, 2]").returncode == 0
    assert [q["queue"] for q in json.loads(umbel("queues", "--json").stdout)] == ["default"]
    assert umbel("dead").stdout == "no dead letters\n"
    assert umbel("task").stderr == "umbel: Missing command. (umbel task --help)\n"


def test_a_closed_pipe_is_no_trace(project: Path) -> None:
    said = subprocess.run(f"{sys.executable} -m umbel config | head -1", shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in said.stderr
