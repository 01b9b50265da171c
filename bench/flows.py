"""Flows on Redis: a long chain, a group over a generator, a chord. Starts a server and workers of its own.

    python -m bench.flows [--chain 10000] [--group 1000000] [--chord 100000] [--children 2]

0 leaves a row out. Beside each time stands the processor time of the server and of the worker, since the machine may be busy.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from bench.bare_redis import client
from bench.idle import cpu_of
from bench.redis_rows import pss
from bench.stage import Stage
from tests.servers import RedisServer
from umbel import FlowResult, chain, chord, group


class Costs:
    """Processor time of a server and of the processes of a worker, from the making on."""

    def __init__(self, url: str, worker: int) -> None:
        self._redis, self._worker = client(url), worker
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        info = self._redis.info("cpu")
        return info["used_cpu_user"] + info["used_cpu_sys"], cpu_of(self._worker)

    def each(self, count: int) -> str:
        server, worker = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return f"server {server / count * 1e6:.0f} us and worker {worker / count * 1e6:.0f} us of processor time each"


def finished(result: FlowResult[object]) -> None:
    """Wait until nothing of it can move any more."""
    result.get(timeout=3600)
    while (seen := result.seen()) is not None and not seen.finished:
        time.sleep(0.001)


def chain_row(url: str, worker: int, count: int) -> tuple[str, float]:
    from bench.tasks import app

    step, redis = app.tasks["step"], client(url)
    before = int(redis.info("memory")["used_memory"])
    costs, began = Costs(url, worker), time.perf_counter()
    result = chain(step.si() for _ in range(count)).delay()
    sent = time.perf_counter() - began
    finished(result)
    took = time.perf_counter() - began
    size = (int(redis.info("memory")["used_memory"]) - before) / count
    line = f"chain of {count:,}: {took:.2f} s ({sent:.2f} s of it to send), {costs.each(count)}, {size:.0f} bytes each afterwards"
    result.forget()
    return line, took


def group_row(url: str, worker: int, count: int, to_its_end: bool) -> str:
    from bench.tasks import app

    step, redis = app.tasks["step"], client(url)
    finished(group(step.si() for _ in range(5_000)).delay())
    before, memory = pss(os.getpid()), int(redis.info("memory")["used_memory"])
    costs, began = Costs(url, worker), time.perf_counter()
    result = group(step.si() for _ in range(count)).delay()
    sent, grown = time.perf_counter() - began, pss(os.getpid()) - before
    size = (int(redis.info("memory")["used_memory"]) - memory) / count
    line = f"group of {count:,}: sent in {sent:.0f} s, the producer's memory {grown:+.1f} MB, {size:.0f} bytes each in Redis"
    if not to_its_end:
        return f"{line}; then cancelled" if result.revoke().found else line
    finished(result)
    line += f"; done after {time.perf_counter() - began:.0f} s, {costs.each(count)}"
    result.forget()
    return line


def chord_row(url: str, worker: int, count: int, marks: Path) -> str:
    from bench.tasks import app

    echo, ordered = app.tasks["echo"], app.tasks["ordered"]
    before = marks.stat().st_size
    costs, began = Costs(url, worker), time.perf_counter()
    result = chord((echo.s(n) for n in range(count)), ordered.s()).delay()
    came, placed = result.get(timeout=3600)
    took, runs = time.perf_counter() - began, (marks.stat().st_size - before) // 8
    result.forget()
    line = f"chord of {count:,}: {took:.1f} s, {costs.each(count)}"
    return f"{line}; its body ran {runs} time(s), {came:,} values came, {placed:,} in their place"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("chain", 10_000), ("group", 1_000_000), ("chord", 100_000), ("children", 2)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--send-only", action="store_true", help="do not wait for the group's end")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        stage = Stage(server.url)
        from bench.tasks import app

        app.conf.override(broker=server.url)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        try:
            with stage.worker(asked.children) as worker:
                if asked.chain:
                    chain_row(server.url, worker.pid, 100)
                    short, tenth = chain_row(server.url, worker.pid, asked.chain // 10)
                    long, whole = chain_row(server.url, worker.pid, asked.chain)
                    print(f"{short}\n{long}\n  the short one took 1/{whole / tenth:.1f} of that")
                if asked.group:
                    print(group_row(server.url, worker.pid, asked.group, not asked.send_only))
                if asked.chord:
                    print(chord_row(server.url, worker.pid, asked.chord, stage.marks))
        finally:
            app.close()
            stage.close()


if __name__ == "__main__":
    main()
