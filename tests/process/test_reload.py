"""``--reload`` with real workers: each edit is live soon, broken code stops nothing, no process is left over, no task is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.arena import Worker, _children_of, _session
from tests.waiting import wait_for
from umbel import Umbel

EDITS = int(os.environ.get("UMBEL_TEST_EDITS", "6"))
LIVE = 2.0
"""Seconds in which an edit is to be live, on a machine that has nothing else to do."""

CODE = """
import os, time
from umbel import Umbel

app = Umbel("edited", shutdown_timeout=10)
VERSION = {version}
OUT = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def put(*words):
    os.write(OUT, (" ".join(map(str, words)) + "\\n").encode())

@app.task(name="which")
def which(n):
    put("which", n, VERSION, os.getpid())

@app.task(name="slow")
def slow(n, seconds):
    put("begin", n, VERSION, os.getpid())
    time.sleep(seconds)
    put("slow", n, VERSION, os.getpid())
"""


class Project:
    """A folder with a module that is edited, and a worker on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "worker.txt"
        self.out = folder / "ran"
        (folder / "pyproject.toml").touch()
        self.edits = 0
        self.edit(1000)
        self.app = Umbel("edited", broker=f"sqlite:///{folder}/umbel.db", set_as_current=False)
        self.sent = 0
        self.worker: Worker

    def edit(self, version: int) -> None:
        """The same size each time, as a digit that is typed; by a file that replaces the other, as editors do."""
        self.write(CODE.format(version=version))

    def write(self, text: str) -> None:
        new = self.folder / ".edited.py.swp"
        new.write_text(text)
        self.edits += 1  # Python takes edits of one size within one second for the same
        os.utime(new, ns=(10**18 + self.edits * 10**6, 10**18 + self.edits * 10**6))
        new.rename(self.folder / "edited.py")

    def start(self, *arguments: str, ready: bool = True) -> None:
        command = [sys.executable, "-m", "umbel", "-A", "edited:app", "worker", "-c", "2", "--reload", *arguments]
        self.worker = Worker.__new__(Worker)
        self.worker.log = self.log
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["UMBEL_BROKER"] = f"sqlite:///{self.folder}/umbel.db"
        with self.log.open("ab") as log:
            self.worker.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        if ready:
            self.worker.ready()

    def which(self) -> int:
        self.sent += 1
        self.app.send_task("which", (self.sent,))
        return self.sent

    def ran(self, kind: str = "which") -> dict[int, list[tuple[int, int]]]:
        """By the call's number: the versions that ran it, and the processes."""
        found: dict[int, list[tuple[int, int]]] = {}
        for line in self.out.read_text().splitlines() if self.out.exists() else ():
            what, n, version, pid = line.split()
            if what == kind:
                found.setdefault(int(n), []).append((int(version), int(pid)))
        return found

    def live(self, version: int, timeout: float = 30.0) -> None:
        """Call until the version answers."""

        def answers() -> bool:
            n = self.which()
            wait_for(lambda: n in self.ran(), timeout)
            return self.ran()[n][0][0] == version

        try:
            wait_for(answers, timeout, 0.02)
        except AssertionError:
            raise AssertionError(self.log.read_text()) from None

    def charged(self, id: str) -> tuple[int, int]:
        """Attempt and crashes of a message that is there."""
        broker = self.app.make_broker()
        broker.open()
        found = broker.find(id)  # type: ignore[attr-defined]  # a store that inspects
        broker.close()
        return found.envelope.attempt, found.envelope.crashes

    def says(self, text: str, times: int = 1, timeout: float = 30.0) -> None:
        wait_for(lambda: self.log.read_text(errors="replace").count(text) >= times, timeout)

    def nothing_left_over(self) -> None:
        """Supervisor, one template, two children: nobody else, soon."""

        def tidy() -> bool:
            pid = self.worker.pid
            templates = _children_of(pid)
            return len(templates) == 1 and len(_session(pid)) == 4

        wait_for(tidy, 20)

    def stop(self) -> None:
        assert self.worker.stop() == 0, self.log.read_text()
        assert _session(self.worker.pid) == []


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    if hasattr(made, "worker"):
        made.worker.kill_tree()
        made.worker.process.wait(180)
    made.app.close()


@pytest.mark.chaos
def test_each_of_many_edits_is_live_soon(project: Project) -> None:
    project.start()
    project.live(1000)
    took = []
    for version in range(1001, 1001 + EDITS):
        begun = time.monotonic()
        project.edit(version)
        project.live(version)
        took.append(time.monotonic() - begun)
    project.nothing_left_over()
    assert set(project.ran()) == set(range(1, project.sent + 1)), "a task was lost"
    assert all(len(runs) == 1 for runs in project.ran().values()), "a task ran twice"
    print(f"{EDITS} edits: median {sorted(took)[len(took) // 2]:.2f} s, slowest {max(took):.2f} s")
    if "UMBEL_TEST_EDITS" in os.environ:  # a figure, for a machine that has nothing else to do
        assert max(took) < LIVE, [(n, round(t, 2)) for n, t in enumerate(took) if t > 1]
    project.stop()


