"""What does an idle worker weigh, and what each further child? ``python -m bench.memory``.

PSS: pages that processes share are divided among them, so the sum over a worker's processes is what it costs the machine. Other
interpreters that run meanwhile share the libraries' pages and make it a little less.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from bench.idle import family
from bench.stage import Stage
from tests.servers import RedisServer
from tests.waiting import wait_for

FEW, MANY = 2, 6
SETTLE = 6.0
"""Seconds until an idle child has been through its loop once, which takes 5 s, and touched what that touches."""


def kib(pid: int, row: str = "Pss") -> int:
    """One row of what the kernel says of a process' memory."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rows if line.startswith(f"{row}:"))


def generation(worker: subprocess.Popen[bytes], children: int) -> tuple[int, int, list[int]]:
    """Supervisor, template, children."""

    def found() -> tuple[int, int, list[int]] | None:
        parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in family(worker.pid)}
        templates = [pid for pid, parent in parents.items() if parent == worker.pid]
        born = [pid for pid, parent in parents.items() if parent in templates]
        return (worker.pid, templates[0], born) if len(born) == children else None

    return wait_for(found, 30, every=0.1)


def measure(stage: Stage, children: int) -> tuple[float, float, float, float]:
    """MiB: the sum, the supervisor, the template, a child (its private pages)."""
    with stage.worker(children) as worker:
        supervisor, template, born = generation(worker, children)
        time.sleep(SETTLE)
        total = sum(kib(pid) for pid in (supervisor, template, *born))
        return total / 1024, kib(supervisor) / 1024, kib(template) / 1024, max(kib(pid, "Private_Dirty") for pid in born) / 1024


def _lines(name: str, url: str | None) -> list[str]:
    stage = Stage(url)
    try:
        few, supervisor, template, private = measure(stage, FEW)
        many = measure(stage, MANY)[0]
    finally:
        stage.close()
    return [
        f"{name}: {few:.1f} MiB with {FEW} children "
        f"(supervisor {supervisor:.1f}, template {template:.1f}, private to a child {private:.1f})",
        f"{name}: each further child {(many - few) / (MANY - FEW):.1f} MiB",
    ]


def main() -> list[str]:
    with tempfile.TemporaryDirectory(prefix="umbel-memory-") as folder, RedisServer(Path(folder)) as server:
        return [*_lines("Redis", server.url), *_lines("SQLite", None)]


if __name__ == "__main__":
    print("\n".join(main()))
