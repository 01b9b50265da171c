"""``umbel up`` on a terminal: its banner, an edit, Ctrl-C once and twice."""

from __future__ import annotations

import os
import pty
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.arena import _session
from tests.waiting import wait_for
from umbel import Umbel

CODE = """
import time
from umbel import Umbel
app = Umbel("upped")
@app.task(name="version")
def version(): open("ran", "a").write("VERSION\\n")
@app.task(name="slow")
def slow(seconds):
    open("begun", "a").write("x\\n")
    time.sleep(seconds)
    open("ended", "a").write("x\\n")
"""


class Terminal:
    """``umbel up`` in a terminal of its own, of which it is the foreground job."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.pid, self.end = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.environ["UMBEL_BROKER"] = f"sqlite:///{folder}/umbel.db"
            os.execv(sys.executable, [sys.executable, "-m", "umbel", "up", *arguments])
        os.set_blocking(self.end, False)
        self.text = ""
        self.status: int | None = None

    def says(self, text: str, timeout: float = 60.0) -> None:
        try:
            wait_for(lambda: text in self.read(), timeout)
        except AssertionError:
            raise AssertionError(self.text) from None

    def read(self) -> str:
        try:
            self.text += os.read(self.end, 65536).decode(errors="replace")
        except OSError:  # nothing there now, or it has ended
            pass
        return self.text

    def ctrl_c(self) -> None:
        os.write(self.end, b"\x03")

    def ended(self) -> bool:
        self.read()
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tasks.py").write_text(CODE.replace("VERSION", "one"))
    return tmp_path


@pytest.fixture
def app(project: Path) -> Iterator[Umbel]:
    made = Umbel("upped", broker=f"sqlite:///{project}/umbel.db", set_as_current=False)
    yield made
    made.close()


@pytest.fixture
def terminal(project: Path) -> Iterator[Terminal]:
    made = Terminal(project)
    yield made
    if not made.ended():
        os.killpg(made.pid, signal.SIGKILL)
    wait_for(made.ended, 20)
    os.close(made.end)


def test_an_edit_and_ctrl_c(terminal: Terminal, project: Path, app: Umbel) -> None:
    terminal.says(" ready")
    for words in ("Ctrl-C stops it", "umbel worker", "watches", "upped (tasks)"):
        assert words in terminal.text
    app.send_task("version")
    wait_for(lambda: (project / "ran").exists(), 20)
    (project / "tasks.py").write_text(CODE.replace("VERSION", "two"))
    terminal.says("children come from new code")

    def runs_new_code() -> bool:
        app.send_task("version")  # an old child may be about to take the first of these
        return "two" in (project / "ran").read_text()

    wait_for(runs_new_code, 20, every=0.2)
    app.send_task("slow", (1.0,))
    wait_for(lambda: (project / "begun").exists(), 20)
    terminal.ctrl_c()
    wait_for(terminal.ended, 40)
    assert terminal.status == 0 and (project / "ended").exists(), terminal.text
    assert "a second Ctrl-C ends it now" in terminal.text and "Traceback" not in terminal.text
    assert _session(terminal.pid) == []


def test_ctrl_c_twice(terminal: Terminal, project: Path, app: Umbel) -> None:
    terminal.says(" ready")
    app.send_task("slow", (3600.0,))
    wait_for(lambda: (project / "begun").exists(), 20)
    terminal.ctrl_c()
    terminal.says("shutting down")
    terminal.ctrl_c()
    wait_for(terminal.ended, 20)
    assert "giving back everything at once" in terminal.text and "Traceback" not in terminal.text
    assert _session(terminal.pid) == [] and not (project / "ended").exists()
    broker = app.make_broker()
    broker.open()
    assert broker.stats()[0].ready == 1
    broker.close()
