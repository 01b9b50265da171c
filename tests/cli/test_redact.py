"""A secret is sent in every way, to tasks that end in every way; then everything that umbel printed and kept is searched for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_for

SECRET = "tr0ub4dor-and-3"
TASKS = """
import dataclasses, enum
from umbel import Discard, Retry, Task, Umbel
{redact}
class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Login:
    user: str
    password: str

class Loud(Task):
    def on_failure(self, exc, task_id, args, kwargs, einfo):
        raise RuntimeError(f"the hook has it too: {{args}} {{kwargs}}")

@app.task(track=True)
def named(user: str, password: str = "", meta: dict | None = None, login: Login | None = None) -> dict:
    return {{"user": user, "password": password, "meta": meta}}

@app.task(track=True)
def fails(password: str, extra: object = None) -> None:
    raise ValueError(f"cannot log in with {{password}} or {{[password]!r}}, {{extra}}")

@app.task(track=True)
def chained(password: str) -> None:
    try:
        raise OSError(password)
    except OSError as exc:
        raise RuntimeError("another") from exc

@app.task(base=Loud)
def hooked(password: str) -> None:
    raise ValueError("it fails")

@app.task
def later(password: str) -> None:
    raise Discard(f"not for {{password}}")

@app.task
def again(password: str) -> None:
    class Odd(Exception):
        def __eq__(self, other): raise ValueError(password)
        __hash__ = None
    raise Odd(password)

@app.task(retry=Retry(max=1, on=(OSError,), delay=3600))
def retried(password: str) -> None:
    raise OSError(password)

@app.task
def typed(password: Colour) -> None: ...
"""
IN_CODE = 'app = Umbel("vault", redact=["password"])'
ELSEWHERE = 'app = Umbel("vault")'
CALLS = [
    ("named", [f"user-{SECRET}"[:4], SECRET], {}),
    ("named", ["ada"], {"password": SECRET}),
    ("named", ["ada"], {"meta": {"Password": SECRET, "deep": [{"password": [SECRET]}]}}),
    ("named", ["ada"], {"login": {"user": "ada", "password": SECRET}}),
    ("fails", [SECRET], {}),
    ("fails", [], {"password": SECRET, "extra": {"password": SECRET + "4"}}),
    ("chained", [SECRET], {}),
    ("hooked", [SECRET], {}),
    ("later", [SECRET], {}),
    ("again", [SECRET], {}),
    ("retried", [SECRET], {}),
    ("typed", [SECRET], {}),
    ("gone", [SECRET], {"password": SECRET}),
]


def umbel(*args: str) -> str:
    command = [sys.executable, "-m", "umbel", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def send(force: bool = True) -> list[str]:
    """By one process, since starting one for each takes its time. Typed refuses at the call, so it is sent by name."""
    script = (
        "import json, sys, umbel, tasks\n"
        "other = umbel.Umbel('vault', set_as_current=False)\n"
        "for name, args, kwargs in json.load(sys.stdin):\n"
        "    print(other.send_task('tasks.' + name, args, kwargs, track=True).id)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps(CALLS), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def everything(ids: list[str]) -> dict[str, str]:
    """What each command that shows something shows, by its line."""
    lines = [("status",), ("queues", "list"), ("queues", "peek", "default"), ("queues", "peek", "default", "--scheduled")]
    lines += [("dead", "list"), ("config",), ("doctor",)]
    lines += [(kind, "show", id) for id in ids for kind in ("task", "dead")]
    lines += [("call", "tasks.fails", f'["{SECRET}"'), ("call", "tasks.typed", f'["{SECRET}"]'), ("call", "tasks.fails", f'"{SECRET}"')]
    return umbel_at_once([[*line, *more] for line in lines for more in ((), ("--json",))])


def umbel_at_once(lines: list[list[str]]) -> dict[str, str]:
    """What each of these lines prints, by the line. In one process, since starting them all takes its time."""
    script = (
        "import json, sys, click.testing\n"
        "from umbel.cli.group import umbel\n"
        "run = click.testing.CliRunner().invoke\n"
        "json.dump({' '.join(line): run(umbel, line).output for line in json.load(sys.stdin)}, sys.stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps(lines), capture_output=True, text=True, timeout=100, check=True)
    return dict(json.loads(done.stdout))


def check(printed: dict[str, str]) -> None:
    for line, said in printed.items():
        assert SECRET not in said.replace("\\", ""), (line, said)


@pytest.mark.parametrize("where", ["code", "pyproject", "environment"])
def test_a_secret_never_appears(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.py").write_text(TASKS.format(redact=IN_CODE if where == "code" else ELSEWHERE))
    if where == "pyproject":
        (tmp_path / "pyproject.toml").write_text('[tool.umbel]\nredact = ["password"]\n')
    elif where == "environment":
        monkeypatch.setenv("UMBEL_REDACT", "password")
    ids = send()
    check({"peek": umbel("queues", "peek", "default", "-n", "50"), "shown": umbel("task", "show", ids[0])})
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen([sys.executable, "-m", "umbel", "worker", "-c", "1", "-l", "debug"], stdout=out, stderr=out)
    try:
        wait_for(lambda: log.read_text().count("[") and all(id in log.read_text() for id in ids), 60, 0.1)
        wait_for(lambda: '"ready": 0' in umbel("status", "--json") and '"leased": 0' in umbel("status", "--json"), 60)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(180) == 0
    printed = everything(ids)
    check({"the worker's log": log.read_text(), **printed})
    shown = printed[f"task show {ids[1]}"]
    assert "succeeded" in shown and '"password": "***"' in shown and '"user": "ada"' in shown
    failed = printed[f"dead show {ids[4]}"]
    assert "cannot log in with ***" in failed and "tasks.py" in failed and "(***)" in failed
    assert "cannot log in with ***" in log.read_text() and "the hook has it too" in log.read_text()


def test_letters_that_are_older_than_the_setting(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS.format(redact=ELSEWHERE))
    ids = send()
    with subprocess.Popen([sys.executable, "-m", "umbel", "worker", "-c", "1", "-l", "error"], stderr=subprocess.DEVNULL) as worker:
        wait_for(lambda: '"ready": 0' in umbel("status", "--json") and '"leased": 0' in umbel("status", "--json"), 60)
        worker.send_signal(signal.SIGTERM)
    assert SECRET in umbel("dead", "show", ids[4])  # or the test would see nothing
    (tmp_path / "tasks.py").write_text(TASKS.format(redact=IN_CODE))
    check(umbel_at_once([["dead", "show", id, *more] for id in ids for more in ((), ("--json",))] + [["dead", "list"]]))


def test_an_app_that_cannot_be_read_hides_all(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS.format(redact=IN_CODE))
    ids = send()
    (tmp_path / "tasks.py").write_text(TASKS.format(redact=IN_CODE) + "\nimport nothing_of_that_name\n")
    os.environ["UMBEL_BROKER"] = f"sqlite:///{tmp_path}/umbel.db"
    try:
        said = umbel("task", "show", ids[0])
    finally:
        del os.environ["UMBEL_BROKER"]
    check({"show": said})
    assert "arguments are not shown" in said and "ada" not in said
