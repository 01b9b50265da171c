"""What does the asyncio pool cost beside a bare event loop? Sleeping tasks, in one process, on Redis.

``python -m bench.pools [redis://…]``; without an address a server of its own is started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.stage import HERE, Stage
from tests.servers import RedisServer

SHAPES = ((100, 0.01, 40_000), (1_000, 0.1, 40_000), (10_000, 1.0, 40_000))
"""How many at once, seconds of sleep, how many in all."""
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def steady(ends: list[float], beside: int, seconds: float) -> float:
    """Tasks a second over a whole number of sleeps in the steady part, since ends come in waves."""
    first, last = ends[len(ends) // 4], ends[-1 - beside]
    span = max(1, int((last - first) / seconds)) * seconds
    return sum(first < at <= first + span for at in ends) / span


def bare(beside: int, seconds: float, count: int) -> float:
    """Tasks a second of a loop in which so many coroutines take turns at sleeping."""
    ends: list[float] = []

    async def one() -> None:
        await asyncio.sleep(seconds)
        ends.append(time.monotonic())

    async def lane(turns: int) -> None:
        for _ in range(turns):
            await asyncio.create_task(one())

    async def run() -> None:
        await asyncio.gather(*[lane(count // beside) for _ in range(beside)])

    asyncio.run(run())
    return steady(ends, beside, seconds)


def umbel(broker: str, beside: int, seconds: float, count: int) -> float:
    """Tasks a second of a worker."""
    stage = Stage(broker)
    try:
        from bench.tasks import app

        app.conf.override(broker=broker)
        app.close()
        app.tasks["nap"].delay_many({"seconds": seconds} for _ in range(count))
        app.close()
        command = [sys.executable, "-m", "umbel", "-A", "bench.tasks:app", "worker", "-P", "asyncio", "-c", str(beside), "-l", "warning"]
        worker = subprocess.Popen(command, env=stage.environment, cwd=HERE.parent)
        deadline = time.monotonic() + 120
        while stage.marks.stat().st_size < 8 * count and time.monotonic() < deadline:
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        times = stage.times()
        if len(times) < count:
            raise RuntimeError(f"{count - len(times)} tasks never ran")
        return steady([at / 1e9 for at in times], beside, seconds)
    finally:
        stage.close()


def main() -> list[str]:
    lines = []
    with TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        for beside, seconds, count in SHAPES:
            ratios, rates = [], []
            for _ in range(ROUNDS):
                base = bare(beside, seconds, count)
                rate = umbel(server.url, beside, seconds, count)
                rates.append(rate)
                ratios.append(rate / base)
            rates.sort()
            ratios.sort()
            middle = len(rates) // 2
            lines.append(
                f"asyncio, {beside:,} x {seconds * 1000:g} ms: {rates[middle]:,.0f} tasks/s ({rates[0]:,.0f} to {rates[-1]:,.0f}), "
                f"{ratios[middle]:.1%} of a bare loop ({ratios[0]:.1%} to {ratios[-1]:.1%})"
            )
    return lines


if __name__ == "__main__":
    print("\n".join(main()))
