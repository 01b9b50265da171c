"""What a call costs the caller in Python, besides the broker: one ``delay()``, and one item of ``delay_many``.

The broker is a stand-in that keeps nothing, so what is measured is checking, encoding, ids and envelopes. Prints
microseconds, the best of several rounds (the least disturbed by what else the machine does).

    python bench/producer.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from umbel import Umbel
from umbel.broker import Broker, Receipted
from umbel.envelope import Envelope

ROUNDS = 7
DELAY_TARGET, MANY_TARGET = 25.0, 4.0
"""Microseconds: what the design allows."""


class NullBroker:
    """Accepts everything, keeps nothing."""

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def enqueue(self, envelopes: Sequence[Envelope]) -> list[Receipted]:
        return [Receipted(envelope.id) for envelope in envelopes]


class NullApp(Umbel):
    """An app whose calls go nowhere."""

    def make_broker(self) -> Broker:
        return cast(Broker, NullBroker())


app = NullApp("bench", broker="memory://", set_as_current=False)


@app.task(queue="emails")
def send_email(user_id: int, *, urgent: bool = False) -> None:
    pass


@app.task
def untyped(user_id, urgent=False):  # type: ignore[no-untyped-def]  # what it costs without annotations is measured too
    pass


def best(run: Callable[[], Any], count: int) -> float:
    """Microseconds per unit of work."""
    spans = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        spans.append(time.perf_counter() - began)
    return min(spans) / count * 1e6


def main() -> None:
    n = 20_000

    def delays(call: Callable[[int], Any]) -> Callable[[], None]:
        def run() -> None:
            for i in range(n):
                call(i)

        return run

    rows = [
        ("delay(int)", best(delays(send_email.delay), n), DELAY_TARGET),
        ("delay(int, urgent=bool)", best(delays(lambda i: send_email.delay(i, urgent=True)), n), DELAY_TARGET),
        ("delay(int), untyped", best(delays(lambda i: untyped.delay(i)), n), DELAY_TARGET),
        ("delay(int) in 60 s", best(delays(lambda i: send_email.apply_async((i,), countdown=60)), n), DELAY_TARGET),
        ("delay_many of tuples", best(lambda: send_email.delay_many((i,) for i in range(n)), n), MANY_TARGET),
        ("delay_many of dicts", best(lambda: send_email.delay_many({"user_id": i} for i in range(n)), n), MANY_TARGET),
    ]
    for name, span, target in rows:
        print(f"{name:26} {span:6.2f} us  (at most {target:g})  {'ok' if span <= target else 'TOO SLOW'}")


if __name__ == "__main__":
    main()
