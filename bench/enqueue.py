"""What does a call cost? ``delay()`` one by one, ``delay_many()`` in bulk, on SQLite."""

from __future__ import annotations

import time

from bench.stage import Stage


def main() -> list[str]:
    stage = Stage()
    try:
        from bench.tasks import app

        app.conf.override(broker=stage.broker)
        noop = app.tasks["noop"]
        noop.delay(0)
        begin = time.perf_counter()
        for n in range(5_000):
            noop.delay(n)
        single = 5_000 / (time.perf_counter() - begin)
        begin = time.perf_counter()
        noop.delay_many({"n": n} for n in range(200_000))
        bulk = 200_000 / (time.perf_counter() - begin)
        app.close()
        return [f"SQLite: {single:,.0f} delay()/s, {bulk:,.0f} calls/s by delay_many()"]
    finally:
        stage.close()


if __name__ == "__main__":
    print("\n".join(main()))
