"""A folder, a broker address and workers for a measurement."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


class Stage:
    """Set ``UMBEL_BROKER`` before ``bench.tasks`` is imported, here and in workers."""

    def __init__(self, broker: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="umbel-bench-"))
        self.marks = self.folder / "marks"
        self.marks.touch()
        self.broker = broker or f"sqlite:///{self.folder}/bench.db"
        os.environ["UMBEL_BROKER"] = self.broker
        self.rated = self.folder / "rated"
        self.rated.touch()
        marks = {"BENCH_MARKS": str(self.marks), "BENCH_RATED": str(self.rated)}
        self.environment = {**os.environ, **marks, "PYTHONPATH": str(HERE.parent)}

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def worker(self, children: int) -> Iterator[subprocess.Popen[bytes]]:
        """A worker, ready."""
        log = self.folder / "worker.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "umbel", "-A", "bench.tasks:app", "worker", "-c", str(children), "-l", "info"]
        command += ["--logfile", str(log)]
        process = subprocess.Popen(command, env=self.environment, cwd=HERE.parent, stderr=subprocess.DEVNULL)
        try:
            while not (log.exists() and b" ready" in log.read_bytes()):
                if process.poll() is not None:
                    raise RuntimeError(log.read_text() if log.exists() else "the worker did not start")
                time.sleep(0.002)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def start(self, children: int) -> subprocess.Popen[bytes]:
        """A worker that logs warnings only: for throughput. Not waited for."""
        command = [sys.executable, "-m", "umbel", "-A", "bench.tasks:app", "worker", "-c", str(children), "-l", "warning"]
        return subprocess.Popen(command, env=self.environment, cwd=HERE.parent)

    def times(self, marks: Path | None = None) -> list[int]:
        """When each task ran, ns of the monotonic clock."""
        data = (marks or self.marks).read_bytes()
        return sorted(int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - 7, 8))
