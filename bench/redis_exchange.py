"""What one message costs on Redis: enqueue, settle and claim, memory, wake-up. Starts a server of its own.

    python -m bench.redis_exchange [--seconds 3]

Ends within a minute. Every figure is printed beside the bare round trip of the same run, since machines differ.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from tests.servers import RedisServer
from umbel.broker import Broker, Settle
from umbel.brokers import make_broker
from umbel.brokers.redis.connection import Address, Line
from umbel.envelope import Envelope
from umbel.message import new_id
from umbel.outcome import Done

BODY = b'{"t":"bench.noop","a":[1]}'
BATCH = 300
DONE = Done()


def envelopes(count: int) -> list[Envelope]:
    now = time.time_ns() // 1_000_000
    return [Envelope(new_id(now), "q", BODY, enqueued=now) for _ in range(count)]


def opened(url: str) -> Broker:
    broker = make_broker(url)
    broker.open()
    return broker


def fill(broker: Broker, count: int) -> None:
    for _ in range(count // 1000):
        broker.enqueue(envelopes(1000))


def bare_round_trip(url: str) -> float:
    line = Line(Address(url, "bench"))
    began = time.perf_counter()
    for _ in range(3000):
        line.call("TIME")
    line.drop()
    return (time.perf_counter() - began) / 3000


def enqueue_cost(broker: Broker, size: int, seconds: float) -> float:
    batch, count = envelopes(size), 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds and count < 300_000:
        broker.enqueue(batch)
        count += size
    took = time.perf_counter() - began
    broker.purge("q")
    return took / count


def drain(url: str, name: str, until: float, answer: multiprocessing.Queue[tuple[int, float]] | None = None) -> tuple[int, float]:
    broker = opened(url)
    broker.renew(name, 600)
    broker.admit(name, name)
    seq, done, settles = 0, 0, list[Settle]()
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() < until:
        seq += 1
        exchanged = broker.exchange(name, seq, settles, ["q"], BATCH)
        done += len(settles)
        if not exchanged.deliveries:
            break
        settles = [Settle(delivery.receipt, DONE) for delivery in exchanged.deliveries]
    result = (done, time.perf_counter() - began)
    print(
        f"  {name}: {done / result[1]:,.0f}/s, {(time.process_time() - cpu) / max(done, 1) * 1e6:.2f} us of CPU in this process per message"
    )
    if answer is not None:
        answer.put(result)
    broker.close()
    return result


def server_cpu(broker: Broker) -> float:
    line: Line = broker._line  # type: ignore[attr-defined]  # the server's own account, which no verb of the contract tells
    info = dict(row.split(b":", 1) for row in line.call("INFO", "cpu").splitlines() if b":" in row)
    return float(info[b"used_cpu_user"]) + float(info[b"used_cpu_sys"])


def used_memory(broker: Broker) -> int:
    line: Line = broker._line  # type: ignore[attr-defined]  # the same hidden attribute, see above
    return int(dict(row.split(b":", 1) for row in line.call("INFO", "memory").splitlines() if b":" in row)[b"used_memory"])


def exchange_two(url: str, broker: Broker, seconds: float) -> None:
    fill(broker, 400_000)
    answers: multiprocessing.Queue[tuple[int, float]] = multiprocessing.Queue()
    until, before = time.perf_counter() + seconds, server_cpu(broker)
    both = [multiprocessing.Process(target=drain, args=(url, f"two-{i}", until, answers)) for i in (1, 2)]
    for process in both:
        process.start()
    results = [answers.get() for _ in both]
    for process in both:
        process.join()
    done = sum(count for count, _ in results)
    cpu = server_cpu(broker) - before
    print(f"exchange of {BATCH}, two processes: {done / max(t for _, t in results):,.0f}/s; server {cpu / done * 1e6:.2f} us per message")


def wake_ups(url: str, count: int = 300) -> list[float]:
    """From just before the enqueue to the message in hand, in another process."""
    stamps: multiprocessing.Queue[float] = multiprocessing.Queue()
    sleeper = multiprocessing.Process(target=sleep_and_take, args=(url, count, stamps))
    sleeper.start()
    broker = opened(url)
    found = []
    for _ in range(count):
        stamps.get()  # the sleeper is about to wait
        time.sleep(0.005)
        began = time.perf_counter()
        broker.enqueue(envelopes(1))
        found.append(stamps.get() - began)
    sleeper.join()
    broker.close()
    return sorted(found)


def sleep_and_take(url: str, count: int, stamps: multiprocessing.Queue[float]) -> None:
    broker = opened(url)
    broker.renew("sleeper", 600)
    broker.admit("sleeper", "sleeper")
    seq, settles = 0, list[Settle]()
    for _ in range(count):
        stamps.put(0.0)
        taken = False
        while not taken:
            broker.wait(["q"], 5)
            seq += 1
            deliveries = broker.exchange("sleeper", seq, settles, ["q"], 1).deliveries
            settles = [Settle(delivery.receipt, DONE) for delivery in deliveries]
            taken = bool(deliveries)
        stamps.put(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        broker = opened(server.url)
        trip = bare_round_trip(server.url)
        print(f"bare round trip: {trip * 1e6:.0f} us")
        one = enqueue_cost(broker, 1, seconds)
        print(f"enqueue of 1: {one * 1e6:.0f} us ({trip / one:.0%} of the bare one's speed)")
        print(f"enqueue of 1000: {enqueue_cost(broker, 1000, seconds) * 1e6:.2f} us per message")
        before = used_memory(broker)
        fill(broker, 200_000)
        print(f"waiting message: {(used_memory(broker) - before) / 200_000:.0f} bytes")
        began = server_cpu(broker)
        done, took = drain(server.url, "one", time.perf_counter() + seconds)
        print(
            f"exchange of {BATCH}, one process: {done / took:,.0f}/s; server {(server_cpu(broker) - began) / done * 1e6:.2f} us per message"
        )
        broker.purge("q")
        exchange_two(server.url, broker, seconds)
        broker.purge("q")
        woken = wake_ups(server.url)
        print(f"wake-up: p50 {woken[len(woken) // 2] * 1e3:.2f} ms, p99 {woken[int(len(woken) * 0.99)] * 1e3:.2f} ms")
        broker.close()


if __name__ == "__main__":
    main()
