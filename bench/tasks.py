"""The tasks that the measurements run, as a user's module."""

import asyncio
import os
import time

from umbel import Umbel

app = Umbel("bench")
_marks = os.open(os.environ.get("BENCH_MARKS", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


EVERY = 1000
"""One call of ``noop`` in so many leaves a mark: writing one costs as much as the rest of the task."""


@app.task(name="noop")
def noop(n: int) -> None:
    if not n % EVERY:
        os.write(_marks, time.monotonic_ns().to_bytes(8, "little"))


@app.task(name="mark")
def mark(n: int) -> None:
    os.write(_marks, time.monotonic_ns().to_bytes(8, "little"))


@app.task(name="sleep", soft_time_limit=None, time_limit=None)
def sleep(seconds: float) -> None:
    time.sleep(seconds)
    os.write(_marks, time.monotonic_ns().to_bytes(8, "little"))


@app.task(name="nap")
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)
    os.write(_marks, time.monotonic_ns().to_bytes(8, "little"))


@app.task(name="step")
def step() -> None:
    """A step of a chain that needs nothing."""


@app.task(name="echo")
def echo(n: int) -> int:
    return n


@app.task(name="ordered", soft_time_limit=None, time_limit=None)
def ordered(values: list[int]) -> list[int]:
    """The body of a chord: leaves a mark, and answers how many values came, and how many of them in their place."""
    os.write(_marks, time.monotonic_ns().to_bytes(8, "little"))
    return [len(values), sum(n == value for n, value in enumerate(values))]
