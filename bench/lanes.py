"""What lanes cost: a claim with few and with many lanes, and plain messages beside a limited task. On one broker of your choice.

    python -m bench.lanes [sqlite | memory | redis://127.0.0.1:6379/15] [--keys 10000]

Costs are processor time of this process on SQLite and memory, and time by the clock on a server, each the median of many exchanges; the two
depths are measured in turns, since machines have moods. ``python -m bench.rates`` measures how well workers keep a rate.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

from umbel.broker import Broker, Settle
from umbel.brokers import make_broker
from umbel.envelope import Envelope, Extra
from umbel.lane import LOCK, Mark, Rule
from umbel.message import new_id
from umbel.outcome import Done

FEW = 10
BODY = b'{"t":"bench.noop","a":[1]}'
Marks = Callable[[int], dict[int, bytes]]
WIDE = Rule(count=10_000_000, period=1000, burst=1000)


def keyed_rates(key: int) -> dict[int, bytes]:
    """A rate for each key, wide enough to be no obstacle."""
    return {int(Extra.LANE): Mark(f"key:bench\x1f{key}", "key:bench", WIDE).pack()}


def task_rate_and_locks(key: int) -> dict[int, bytes]:
    """One at a time for each key, and a rate over all."""
    return {
        int(Extra.LANE): Mark(f"lock:{key}", LOCK, Rule(concurrency=1)).pack(),
        int(Extra.GROUP): Mark("task:bench", "task:bench", WIDE).pack(),
    }


def slow_keys(key: int) -> dict[int, bytes]:
    """One an hour for each key but ten: nearly all lanes wait."""
    rule = WIDE if key < FEW else Rule(count=1, period=3_600_000)
    return {int(Extra.LANE): Mark(f"slow:{key}", f"slow:{key < FEW}", rule).pack()}


def envelope(extras: dict[int, bytes] | None) -> Envelope:
    now = time.time_ns() // 1_000_000
    return Envelope(new_id(now), "q", BODY, enqueued=now, extras=extras)


class Depth:
    """A store with so many lanes, and one holder who works in it."""

    def __init__(self, url: str, keys: int, marks: Marks) -> None:
        self.broker: Broker = make_broker(url)
        self.broker.open()
        self.broker.renew("w", 3600)
        self.broker.admit("w", "w.a")
        self.marks, self.seq, self.settles = marks, 0, list[Settle]()
        for begin in range(0, keys, 1000):
            self.broker.enqueue([envelope(marks(key)) for key in range(begin, min(keys, begin + 1000))])
        if marks is slow_keys:
            # every lane has its first one out, and waits an hour for the next
            for _ in range(0, keys, 500):
                self.exchange(500)
            for begin in range(0, keys, 1000):
                self.broker.enqueue([envelope(marks(key)) for key in range(begin, min(keys, begin + 1000))])
            self.broker.enqueue([envelope(one.extras) for one in self.exchange(1)])

    def exchange(self, limit: int) -> list[Envelope]:
        self.seq += 1
        got = self.broker.exchange("w.a", self.seq, self.settles, ["q"], limit).deliveries
        self.settles = [Settle(one.receipt, Done()) for one in got]
        return [one.envelope for one in got]

    def costs(self, rounds: int, limit: int, clock: Callable[[], float]) -> list[float]:
        """Seconds a message of settling and claiming ``limit``; what ran is called again, so the depth stays."""
        found = []
        for _ in range(rounds):
            began = clock()
            got = self.exchange(limit)
            found.append((clock() - began) / limit)
            assert len(got) == limit, f"{len(got)} of {limit}"
            self.broker.enqueue([envelope(one.extras) for one in got])
        return found


def claims(url: Callable[[], str], many: int, clock: Callable[[], float]) -> Iterator[str]:
    for name, marks in (("a rate each", keyed_rates), ("a lock each and one rate over all", task_rate_and_locks), ("ten free", slow_keys)):
        depths = {keys: Depth(url(), keys, marks) for keys in (FEW, many)}
        for limit in (1, FEW):
            found: dict[int, list[float]] = {keys: [] for keys in depths}
            for _ in range(20):
                for keys, depth in depths.items():
                    found[keys] += depth.costs(20, limit, clock)
            few, lots = (statistics.median(found[keys]) * 1e6 for keys in depths)
            what = f"{name}: settle and claim {limit}"
            yield f"{what}, {FEW} keys {few:.0f} us a message, {many:,} keys {lots:.0f} us: {lots / few:.2f} times"
        for depth in depths.values():
            depth.broker.close()


def beside(url: Callable[[], str], clock: Callable[[], float]) -> str:
    """Plain messages in a queue in which a limited task waits for its rate, over the same without that."""
    alone, together = Depth(url(), 0, keyed_rates), Depth(url(), 0, keyed_rates)
    waits = {int(Extra.LANE): Mark("task:seldom", "task:seldom", Rule(count=70, period=1000)).pack()}
    together.broker.enqueue([envelope(waits) for _ in range(1000)])
    spans: dict[Depth, list[float]] = {alone: [], together: []}
    for _ in range(30):
        for depth, found in spans.items():
            depth.broker.enqueue([envelope(None) for _ in range(1000)])
            began, ran = clock(), 0
            while got := depth.exchange(300):
                ran += sum(one.extras is None for one in got)
                if ran >= 1000:
                    break
            depth.exchange(0)
            found.append((clock() - began) / ran)
    before, after = (statistics.median(found) * 1e6 for found in spans.values())
    for depth in spans:
        depth.broker.close()
    speed = f"{before / after:.1%} of the speed"
    return f"plain messages alone {before:.2f} us each, beside a task that waits for its rate {after:.2f} us: {speed}"


def a_round(url: str, waiting: int) -> str:
    """How many are handed out before a newcomer's turn, where one lane has so many waiting and ten others a hundred each."""
    depth = Depth(url, 0, keyed_rates)
    for _ in range(waiting // 1000):
        depth.broker.enqueue([envelope(keyed_rates(0)) for _ in range(1000)])
    for key in range(1, 1 + FEW):
        depth.broker.enqueue([envelope(keyed_rates(key)) for _ in range(100)])
    before = []
    for new in range(20):
        depth.exchange(7)
        depth.broker.enqueue([newcomer := envelope(keyed_rates(1000 + new))])
        before.append(0)
        while depth.exchange(1)[0].id != newcomer.id:
            before[-1] += 1
    depth.broker.close()
    return f"{waiting:,} wait on one key, some on {FEW} more: at most {max(before)} run before a newcomer's first (a round is {FEW + 1})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("broker", nargs="?", default="sqlite")
    parser.add_argument("--keys", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = iter(range(1000))

        def url() -> str:
            kind = str(options.broker)
            if kind == "sqlite":
                return f"sqlite:///{folder}/{next(names)}.db"
            return f"memory://{next(names)}" if kind == "memory" else kind

        clock = time.perf_counter if "://" in str(options.broker) else time.process_time
        for line in claims(url, options.keys, clock):
            print(line, flush=True)
        print(beside(url, clock), flush=True)
        print(a_round(url(), 100_000), flush=True)


if __name__ == "__main__":
    main()
