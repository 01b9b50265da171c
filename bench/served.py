"""What it costs to ask who serves what: one question of each caller and child in five seconds, where queues have releases.

Run: python -m bench.served
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from tests.servers import RedisServer
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.clock import SYSTEM
from umbel.facets import Serves, require

QUEUES, RELEASES = 10, 3
ROUNDS = 300


def measure(url: str, workers: int) -> tuple[float, float]:
    """(µs of one `served`, µs of one `serve`)."""
    with closing(make_broker(url, BrokerSettings(f"served-{workers}"))) as broker:
        broker.open()
        serves = require(broker, Serves)
        names = [[f"queue{n}@{release}" for n in range(QUEUES)] + [f"queue{n}" for n in range(QUEUES)] for release in range(RELEASES)]
        for n in range(workers):
            broker.renew(f"worker{n}", 600)
            serves.serve(f"worker{n}", names[n % RELEASES])
        begin = SYSTEM.monotonic()
        for _ in range(ROUNDS):
            serves.served()
        asked = SYSTEM.monotonic()
        for n in range(ROUNDS):
            serves.serve(f"worker{n % workers}", names[n % workers % RELEASES])
        said = SYSTEM.monotonic()
    return (asked - begin) / ROUNDS * 1e6, (said - asked) / ROUNDS * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        for workers in (3, 100):
            for name, url in (("sqlite", f"sqlite:///{folder}/served-{workers}.db"), ("redis", server.url)):
                asked, said = measure(url, workers)
                print(f"{name:6} {workers:4} workers, {QUEUES * (RELEASES + 1)} queues: served {asked:6.0f} µs, serve {said:6.0f} µs")


if __name__ == "__main__":
    main()
