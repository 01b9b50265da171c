"""The first template, which is a fork of the supervisor's process: what it shares, what it must not, and who dies when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.arena import _children_of, _session
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all templates are started anew")

SHARED = 3 << 10
"""KiB. A supervisor shares 7 MiB with a template that was forked from it, on Redis 15; with one that was started 4 KiB."""
MODULE, SCRIPT = [sys.executable, "-m", "umbel"], [str(Path(sys.executable).with_name("umbel"))]


def _kib(pid: int, row: str) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rows if line.startswith(f"{row}:"))


# -- what is shared, and what is not


def test_supervisor_and_first_template_share_their_memory(arena):
    worker = arena.worker(concurrency=1).ready()
    assert _kib(worker.pid, "Shared_Dirty") > SHARED
    first = worker.template()
    worker.process.send_signal(signal.SIGHUP)  # the next one shall read all code anew, that of packages too
    wait_for(lambda: first not in _session(worker.pid))
    assert _kib(worker.pid, "Shared_Dirty") < SHARED
    arena.send("mark", "m")
    arena.all_ran(["m"])
    assert worker.stop() == 0


CODE = """
import json, os, signal, sys, threading
from umbel import Umbel

app = Umbel("looking")
numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE]
IMPORTED = {
    "path": list(dict.fromkeys(sys.path)),  # the working directory may be there twice
    "arguments": sys.argv,
    "PYTHONPATH": os.environ["PYTHONPATH"],
    "input": os.readlink("/proc/self/fd/0"),
    "handlers": [str(signal.getsignal(number)) for number in numbers],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "wakeup": signal.set_wakeup_fd(-1),
    "threads": threading.active_count(),  # a clock of C's own runs beside, until the import is over
    "strays": [at for fd in os.listdir("/proc/self/fd") if "stray" in (at := os.path.realpath(f"/proc/self/fd/{fd}"))],
}

@app.task(name="look")
def look(file):
    with open(file + ".part", "w") as out:
        json.dump(IMPORTED, out)
    os.rename(file + ".part", file)
"""


class Look:
    """A worker on a module that looks around while it is imported."""

    def __init__(self, folder: Path, command: list[str], **more: str) -> None:
        self.folder, self.log = folder, folder / "log"
        self.environment = {**os.environ, "UMBEL_BROKER": f"sqlite:///{folder}/umbel.db", "PYTHONPATH": "elsewhere", **more}
        (folder / "looking.py").write_text(CODE)
        (folder / "stray").touch()
        with (folder / "stray").open() as stray, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "-A", "looking:app", "worker", "-c", "1"],
                cwd=folder,
                env=self.environment,
                stdin=stray,
                stdout=log,
                stderr=log,
                pass_fds=[stray.fileno()],
                start_new_session=True,
            )

    def template(self) -> int:
        return wait_for(lambda: next(iter(_children_of(self.process.pid)), 0))

    def seen(self, name: str) -> dict[str, object]:
        file = self.folder / name
        call = [*MODULE, "-A", "looking:app", "call", "look", json.dumps([str(file)])]
        subprocess.run(call, cwd=self.folder, env=self.environment, check=True, stdout=subprocess.DEVNULL)
        wait_for(file.exists, 60)
        found: dict[str, object] = json.loads(file.read_text())
        return found

    def ready(self) -> None:
        wait_for(lambda: self.process.poll() is not None or b" ready" in self.log.read_bytes(), 30)
        assert self.process.poll() is None, self.log.read_text()


@pytest.fixture
def look(tmp_path) -> Iterator[type[Look]]:
    made: list[Look] = []

    def make(command: list[str], **more: str) -> Look:
        made.append(Look(tmp_path, command, **more))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait(180)


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_the_users_modules_cannot_tell_the_first_template_from_the_next(look, command):
    worker = look(command)
    first, template = worker.seen("first"), worker.template()
    assert _kib(worker.process.pid, "Shared_Dirty") > SHARED
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: template not in _session(worker.process.pid), 30)
    assert first == worker.seen("following")
    assert first["input"] == os.devnull
    assert first["strays"] == []
    assert first["threads"] == 1
    assert first["blocked"] == []


# -- who is not forked

NO_TITLES = "import sys\nsys.modules['setproctitle'] = None\n"
THREAD = "import _thread, time\n_thread.start_new_thread(time.sleep, (600,))\n"  # one that `threading` knows nothing of
LIBRARY = """
import builtins, _thread, time
theirs = builtins.__import__
def ours(name, *more, **named):
    if name == "sqlite3":
        builtins.__import__ = theirs
        _thread.start_new_thread(time.sleep, (600,))
    return theirs(name, *more, **named)
builtins.__import__ = ours
"""


@pytest.mark.parametrize("why", ["nothing", "a thread", "a thread of the broker's library", "another program"])
def test_a_process_that_is_not_alone_is_not_forked(look, tmp_path, why):
    """Its first template is started as those that follow are."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_TITLES + {"a thread": THREAD, "a thread of the broker's library": LIBRARY}.get(why, ""))
    (tmp_path / "program.py").write_text("from umbel.cli import main\nmain()\n")
    worker = look([sys.executable, "program.py"] if why == "another program" else MODULE, PYTHONPATH=str(site))
    worker.ready()
    started = b"umbel.worker.template" in Path(f"/proc/{worker.template()}/cmdline").read_bytes()
    assert started == (why != "nothing")


# -- deaths before the twin is a template


def test_a_twin_that_dies_before_it_is_told_what_to_do(arena):
    arena.arm("twin.instruct")
    worker = arena.worker(concurrency=1)
    assert arena.stopped_at("twin.instruct") == worker.pid
    twin = worker.template()
    os.kill(twin, signal.SIGKILL)
    wait_for(lambda: twin not in _session(worker.pid))
    arena.release("twin.instruct", worker.pid)
    wait_for(lambda: worker.template() not in (0, twin))
    arena.send("mark", "m")
    arena.all_ran(["m"])
    assert worker.stop() == 0


def test_a_supervisor_that_dies_before_it_has_told_its_twin_what_to_do(sqlite_arena):
    arena = sqlite_arena
    arena.arm("twin.instruct")
    worker = arena.worker(concurrency=1)
    arena.stopped_at("twin.instruct")
    worker.process.kill()
    worker.process.wait()
    wait_for(lambda: not _session(worker.pid))
    assert not worker.said("Traceback")


def test_ctrl_c_at_the_fork_of_the_twin(sqlite_arena):
    """The terminal signals both: neither prints a trace of the twin's, and none is left over."""
    arena = sqlite_arena
    arena.arm("twin.born")
    worker = arena.worker(concurrency=1)
    arena.stopped_at("twin.born")
    os.killpg(worker.pid, signal.SIGINT)
    worker.process.wait(180)
    for path in arena.points.glob("twin.born.*"):
        path.unlink()
    wait_for(lambda: not _session(worker.pid))
    assert not worker.said("Traceback")


def test_a_twin_that_dies_while_it_imports(tmp_path):
    """As any first template that does: the user's module kills it."""
    (tmp_path / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    ended = subprocess.run([*MODULE, "-A", "deadly:app", "worker"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "the template process ended before it was ready" in ended.stderr
