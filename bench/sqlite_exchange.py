"""What one message costs on SQLite: enqueue, settle and claim, depth, waking up, waiting. In a folder of its own.

    python -m bench.sqlite_exchange [--deep 1000000] [--folder DIR] [--synchronous NORMAL]

Ends within about a minute. Every figure is printed beside a bare commit of the same run, since machines differ.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from umbel.broker import Broker, Settle
from umbel.brokers import make_broker
from umbel.envelope import Envelope
from umbel.message import new_id
from umbel.outcome import Done

BODY = b'{"t":"bench.noop","a":[1]}'
BATCH = 300
DONE = Done()
clock = time.perf_counter


def envelopes(count: int, **fields: Any) -> list[Envelope]:
    now = time.time_ns() // 1_000_000
    return [Envelope(new_id(now), "q", BODY, enqueued=now, **fields) for _ in range(count)]


def opened(url: str) -> Broker:
    broker = make_broker(url)
    broker.open()
    return broker


def fill(broker: Broker, count: int, **fields: Any) -> None:
    for _ in range(count // 1000):
        broker.enqueue(envelopes(1000, **fields))


def say(what: str, seconds: float, per: str = "message") -> None:
    print(f"{what:<58} {seconds * 1e6:9.2f} us per {per}", flush=True)


def bare_commit(folder: Path) -> float:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE bare (a)")
    began = clock()
    for _ in range(5000):
        connection.execute("INSERT INTO bare VALUES (1)")
    took = (clock() - began) / 5000
    connection.close()
    return took


def enqueue_cost(broker: Broker, size: int, seconds: float) -> float:
    batch, count, took = envelopes(size), 0, 0.0
    while took < seconds and count < 200_000:
        began = clock()
        broker.enqueue(batch)
        took += clock() - began
        count += size
    broker.purge("q")
    return took / count


def exchanges(broker: Broker, name: str, batch: int = BATCH) -> Iterator[tuple[int, float]]:
    """Settle what was claimed and claim as much again until nothing is left: (messages, seconds) of each exchange."""
    broker.renew(name, 600)
    broker.admit(name, name)
    settles: list[Settle] = []
    for seq in range(1, 1 << 30):
        began = clock()
        answer = broker.exchange(name, seq, settles, ["q"], batch)
        took = clock() - began
        yield len(settles), took
        if not answer.deliveries:
            return
        settles = [Settle(delivery.receipt, DONE) for delivery in answer.deliveries]


def drain(url: str, name: str, begin: Any, answers: Any) -> None:
    broker = opened(url)
    begin.wait()
    began, cpu, done = clock(), time.process_time(), 0
    for count, _ in exchanges(broker, name):
        done += count
    answers.put((done, clock() - began, time.process_time() - cpu))
    broker.close()


def two_at_once(url: str, count: int) -> None:
    broker = opened(url)
    fill(broker, count)
    begin = multiprocessing.Barrier(2)
    answers: Any = multiprocessing.Queue()
    both = [multiprocessing.Process(target=drain, args=(url, f"both{i}", begin, answers)) for i in range(2)]
    for process in both:
        process.start()
    found = [answers.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    longest = max(took for _, took, _ in found)
    say(f"exchange of {BATCH}, two processes at once", longest / count)
    print(f"  {count / longest:,.0f} messages/s; shares {[done for done, _, _ in found]}, CPU {[round(cpu, 2) for *_, cpu in found]} s")
    broker.close()


def alone(broker: Broker, count: int) -> None:
    fill(broker, count)
    say(f"exchange of {BATCH}, one process", sum(took for _, took in exchanges(broker, "alone")) / count)


def claim_cost(broker: Broker, name: str, rounds: int = 200) -> float:
    """Median of claims of 1 at the present depth, in seconds; what was claimed goes back."""
    broker.renew(name, 600)
    broker.admit(name, name)
    took = []
    for seq in range(1, rounds + 1):
        began = clock()
        answer = broker.exchange(name, seq, (), ["q"], 1)
        took.append(clock() - began)
        broker.give_back(name, [delivery.receipt for delivery in answer.deliveries])
    return sorted(took)[rounds // 2]


def batch_cost(broker: Broker, name: str, rounds: int = 40) -> float:
    """Median per message of settling and claiming 100 at the present depth."""
    took = []
    for (count, seconds), _ in zip(exchanges(broker, name, 100), range(rounds), strict=False):
        if count:
            took.append(seconds / count)
    broker.retire(name)
    return sorted(took)[len(took) // 2]


def depth(shallow: Broker, deep: Broker, count: int) -> None:
    """Both depths in turn, and the best of three: so the machine's moods are in neither."""
    began = clock()
    fill(deep, count)
    print(f"  {count:,} enqueued at {count / (clock() - began):,.0f}/s")
    ones: dict[Broker, list[float]] = {shallow: [], deep: []}
    batches: dict[Broker, list[float]] = {shallow: [], deep: []}
    for turn in range(3):
        fill(shallow, 5000 if turn == 0 else 4000)  # 4,000 are used up by the batches
        for broker in (shallow, deep):
            batches[broker].append(batch_cost(broker, f"batch{turn}"))
            ones[broker].append(claim_cost(broker, f"one{turn}"))
    for what, found in (("claim of 1", ones), ("settle and claim 100", batches)):
        say(f"{what} at 1,000 waiting", min(found[shallow]))
        say(f"{what} at {count:,} waiting", min(found[deep]))
        print(f"  ratio {min(found[deep]) / min(found[shallow]):.2f}")
    began = clock()
    stats = deep.stats()
    print(f"  stats of {stats[0].ready:,} in {(clock() - began) * 1e3:.0f} ms")


