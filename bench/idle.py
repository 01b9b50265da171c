"""An idle worker: how soon does it wake, what does it cost, how soon is it ready, and what does an import cost?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.stage import Stage


def family(root: int) -> set[int]:
    """A process and its descendants."""
    found = {root}
    for _ in range(3):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(stat[1]) in found:
                    found.add(int(entry.name))
    return found


def cpu_of(root: int) -> float:
    """Seconds of CPU that a process and its descendants have used."""
    total = 0.0
    for pid in family(root):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return total


def main() -> list[str]:
    stage = Stage()
    try:
        from bench.tasks import app

        app.conf.override(broker=stage.broker)
        mark = app.tasks["mark"]
        begin = time.perf_counter()
        with stage.worker(2) as worker:
            ready = time.perf_counter() - begin
            time.sleep(1)
            before = cpu_of(worker.pid)
            time.sleep(20)
            idle = (cpu_of(worker.pid) - before) / 20
            waits = []
            for n in range(200):
                time.sleep(0.05)
                sent = time.monotonic_ns()
                mark.delay(n)
                while len(times := stage.times()) <= n:
                    time.sleep(0.0005)
                waits.append((times[-1] - sent) / 1e6)
        waits.sort()
        app.close()
        lines = [
            f"worker ready after {ready:.2f} s",
            f"idle worker, 2 children: {idle * 100:.2f} % CPU",
            f"wake-up of an idle worker: p50 {waits[100]:.1f} ms, p99 {waits[197]:.1f} ms",
        ]
    finally:
        stage.close()
    spans = []
    for _ in range(7):
        code = "import time; a = time.perf_counter(); import umbel; umbel.Umbel; print(time.perf_counter() - a)"
        spans.append(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout))
    return [*lines, f"import umbel: {sorted(spans)[3] * 1000:.0f} ms (median of 7)"]


if __name__ == "__main__":
    print("\n".join(main()))
