"""``umbel shell``: what is there, and how it ends."""

from __future__ import annotations

import os
import pty
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

@app.task(name="one.same")
def first(): ...

@app.task(name="other.same")
def second(): ...
"""


def shell(*args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umbel", "shell", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, input=input or "")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)


def test_one_line() -> None:
    said = shell("-c", "add(1, 2)")
    assert (said.returncode, said.stdout) == (0, "3\n")
    assert "broker is None: there is no database" in said.stderr
    id = shell("-c", "print(add.delay(1, 2).id)").stdout.strip()
    assert shell("-c", f"print(AsyncResult({id!r}).state, broker.stats()[0].ready, app.name)").stdout == "PENDING 1 shop\n"
    assert shell("-c", "sorted(tasks), 'same' in globals()").stdout == "(['one.same', 'other.same', 'tasks.add'], False)\n"


def test_a_script() -> None:
    said = shell(input="total = 0\nfor n in range(3):\n    total += add(n, 1)\nprint(total)\n")
    assert (said.returncode, said.stdout) == (0, "6\n")


def test_errors() -> None:
    said = shell("-c", "add(1)")
    assert said.returncode == 1 and "TypeError: add() missing 1 required" in said.stderr and "cli/shell.py" not in said.stderr
    assert shell("-c", "def (").returncode == 1
    assert shell("-c", "raise SystemExit(7)").returncode == 7
    Path("tasks.py").write_text("import nothing_of_that_name\nfrom umbel import Umbel\napp = Umbel()")
    assert shell("-c", "1").returncode == 3


def test_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "umbel", "shell", "--plain"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    os.set_blocking(ours, False)
    said = b""

    def has(text: bytes) -> bool:
        nonlocal said
        try:
            said += os.read(ours, 65536)
        except (BlockingIOError, OSError):  # nothing more now; or, after its end, never again
            pass
        return text in said

    try:
        wait_for(lambda: has(b">>>"), 30)
        assert b"umbel shell" in said and b"add" in said and b"shop" in said
        os.write(ours, b"add(20, 22)\n")
        wait_for(lambda: has(b"42"), 30)
        os.write(ours, b"exit()\n")
        assert process.wait(180) == 0
    finally:
        process.kill()
        process.wait(180)
        os.close(ours)
