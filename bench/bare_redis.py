"""What Redis and redis-py do with nothing of umbel between: the measure of the figures beside it."""

from __future__ import annotations

import multiprocessing
import time

import redis

BATCH = 100
# Acknowledge what was had by its receipts, take as much again and note it as held under new ones: what any queue that loses
# nothing has to do.
TAKE = """
if #ARGV > 2 then redis.call('HDEL', KEYS[2], unpack(ARGV, 3)) end
local got, held = redis.call('LPOP', KEYS[1], ARGV[1]) or {}, {}
for i, m in ipairs(got) do
  held[#held + 1] = ARGV[2] .. i
  held[#held + 1] = m
end
if #held > 0 then redis.call('HSET', KEYS[2], unpack(held)) end
return got
"""
PUT = "return redis.call('RPUSH', KEYS[1], ARGV[1])"


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


def _take_all(url: str, name: str, answer: multiprocessing.Queue[tuple[int, float, float]]) -> None:
    server = client(url)
    sha, acknowledged, done, turn, began = server.script_load(TAKE), list[str](), 0, 0, time.perf_counter()
    while True:
        turn += 1
        got = server.evalsha(sha, 2, "bare", f"bare-{name}", BATCH, f"{turn}:", *acknowledged)
        done += len(got)
        if not got:
            answer.put((done, began, time.perf_counter()))
            return
        acknowledged = [f"{turn}:{i}" for i in range(1, len(got) + 1)]


def loop_rate(url: str, count: int, size: int = 90, processes: int = 2) -> float:
    """Messages a second, popped and acknowledged ``BATCH`` at a time by so many processes."""
    server, payload = client(url), b"x" * size
    for _ in range(count // 1000):
        server.rpush("bare", *[payload] * 1000)
    answers: multiprocessing.Queue[tuple[int, float, float]] = multiprocessing.Queue()
    running = [multiprocessing.Process(target=_take_all, args=(url, str(n), answers)) for n in range(processes)]
    for process in running:
        process.start()
    found = [answers.get() for _ in running]
    for process in running:
        process.join()
    return sum(done for done, _, _ in found) / (max(end for _, _, end in found) - min(began for _, began, _ in found))


def put_rate(url: str, payload: bytes, count: int = 4000) -> float:
    """Bare ``EVALSHA`` a second that stores ``payload``, one after another."""
    server = client(url)
    sha, began = server.script_load(PUT), time.perf_counter()
    for _ in range(count):
        server.evalsha(sha, 1, "bare", payload)
    rate = count / (time.perf_counter() - began)
    server.delete("bare")
    return rate
