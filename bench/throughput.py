"""How many no-op tasks a second? Preloaded, from the first to the last, one and two children."""

from __future__ import annotations

import signal
import time

from bench.stage import Stage


def rate(children: int, count: int, broker: str | None = None) -> float:
    """Tasks a second over ``count``, from the first mark to the last."""
    stage = Stage(broker)
    try:
        from bench.tasks import EVERY, app

        app.conf.override(broker=stage.broker)
        app.close()
        app.tasks["noop"].delay_many({"n": n} for n in range(count))
        app.close()
        worker = stage.start(children)
        deadline = time.monotonic() + 120
        while stage.marks.stat().st_size < 8 * (count // EVERY) and time.monotonic() < deadline:
            time.sleep(0.02)
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        times = stage.times()
        if len(times) < count // EVERY:
            raise RuntimeError("some tasks never ran")
        return (len(times) - 1) * EVERY / ((times[-1] - times[0]) / 1e9)
    finally:
        stage.close()


def main() -> list[str]:
    lines = []
    for children in (1, 2):
        rates = sorted(rate(children, 100_000) for _ in range(3))
        lines.append(f"SQLite, {children} child(ren): {rates[1]:,.0f} no-op tasks/s (median of 3; {rates[0]:,.0f} to {rates[2]:,.0f})")
    return lines


if __name__ == "__main__":
    print("\n".join(main()))
