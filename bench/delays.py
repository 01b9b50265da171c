"""Who waits for whom: tasks with an ETA, short tasks beside a very long one, tasks that become slow.

``BENCH_LONG`` is how long the long task takes, in seconds (600).
"""

from __future__ import annotations

import os
import time
from typing import Any

from bench.stage import Stage

LONG = float(os.environ.get("BENCH_LONG", "600"))
SLOW = 0.9


def eta(stage: Stage, tasks: Any, count: int = 500, over: float = 25.0) -> str:
    """Lateness of tasks spread over some seconds, on an idle worker."""
    with stage.worker(2):
        begun, before = time.monotonic(), len(stage.times())
        due = []
        for n in range(count):
            wait = 2 + over * n / count - (time.monotonic() - begun)
            due.append((time.monotonic() + wait) * 1e9)
            tasks["mark"].apply_async((n,), countdown=wait)
        while len(stage.times()) < before + count:
            time.sleep(0.1)
    late = sorted((ran - planned) / 1e6 for ran, planned in zip(stage.times()[before:], due, strict=True))
    return f"{count} tasks with an ETA: late by p50 {late[count // 2]:.1f} ms, p99 {late[count * 99 // 100]:.1f} ms, at most {late[-1]:.1f}"


def beside_a_long_one(stage: Stage, tasks: Any) -> str:
    """1,000 short tasks with one of ``LONG`` seconds in the midst."""
    before = len(stage.times())
    for n in range(1000):
        if n == 500:
            tasks["sleep"].delay(LONG)
        tasks["mark"].delay(n)
    with stage.worker(2):
        begun = time.monotonic()
        while len(stage.times()) < before + 1000:
            time.sleep(0.01)
        short = time.monotonic() - begun
        while len(stage.times()) < before + 1001:
            time.sleep(0.1)
        total = time.monotonic() - begun
        time.sleep(3)
    runs = len(stage.times()) - before
    return f"1,000 short tasks beside one of {LONG:.0f} s: done after {short:.2f} s, the long one after {total:.1f} s; {runs} runs of 1,001"


def becoming_slow(stage: Stage, tasks: Any) -> str:
    """100 tasks of 1 ms, then 100 of 0.9 s, of one kind: the mean that a child knows is wrong when the slow ones come."""
    before = len(stage.times())
    for n in range(200):
        tasks["sleep"].delay(0.001 if n < 100 else SLOW)
    with stage.worker(2):
        begun = time.monotonic()
        while len(stage.times()) < before + 200:
            time.sleep(0.01)
        took = time.monotonic() - begun
    ideal = 100 * SLOW / 2
    return f"100 tasks of 1 ms and 100 of {SLOW} s: {took:.1f} s, {took / ideal:.2f} times what two children need at least"


def main() -> list[str]:
    stage = Stage(os.environ.get("UMBEL_BROKER"))
    try:
        from bench.tasks import app

        app.conf.override(broker=stage.broker)
        lines = [measure(stage, app.tasks) for measure in (eta, becoming_slow, beside_a_long_one)]
        app.close()
        return lines
    finally:
        stage.close()


if __name__ == "__main__":
    print("\n".join(main()))
