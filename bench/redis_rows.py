"""The Redis rows: a worker and its callers beside what Redis does bare, measured in turns within one run."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.bare_redis import client, loop_rate, put_rate
from bench.idle import cpu_of, family
from bench.redis_exchange import envelopes, opened
from bench.stage import Stage
from bench.throughput import rate
from tests.servers import RedisServer
from umbel.broker import Broker, Settle
from umbel.outcome import Done

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def _flushed(url: str) -> None:
    client(url).flushall()


def throughput(url: str) -> str:
    """No-op tasks of a worker with two children, and the bare loop of two processes, in turns."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        _flushed(url)
        bare.append(loop_rate(url, 300_000))
        _flushed(url)
        ours.append(rate(2, 200_000, url))
    share = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    return (
        f"no-op tasks, 2 children: {statistics.median(ours):,.0f}/s ({min(ours):,.0f} to {max(ours):,.0f}); bare loop "
        f"{statistics.median(bare):,.0f}/s ({min(bare):,.0f} to {max(bare):,.0f}); {share:.1%} of it"
    )


def calls(url: str) -> str:
    """``delay()`` beside a bare script that stores the same bytes; ``delay_many()``."""
    from bench.tasks import app

    app.conf.override(broker=url)
    noop = app.tasks["noop"]
    noop.delay(0)
    ours, bare = [], []
    for _ in range(ROUNDS * 3):
        began = time.perf_counter()
        for n in range(3000):
            noop.delay(n)
        ours.append(3000 / (time.perf_counter() - began))
        bare.append(put_rate(url, b"x" * 90, 3000))
    share = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    bulk = []
    for _ in range(ROUNDS):
        _flushed(url)
        began = time.perf_counter()
        noop.delay_many((n,) for n in range(300_000))
        bulk.append(300_000 / (time.perf_counter() - began))
    app.close()
    return (
        f"delay(): {statistics.median(ours):,.0f}/s, {share:.1%} of a bare EVALSHA with as many bytes ({statistics.median(bare):,.0f}/s); "
        f"delay_many(): {statistics.median(bulk):,.0f}/s"
    )


def bulk(url: str, count: int = 2_000_000) -> str:
    """``delay_many()`` over a generator of two million, and what the producer's memory does meanwhile."""
    from bench.tasks import app

    _flushed(url)
    app.conf.override(broker=url)
    noop, server = app.tasks["noop"], client(url)
    noop.delay_many((n,) for n in range(10_000))
    empty, before = int(server.info("memory")["used_memory"]), pss(os.getpid())
    began = time.perf_counter()
    noop.delay_many((n,) for n in range(count))
    took = time.perf_counter() - began
    size = (int(server.info("memory")["used_memory"]) - empty) / count
    grown = pss(os.getpid()) - before
    app.close()
    _flushed(url)
    return f"delay_many() of {count:,}: {took:.1f} s ({count / took:,.0f}/s), producer {grown:+.1f} MB; {size:.0f} bytes a waiting message"


def depth(url: str, few: int = 1_000, many: int = 1_000_000) -> str:
    """A claim and settle of 100 with few and with many waiting, and with many scheduled, in turns."""
    costs = {}
    for name, waiting, scheduled in (("few", few, 0), ("waiting", many, 0), ("scheduled", few, many)):
        _flushed(url)
        broker = opened(url)
        broker.renew("w", 600)
        broker.admit("w", "w")
        for envelope in (envelopes(1000) for _ in range(waiting // 1000)):
            broker.enqueue(envelope)
        for _ in range(scheduled // 1000):
            later = envelopes(1000)
            for one in later:
                one.after = 3_600_000
            broker.enqueue(later)
        costs[name] = _turns(broker)
        broker.close()
    _flushed(url)
    base = costs["few"]
    waiting, scheduled = costs["waiting"] / base, costs["scheduled"] / base
    return (
        f"claim and settle of 100 with {few:,} waiting: {base * 1e6:.0f} us; with {many:,} waiting {waiting:.2f} times that, "
        f"with {many:,} scheduled {scheduled:.2f} times"
    )


def _turns(broker: Broker, turns: int = 400) -> float:
    """Median seconds of an exchange that settles 100, claims 100, and is followed by as many enqueued."""
    spans, settles = [], list[Settle]()
    for seq in range(1, turns + 1):
        began = time.perf_counter()
        got = broker.exchange("w", seq, settles, ["q"], 100).deliveries
        spans.append(time.perf_counter() - began)
        settles = [Settle(one.receipt, Done()) for one in got]
        broker.enqueue(envelopes(100))
    return statistics.median(spans)


def idle(url: str) -> str:
    """Commands, CPU and memory of an idle worker, and how soon it wakes."""
    _flushed(url)
    stage = Stage(url)
    try:
        from bench.tasks import app

        app.conf.override(broker=url)
        mark = app.tasks["mark"]
        with stage.worker(2) as worker:
            time.sleep(2)
            cpu, commands = cpu_of(worker.pid), client_commands(url)
            time.sleep(20)
            spent = (cpu_of(worker.pid) - cpu) / 20
            asked = (client_commands(url) - commands) / 20
            shared = sum(pss(pid) for pid in family(worker.pid))
            waits = wake_ups(stage, mark.delay)
        app.close()
    finally:
        stage.close()
    return (
        f"idle worker, 2 children: {asked:.2f} commands/s in all, {spent:.2%} CPU, PSS {shared:.0f} MB; wake-up p50 "
        f"{waits[len(waits) // 2]:.2f} ms, p99 {waits[len(waits) * 99 // 100]:.2f} ms"
    )


def client_commands(url: str) -> int:
    """What clients have sent; what scripts called is not counted."""
    found = client(url).info("commandstats")
    return sum(int(found.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("evalsha", "blpop", "ping", "hello", "xread"))


def wake_ups(stage: Stage, send: Callable[[int], object], count: int = 300) -> list[float]:
    """Ms from just before the call to the task's first line, sorted."""
    waits = []
    for n in range(count):
        time.sleep(0.02)
        sent = time.monotonic_ns()
        send(n)
        while len(times := stage.times()) <= n:
            time.sleep(0.0003)
        waits.append((times[-1] - sent) / 1e6)
    return sorted(waits)


def pss(pid: int) -> float:
    """Proportional set size in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> list[str]:
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        return [measure(server.url) for measure in (throughput, calls, bulk, depth, idle)]


if __name__ == "__main__":
    print("\n".join(main()))