def waiter(url: str, begin: Any, heard: Any, rounds: int) -> None:
    broker = opened(url)
    broker.renew("idle", 600)
    broker.admit("idle", "idle")
    begin.wait()
    settles: list[Settle] = []
    for seq in range(1, 2 * rounds + 1):
        answer = broker.exchange("idle", seq, settles, ["q"], 1)
        settles = [Settle(delivery.receipt, DONE) for delivery in answer.deliveries]
        if settles:
            heard.send(clock())
        else:
            broker.wait(["q"], 5.0)
    heard.send(0.0)


def wake_up(url: str, rounds: int = 150) -> None:
    broker = opened(url)
    begin, (mouth, ear) = multiprocessing.Barrier(2), multiprocessing.Pipe()
    process = multiprocessing.Process(target=waiter, args=(url, begin, ear, rounds))
    process.start()
    begin.wait()
    took = []
    for _ in range(rounds):
        time.sleep(0.02)
        began = clock()
        broker.enqueue(envelopes(1))
        took.append(mouth.recv() - began)
    process.terminate()
    process.join()
    took.sort()
    p50, p99 = took[rounds // 2] * 1e3, took[rounds * 99 // 100] * 1e3
    print(f"enqueue to claimed by an idle waiter: p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {took[-1] * 1e3:.2f} ms", flush=True)
    broker.close()


def idle(url: str, seconds: float) -> None:
    broker = opened(url)
    broker.wait(["nothing"], 0.1)
    began, cpu = clock(), time.process_time()
    broker.wait(["nothing"], seconds)
    print(f"idle waiter: {(time.process_time() - cpu) / (clock() - began) * 100:.3f} % of a CPU", flush=True)
    broker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deep", type=int, default=1_000_000)
    parser.add_argument("--folder", default=None, help="on a real disk, for real figures")
    parser.add_argument("--synchronous", default="NORMAL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        urls = (f"sqlite:///{folder}/bench{i}.db?synchronous={options.synchronous}" for i in range(9))
        print(f"SQLite {sqlite3.sqlite_version}, synchronous={options.synchronous}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        say("a bare commit of one row", bare_commit(Path(folder)), "commit")
        broker = opened(next(urls))
        say("enqueue of 1", enqueue_cost(broker, 1, 1.0))
        say("enqueue of 1000", enqueue_cost(broker, 1000, 1.5))
        alone(broker, 60_000)
        broker.close()
        two_at_once(next(urls), 120_000)
        wake_up(next(urls))
        idle(next(urls), 3.0)
        shallow, deep = opened(next(urls)), opened(next(urls))
        depth(shallow, deep, options.deep)
        shallow.close()
        deep.close()


if __name__ == "__main__":
    main()
