"""What a shell is offered, asked as the shells ask, in a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from umbel.cli.completing import queue_names, task_names

TASKS = """
import nothing_of_that_name
from umbel import Umbel, shared_task

app = Umbel()

@app.task
def add(a, b): ...

@app.task(queue="emails")
async def send(user): ...

@app.task(name="billing.close", queue="reports")
def close_month(): ...

@shared_task
def shared(): ...

@unrelated
def not_a_task(): ...
"""


def offered(*words: str) -> list[str]:
    """As bash asks: the last word is the one that is being typed."""
    environment = {**os.environ, "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_UMBEL_COMPLETE": "bash_complete"}
    command = [sys.executable, "-c", "from umbel.cli import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tasks.py").write_text(TASKS)
    (tmp_path / "broken.py").write_text("@app.task\ndef (:\n")
    (tmp_path / "binary.py").write_bytes(b"\x00task\xff")
    for hidden in (".venv", "node_modules", "env"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "b.py").write_text(TASKS)
    (tmp_path / "env" / "pyvenv.cfg").touch()


def test_commands_and_options() -> None:
    assert offered("umbel", "wo") == ["worker"]
    assert offered("umbel", "queues", "p") == ["pause", "peek", "purge"]
    assert "--reload-dir" in offered("umbel", "worker", "--re")
    assert offered("umbel", "worker", "-l", "w") == ["warning"]
    assert offered("umbel", "completion", "") == ["bash", "zsh", "fish"]


def test_tasks_and_queues_though_the_app_does_not_import() -> None:
    assert offered("umbel", "call", "") == ["billing.close", "shop.tasks.add", "shop.tasks.send", "shop.tasks.shared"]
    assert offered("umbel", "call", "sen") == ["shop.tasks.send"]
    assert offered("umbel", "queues", "peek", "") == ["default", "emails", "reports"]
    assert offered("umbel", "worker", "-Q", "emails,") == ["emails,default", "emails,reports"]
    assert offered("umbel", "dead", "list", "--task", "bil") == ["billing.close"]


def test_it_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "walk", broken)
    nothing: list[str] = []
    assert task_names(None, None, "") == nothing  # type: ignore[arg-type]  # neither is looked at
    assert queue_names(None, None, "") == ["default"]  # type: ignore[arg-type]  # neither is looked at


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(shell: str, tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-m", "umbel", "completion", shell], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and "_UMBEL_COMPLETE" in said.stdout
    if shutil.which(shell):
        (tmp_path / "script").write_text(said.stdout)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, timeout=60)
