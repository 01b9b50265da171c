"""What lanes cost a Redis server: for those who have none, and for a claim among 10 or 10,000 of them.

    python -m bench.redis_lanes [--rounds 20]

Starts a server of its own. Both sides of each ratio take turns in short rounds, so that what else the machine does meets both; the
figure is the server's CPU time, and the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.redis_exchange import BODY, envelopes, server_cpu
from tests.servers import RedisServer
from umbel.broker import Broker, BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.envelope import Envelope, Extra
from umbel.facets import Limits, require
from umbel.lane import Mark, Rule
from umbel.message import new_id
from umbel.outcome import Done

DONE = Done()
WIDE = Rule(10_000_000, 1000, 10_000_000)
LOCK = Rule(concurrency=1)
WAIT, RUN = "5,000 wait for a token an hour away", "one in 571 has a lock of its own (70/s of 40,000/s)"


class Holder:
    """One app on the server, and one holder in it."""

    def __init__(self, url: str, app: str) -> None:
        self.broker: Broker = make_broker(url, BrokerSettings(app=app))
        self.broker.open()
        self.broker.renew("w", 3600)
        self.broker.admit("w", "h")
        self.seq = 0
        self.settles: list[Settle] = []

    def exchange(self, limit: int) -> int:
        self.seq += 1
        settled = len(self.settles)
        answer = self.broker.exchange("h", self.seq, self.settles, ["q"], limit)
        self.settles = [Settle(delivery.receipt, DONE) for delivery in answer.deliveries]
        return settled

    def enqueue(self, envelopes: list[Envelope]) -> None:
        for i in range(0, len(envelopes), 1000):
            self.broker.enqueue(envelopes[i : i + 1000])

    def spent(self, messages: int, batch: int) -> float:
        """The server's microseconds for one message settled and claimed."""
        before, done = server_cpu(self.broker), 0
        while done < messages:
            done += self.exchange(batch)
        return (server_cpu(self.broker) - before) / done * 1e6


def limited(marks: dict[int, bytes]) -> Envelope:
    return Envelope(new_id(1), "q", BODY, extras=marks)


def locked(account: int) -> dict[int, bytes]:
    return {Extra.LANE: Mark(f"lock:{account}", "lock", LOCK).pack()}


def accounts(account: int) -> dict[int, bytes]:
    return {**locked(account), Extra.GROUP: Mark("task:sync", "task:sync", WIDE).pack()}


def keyed(account: int) -> dict[int, bytes]:
    return {Extra.LANE: Mark(f"key:sync:{account}", "key:sync", WIDE).pack()}


def plain_beside_limited(url: str, limits: str, batch: int, rounds: int) -> tuple[float, float]:
    """A message without limits: in a queue of its own, and where others wait for a rate, or run at one."""
    alone, beside = Holder(url, f"alone-{limits}-{batch}"), Holder(url, f"beside-{limits}-{batch}")
    if limits == WAIT:
        slow = {Extra.LANE: Mark("task:t", "task:t", Rule(1, 3_600_000)).pack()}
        beside.enqueue([limited(slow) for _ in range(5000)])
    costs: list[tuple[float, float]] = []
    for _ in range(rounds):
        alone.enqueue(envelopes(6000))
        several = envelopes(6000)
        if limits == RUN:
            # by the count and not by the clock: a busy machine has fewer messages a second, and as many tokens
            for i in range(0, len(several), 571):
                several.insert(i, limited(locked(i)))
        beside.enqueue(several)
        costs.append((alone.spent(5000, batch), beside.spent(5000, batch)))
        for holder in (alone, beside):
            while holder.exchange(1000) > 300:
                pass
    return median(costs)


def few_and_many(url: str, marks: Callable[[int], dict[int, bytes]], batch: int, rounds: int, name: str) -> tuple[float, float]:
    """A message out of one of 10 lanes, and of 10,000."""
    holders = []
    for count in (10, 10_000):
        holder = Holder(url, f"{name}-{count}")
        holder.enqueue([limited(marks(i % count)) for i in range(max(20_000, 2 * count))])
        holders.append((holder, count))
    costs = []
    for _ in range(rounds):
        pair = []
        for holder, count in holders:
            pair.append(holder.spent(500, batch))
            holder.enqueue([limited(marks(i * 7919 % count)) for i in range(500)])
        costs.append((pair[0], pair[1]))
    for holder, _ in holders:
        assert require(holder.broker, Limits).backlog("q") > 10_000
    return median(costs)


def median(costs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(one for one, _ in costs), statistics.median(other for _, other in costs)


def main(rounds: int = 20) -> list[str]:
    lines = []
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        for limits in (WAIT, RUN):
            for batch in (300, 20):
                alone, beside = plain_beside_limited(server.url, limits, batch, rounds)
                lines.append(
                    f"a message without limits, where {limits}, batches of {batch}: {alone:.2f} -> {beside:.2f} us ({beside / alone:.3f})"
                )
        for name, marks in (("lock per account", locked), ("rate per key", keyed), ("task's rate and lock per account", accounts)):
            for batch in (1, 10):
                few, many = few_and_many(server.url, marks, batch, rounds, f"{name}-{batch}")
                lines.append(f"{name}, batches of {batch}: 10 lanes {few:.1f} us, 10,000 lanes {many:.1f} us ({many / few:.2f})")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    for line in main(parser.parse_args().rounds):
        print(line)
