"""What do many idle workers cost their Redis? ``python -m bench.idle_fleet [WORKERS [SECONDS]]``, 200 and 30 unless told otherwise.

A redis-server of its own is started. A worker of one child is three processes; 200 of them take minutes to start on two cores.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.stage import Stage
from tests.servers import RedisServer
from tests.waiting import wait_for

WAVE = 8
"""Workers that start at once: more would only be slower, and late with their heartbeats."""


def _cpu(server: RedisServer) -> float:
    return server.figure("cpu", "used_cpu_user") + server.figure("cpu", "used_cpu_sys")


def _pss(leader: subprocess.Popen[bytes]) -> int:
    """KiB of a worker's three processes, shared pages divided among those who share them."""
    family, total = {leader.pid}, 0
    for _ in range(2):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in family:
                        family.add(int(entry.name))
                except OSError:
                    continue
    for pid in family:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total


def _await_idle(server: RedisServer, count: int) -> None:
    wait_for(lambda: server.figure("clients", "blocked_clients") >= count, 120, every=0.2)


def main(workers: int = 200, span: float = 30.0) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="umbel-fleet-") as folder, RedisServer(Path(folder)) as server:
        stage = Stage(server.url)
        fleet: list[subprocess.Popen[bytes]] = []
        try:
            while len(fleet) < workers:
                fleet += [stage.start(1) for _ in range(min(WAVE, workers - len(fleet)))]
                _await_idle(server, len(fleet))
            time.sleep(5)
            before, cpu, begun = server.client_commands(), _cpu(server), time.monotonic()
            time.sleep(span)
            asked, cpu, span = server.client_commands() - before, _cpu(server) - cpu, time.monotonic() - begun
            connections = int(server.figure("clients", "connected_clients")) - 1
            blocked = int(server.figure("clients", "blocked_clients"))
            pss = _pss(fleet[len(fleet) // 2])
        finally:
            for worker in fleet:
                worker.send_signal(signal.SIGTERM)
            for worker in fleet:
                worker.wait(120)
            stage.close()
    return [
        f"{workers} idle workers of one child: {asked / span:.0f} commands/s ({asked / span / workers:.2f} per worker)",
        f"{connections} connections ({connections / workers:.1f} per worker), {blocked} of them wait",
        f"the server spends {cpu / span * 100:.1f} % of a core on them; one worker has a PSS of {pss / 1024:.0f} MB",
    ]


if __name__ == "__main__":
    print("\n".join(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, float(sys.argv[2]) if len(sys.argv) > 2 else 30.0)))
