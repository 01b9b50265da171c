"""How well do workers keep a rate, and what does it cost the others? ``rated`` has 70/s; ``noop`` has no limit and the same queue.

python -m bench.rates [sqlite | redis://127.0.0.1:6379/15] [--seconds 20]
"""

from __future__ import annotations

import argparse
import resource
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator

from bench.stage import Stage

RATE = 70
SECOND = 10**9


def _send(stage: Stage, task: str, count: int) -> None:
    from bench.tasks import app

    app.conf.override(broker=stage.broker)
    app.close()
    app.tasks[task].delay_many({"n": n} for n in range(count))
    app.close()


def _stop(*workers: subprocess.Popen[bytes]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.wait(40)


def _purged(stage: Stage) -> None:
    from bench.tasks import app

    broker = app.make_broker()
    broker.open()
    broker.purge("default")
    broker.close()


def accuracy(broker: str | None, children: list[int], seconds: int, *, restart: bool = False) -> str:
    """The rate over so many seconds from the first run on, and the most that ran beyond it in any window."""
    stage = Stage(broker)
    try:
        _send(stage, "rated", RATE * (seconds + 10))
        workers = [stage.start(one) for one in children]
        while stage.rated.stat().st_size == 0:
            time.sleep(0.005)
        begin = stage.times(stage.rated)[0]
        if restart:
            time.sleep(seconds / 2)
            _stop(workers.pop(0))
            workers.append(stage.start(children[0]))
        while time.monotonic_ns() < begin + (seconds + 0.5) * SECOND:
            time.sleep(0.05)
        _stop(*workers)
        _purged(stage)
        times = [at for at in stage.times(stage.rated) if at <= begin + seconds * SECOND]
        found = len(times) / seconds
        beyond = max(j - i + 1 - (times[j] - times[i]) / SECOND * RATE for i in range(len(times)) for j in range(i, len(times)))
        who = " and ".join(map(str, children)) + (", the first restarted half-way" if restart else "")
        return (
            f"{RATE}/s over {seconds} s, children {who}: {found:.2f}/s ({found / RATE - 1:+.1%}); at most {beyond:.1f} more in any window"
        )
    finally:
        stage.close()


def unlimited(broker: str | None, waiting: int, count: int = 100_000) -> tuple[float, float]:
    """No-op tasks of a worker with two children, where so many of the limited one wait in the same queue: how many a second, and the
    microseconds of processor time for each, the worker's start and end included."""
    stage = Stage(broker)
    try:
        from bench.tasks import EVERY

        if waiting:
            _send(stage, "rated", waiting)
        _send(stage, "noop", count)
        spent = _processor()
        worker = stage.start(2)
        while stage.marks.stat().st_size < 8 * (count // EVERY):
            time.sleep(0.02)
        _stop(worker)
        spent = _processor() - spent
        _purged(stage)
        times = stage.times()
        return (len(times) - 1) * EVERY / ((times[-1] - times[0]) / 1e9), spent / count * 1e6
    finally:
        stage.close()


def _processor() -> float:
    """Seconds that ended children of this process have spent."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines(broker: str | None, seconds: int, rounds: int) -> Iterator[str]:
    for children in ([1], [2], [8]):
        yield accuracy(broker, children, seconds)
    yield accuracy(broker, [2, 2], seconds, restart=True)
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(unlimited(broker, 0))
        beside.append(unlimited(broker, 5000))
    speed, spent = ([statistics.median(one[i] for one in side) for side in (alone, beside)] for i in (0, 1))
    shares = [statistics.median(b[0] / a[0] for a, b in zip(alone, beside, strict=True))]
    shares.append(statistics.median(a[1] / b[1] for a, b in zip(alone, beside, strict=True)))
    yield (
        f"no-op tasks, 2 children: {speed[0]:,.0f}/s alone, {speed[1]:,.0f}/s where a limited one waits in the queue: {shares[0]:.1%}; "
        f"by processor time {spent[0]:.1f} and {spent[1]:.1f} us each: {shares[1]:.1%} (medians of {rounds} pairs)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("broker", nargs="?", default="sqlite")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for line in lines(None if options.broker == "sqlite" else options.broker, options.seconds, options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