def test_where_the_system_does_not_tell_of_edits(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    project.start()
    project.live(1000)
    project.edit(1001)
    project.live(1001)
    project.nothing_left_over()
    project.stop()


def test_a_folder_of_sources_that_comes_at_once(project: Project) -> None:
    """As git checkout or an editor moves them in; an empty one, or a change of a folder itself, is no edit."""
    project.start()
    (project.folder / "data").mkdir()
    (project.folder / "data" / "x.csv").touch()
    package = project.folder / ".coming"
    package.mkdir()
    (package / "__init__.py").touch()
    package.rename(project.folder / "come")
    project.says("children come from new code")
    assert "come/__init__.py changed" in project.log.read_text()
    assert project.log.read_text().count(" changed") == 1
    (project.folder / "come" / "deeper").mkdir()
    (project.folder / "come" / "deeper" / "one.py").touch()
    project.says("come/deeper/one.py changed")
    (project.folder / "come" / "deeper" / "one.py").unlink()
    project.says("come/deeper/one.py changed", 2)
    project.stop()


def test_broken_code_stops_nothing(project: Project) -> None:
    project.start()
    project.write("def (:\n")
    project.says("the old code goes on")
    project.live(1000)
    project.write(CODE.format(version=1001) + "\nimport nothing_of_that_name\n")
    project.says("the old code goes on", 2)
    assert "nothing_of_that_name" in project.log.read_text()
    project.live(1000)
    project.edit(1002)
    project.live(1002)
    project.nothing_left_over()
    project.stop()


def test_a_worker_that_starts_with_broken_code_waits_for_an_edit(project: Project) -> None:
    project.write("def (:\n")
    project.start(ready=False)
    project.says("waits for an edit")
    project.write("def ((:\n")
    project.says("waits for an edit", 2)
    project.edit(1001)
    project.live(1001)
    project.stop()


def test_what_runs_in_old_code_may_finish(project: Project) -> None:
    project.start()
    project.app.send_task("slow", (1, 2.0))
    wait_for(lambda: 1 in project.ran("begin"))
    project.edit(1001)
    project.live(1001)
    assert 1 not in project.ran("slow") or project.ran("slow")[1][0][0] == 1000
    wait_for(lambda: 1 in project.ran("slow"), 20)
    assert project.ran("slow")[1][0][0] == 1000 and len(project.ran("begin")[1]) == 1
    project.nothing_left_over()
    project.stop()


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_what_does_not_finish_in_time_runs_again_in_new_code_uncharged(project: Project, pool: str) -> None:
    project.start("-P", pool, *(() if pool == "prefork" else ("--processes", "2")))
    message = project.app.send_task("slow", (1, 3600.0))
    wait_for(lambda: 1 in project.ran("begin"))
    project.edit(1001)
    wait_for(lambda: len(project.ran("begin")[1]) == 2, 30)
    assert [version for version, _ in project.ran("begin")[1]] == [1000, 1001]
    assert project.charged(message.id) == (1, 0)
    project.nothing_left_over()


def test_a_task_that_does_not_let_itself_be_interrupted_is_killed_uncharged(project: Project) -> None:
    stubborn = """
@app.task(name="stubborn")
def stubborn(n):
    put("begin", n, VERSION, os.getpid())
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass
"""
    project.write(CODE.format(version=1000) + stubborn)
    project.start()
    message = project.app.send_task("stubborn", (1,))
    wait_for(lambda: 1 in project.ran("begin"), 20)
    project.write(CODE.format(version=1001) + stubborn)
    wait_for(lambda: len(project.ran("begin")[1]) == 2, 40)
    assert project.charged(message.id) == (1, 0)
    project.nothing_left_over()


def test_edits_faster_than_they_can_be_run(project: Project) -> None:
    """Every child busy for an hour, and an edit every moment: the last one is live all the same."""
    project.start()
    for n in (1, 2):
        project.app.send_task("slow", (n, 3600.0))
    wait_for(lambda: set(project.ran("begin")) == {1, 2}, 20)
    for version in range(1001, 1009):
        project.edit(version)
        project.says("children come from new code", 1)
        time.sleep(0.1)  # not waited for: an edit may find a template that is just being made
    wait_for(lambda: {runs[-1][0] for runs in project.ran("begin").values()} == {1008}, 60)
    project.nothing_left_over()


def test_what_is_no_source_changes_nothing(project: Project) -> None:
    project.start("--reload-include", "*.yaml")
    children = set(project.worker.children())
    for name in ("notes.txt", ".#edited.py", ".venv/lib/a.py", "__pycache__/b.py", "env/pyvenv.cfg", "env/c.py", "flycheck_edited.py"):
        file = project.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    (project.folder / "rates.yaml").write_text("x: 1")
    project.says("rates.yaml changed")
    project.says("children come from new code")
    wait_for(lambda: len(project.worker.children()) == 2 and not children & set(project.worker.children()), 20)
    assert project.log.read_text().count(" changed") == 1
    project.stop()


def test_new_tasks_and_queues_are_served_and_told(project: Project) -> None:
    project.start()
    more = '\n@app.task(name="late", queue="fresh")\ndef late(n):\n    put("late", n, VERSION, os.getpid())\n'
    project.write(CODE.format(version=1001) + more)
    project.says("new: late")
    project.app.send_task("late", (1,), queue="fresh")
    wait_for(lambda: 1 in project.ran("late"), 20)

    def told() -> bool:
        broker = project.app.make_broker()
        broker.open()
        [seen] = broker.workers()  # type: ignore[attr-defined]  # a store that inspects
        broker.close()
        return b"fresh" in seen.about and b"late" in seen.about

    wait_for(told, 20)
    project.stop()


def test_another_broker_needs_a_restart(project: Project) -> None:
    project.start()
    project.write(CODE.format(version=1001).replace('"edited"', '"renamed"'))
    project.says("says another name, which only a restart")
    project.live(1000)
    project.edit(1002)
    project.live(1002)
    project.nothing_left_over()
    project.stop()
