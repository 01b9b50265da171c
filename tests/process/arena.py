"""Real workers for process tests: start them, stop them at points, kill parts of them, read what their tasks left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tests.waiting import wait_for

from . import sample

HERE = Path(__file__).parent


class Mark(NamedTuple):
    kind: str
    pid: int
    at: float


class Worker:
    """One ``umbel worker`` in a session of its own."""

    def __init__(self, arena: Arena, *arguments: str, concurrency: int = 2, **environment: str) -> None:
        self.log = arena.folder / f"worker{len(arena.workers)}.log"
        command = [sys.executable, "-m", "umbel", "-A", "sample:app", "worker", "-c", str(concurrency), *arguments]
        mine = {**arena.environment, **environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=HERE, env=mine, stdout=log, stderr=log, start_new_session=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def ready(self, timeout: float = 20.0) -> Worker:
        wait_for(lambda: self.process.poll() is not None or self.said(" ready"), timeout)
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        return self

    def template(self) -> int:
        return wait_for(lambda: next(iter(_children_of(self.pid)), 0))

    def children(self) -> list[int]:
        """The living prefork children (of the template, or orphans of a dead one)."""
        return [pid for pid in _session(self.pid) if pid != self.pid and _is_forked(pid)]

    def owns(self, pid: int) -> bool:
        return pid in _session(self.pid)

    def kill_tree(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


class Arena:
    """A broker, a folder, and the workers on them."""

    def __init__(self, folder: Path, broker: str, **settings: str) -> None:
        self.folder = folder
        self.marks_file = folder / "marks"
        self.points = folder / "points"
        self.points.mkdir()
        self.marks_file.touch()
        self.environment = {
            **os.environ,
            "UMBEL_BROKER": broker,
            "UMBEL_TEST_POINTS": str(self.points),
            "SAMPLE_MARKS": str(self.marks_file),
            **{f"SAMPLE_{key.upper()}": value for key, value in settings.items()},
        }
        self.app = sample.app
        self.app.close()
        self.app.conf.override(broker=broker)
        self.workers: list[Worker] = []

    def worker(self, *arguments: str, concurrency: int = 2, **environment: str) -> Worker:
        """Start one. ``environment``: variables for it alone, say another ``UMBEL_BROKER``."""
        worker = Worker(self, *arguments, concurrency=concurrency, **environment)
        self.workers.append(worker)
        return worker

    def send(self, task: str, *args: object, **options: object):
        known = self.app.tasks.get(task)
        return known.apply_async(args, **options) if known else self.app.send_task(task, args=args, **options)

    def stats(self):
        """What stands in each queue now."""
        broker = self.app.make_broker()
        broker.open()
        try:
            return broker.stats()
        finally:
            broker.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill_tree()
            worker.process.wait(180)
        self.app.close()

    # -- what tasks left behind

    def marks(self) -> dict[str, list[Mark]]:
        found: dict[str, list[Mark]] = defaultdict(list)
        for line in self.marks_file.read_text().splitlines():
            n, kind, pid, at = line.split()
            found[n].append(Mark(kind, int(pid), float(at)))
        return found

    def runs(self, n: object, kind: str = "run") -> list[Mark]:
        return [m for m in self.marks().get(str(n), []) if m.kind == kind]

    def all_ran(self, numbers, timeout: float = 60.0) -> None:
        """Wait until each has run to its end."""

        def missing():
            marks = self.marks()
            return not [n for n in numbers if not any(m.kind == "run" for m in marks.get(str(n), []))]

        try:
            wait_for(missing, timeout, every=0.02)
        except AssertionError:
            raise AssertionError(self.report(numbers)) from None

    def report(self, numbers) -> str:
        marks = self.marks()
        lost = [n for n in numbers if not any(m.kind == "run" for m in marks.get(str(n), []))]
        logs = "\n".join(f"--- {w.log.name}\n{w.log.read_text(errors='replace')[-3000:]}" for w in self.workers)
        return f"{len(lost)} never ran to their end: {lost[:20]}\n{logs}"

    # -- points

    def arm(self, point: str) -> None:
        (self.points / point).touch()

    def stopped_at(self, point: str, timeout: float = 20.0) -> int:
        """The process that stopped there."""
        return wait_for(lambda: self._stopped(point), timeout)

    def _stopped(self, point: str) -> int:
        for path in self.points.glob(f"{point}.*"):
            return int(path.suffix[1:])
        return 0

    def release(self, point: str, pid: int) -> None:
        """Let it go on, if it lives."""
        (self.points / f"{point}.{pid}").unlink()


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _session(leader: int) -> list[int]:
    """Living processes of a session."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in numbers if (stat := _stat(pid)) and int(stat[3]) == leader and stat[0] != "Z"]


def _children_of(parent: int) -> list[int]:
    return [pid for pid in _session(parent) if pid != parent and (stat := _stat(pid)) and int(stat[1]) == parent]


def _is_forked(pid: int) -> bool:
    """Does its title say that it is a child, or was it forked from a template (same command line as its parent)?"""
    stat = _stat(pid)
    if not stat:
        return False
    try:
        ours = Path(f"/proc/{pid}/cmdline").read_bytes()
        parents = Path(f"/proc/{stat[1]}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    if ours.startswith((b"umbel child", b"umbel herald")):
        return ours.startswith(b"umbel child")
    if ours.startswith(b"umbel template"):
        return ours == parents
    return b"umbel.worker.template" in ours and (ours == parents or (b"umbel.worker.template" not in parents and stat[1] != stat[3]))
