"""The tasks of the process tests, as a user's module: imported by real workers, from their working directory."""

import asyncio
import contextvars
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from umbel import Retry, SoftTimeLimitExceeded, Umbel, current_task, every

app = Umbel(
    "sample",
    lease_ttl=float(os.environ.get("SAMPLE_LEASE", "2")),
    heartbeat=float(os.environ.get("SAMPLE_LEASE", "2")) / 4,
    shutdown_timeout=float(os.environ.get("SAMPLE_DRAIN", "25")),
)
if os.path.exists(ballast := os.environ.get("SAMPLE_BALLAST_FILE", "")):
    with open(ballast) as file:
        BALLAST = b"1" * int(file.read())
while os.path.exists(os.environ.get("SAMPLE_IMPORT_GATE", "")):
    time.sleep(0.05)
_MARKS = os.open(os.environ.get("SAMPLE_MARKS", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


_WIDTH = 128
"""Bytes of a mark, a divisor of a page: the kernel copies a write page by page, and SIGKILL may end it between two."""


def put_mark(n, kind="run"):
    """One line, whole or not at all, that survives any death of this process."""
    line = f"{n} {kind} {os.getpid()} {time.monotonic():.6f}".encode()
    assert len(line) < _WIDTH, line
    os.write(_MARKS, line.ljust(_WIDTH - 1) + b"\n")


@app.task(name="ticked")
def ticked():
    """One line for each call that a schedule made: its name, its tick and the call's id."""
    request = current_task.request
    put_mark(f"{request.schedule}@{round(request.tick.timestamp() * 1000)}", request.id)


for _name, _span in json.loads(os.environ.get("SAMPLE_SCHEDULES", "{}")).items():
    app.schedule(_name, ticked.s(), every(_span))


@app.task(name="mark")
def mark(n):
    put_mark(n)


@app.task(name="slow")
def slow(n, seconds):
    put_mark(n, "begin")
    time.sleep(seconds)
    put_mark(n)


@app.task(name="gated")
def gated(n, gate):
    """Runs until the file ``gate`` is there."""
    put_mark(n, "begin")
    while not os.path.exists(gate):
        time.sleep(0.01)
    put_mark(n)


@app.task(name="tracked", track=True)
def tracked(n, seconds):
    put_mark(n, "begin")
    time.sleep(seconds)
    put_mark(n)
    return os.getpid()


@app.task(name="flaky", retry=Retry(max=5, on=(OSError,), delay=0.05))
def flaky(n):
    if current_task.request.retries == 0:
        put_mark(n, "failed")
        raise OSError("the first attempt fails")
    put_mark(n)


@app.task(name="fails")
def fails(n, seconds):
    """Each result that is counted leaves a dead letter."""
    put_mark(n, "begin")
    time.sleep(seconds)
    put_mark(n)
    raise ValueError(n)


@app.task(name="weigh")
def weigh(n, ballast):
    put_mark(n)


@app.task(name="suicide")
def suicide(n):
    put_mark(n, "begin")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="suicide_once", on_worker_lost="dead")
def suicide_once(n):
    put_mark(n, "begin")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="hold_gil", time_limit=60, soft_time_limit=50)
def hold_gil(n, seconds):
    put_mark(n, "begin")
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))  # PyDLL keeps the GIL during the call
    put_mark(n)


@app.task(name="catastrophe", soft_time_limit=None, time_limit=1.0)  # a soft limit would interrupt re by itself
def catastrophe(n):
    put_mark(n, "begin")
    re.match(r"(a+)+$", "a" * 64 + "b")
    put_mark(n)


@app.task(name="soft", soft_time_limit=0.3, time_limit=20)
def soft(n):
    put_mark(n, "begin")
    time.sleep(30)
    put_mark(n)


@app.task(name="soft_async", soft_time_limit=0.3, time_limit=20)
async def soft_async(n):
    put_mark(n, "begin")
    await asyncio.sleep(30)
    put_mark(n)


@app.task(name="forks")
def forks(n, how):
    """Forks, and its copy leaves this function as daemons do."""
    pid = os.fork()
    if not pid:
        if how == "exit":
            sys.exit(0)
        if how == "raise":
            raise OSError("only in the copy")
        return
    os.waitpid(pid, 0)
    put_mark(n)


@app.task(name="terminates")
def terminates(n):
    """Ends a program of its own by SIGTERM."""
    program = subprocess.Popen(["sleep", "60"])
    program.terminate()
    assert program.wait(180) == -signal.SIGTERM
    put_mark(n)


@app.task(name="coroutine")
async def coroutine(n):
    await asyncio.sleep(0)
    put_mark(n)


_who: contextvars.ContextVar[int] = contextvars.ContextVar("who", default=-1)
_beside = 0


@app.task(name="beside", track=True)
async def beside(n, seconds):
    """Answers with how many of its kind ran beside it at most, and whether its context stayed its own."""
    global _beside
    clean = _who.get() == -1
    _who.set(n)
    _beside += 1
    most = 0
    for _ in range(5):
        await asyncio.sleep(seconds / 5)
        most = max(most, _beside)
        clean = clean and _who.get() == n and current_task.request.args[0] == n
    _beside -= 1
    return [most, clean]


@app.task(name="context", track=True)
def context(n, seconds):
    clean = _who.get() == -1
    _who.set(n)
    time.sleep(seconds)
    return clean and _who.get() == n and current_task.request.args[0] == n


@app.task(name="anap", track=True)
async def anap(n, seconds):
    put_mark(n, "begin")
    await asyncio.sleep(seconds)
    put_mark(n)


@app.task(name="soft_steps", soft_time_limit=0.3, time_limit=20, track=True)
def soft_steps(n):
    put_mark(n, "begin")
    for _ in range(3000):
        time.sleep(0.01)
    put_mark(n)


@app.task(name="steps", track=True)
def steps(n, seconds):
    put_mark(n, "begin")
    for _ in range(int(seconds * 100)):
        time.sleep(0.01)
    put_mark(n)


@app.task(name="soft_told", soft_time_limit=0.3, time_limit=20, track=True)
async def soft_told(n):
    try:
        await asyncio.sleep(30)
    except SoftTimeLimitExceeded:
        return "told"


@app.task(name="endless", soft_time_limit=None, time_limit=1.0)
def endless(n):
    put_mark(n, "begin")
    while True:
        time.sleep(0.01)


@app.task(name="endless_async", soft_time_limit=None, time_limit=1.0)
async def endless_async(n):
    put_mark(n, "begin")
    await asyncio.sleep(600)


@app.task(name="blocks", soft_time_limit=None, time_limit=1.0)
async def blocks(n, seconds):
    put_mark(n, "begin")
    nap = time.sleep
    nap(seconds)
    put_mark(n)


def _naps(seconds):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield min(0.002, left)


@app.task(name="tight", soft_time_limit=0.05, time_limit=60)
def tight(n, seconds):
    """Ends about when its soft limit is over."""
    put_mark(n, "begin")
    for nap in _naps(seconds):
        time.sleep(nap)


@app.task(name="tight_async", soft_time_limit=0.05, time_limit=60)
async def tight_async(n, seconds):
    put_mark(n, "begin")
    for nap in _naps(seconds):
        await asyncio.sleep(nap)


@app.task(name="free", soft_time_limit=None, time_limit=60)
def free(n, seconds):
    """Has no soft limit: what is raised in it was meant for another one."""
    put_mark(n, "begin")
    try:
        for nap in _naps(seconds):
            time.sleep(nap)
    except BaseException:
        put_mark(n, "struck")


@app.task(name="free_async", soft_time_limit=None, time_limit=60)
async def free_async(n, seconds):
    put_mark(n, "begin")
    try:
        for nap in _naps(seconds):
            await asyncio.sleep(nap)
    except BaseException:
        put_mark(n, "struck")


@app.task(name="progresses", track=True)
async def progresses(n):
    told = [current_task.progress(step, 3) for step in (1, 2, 3)]
    await asyncio.sleep(0.1)
    return told


@app.task(name="retries", bind=True, max_retries=2, track=True)
async def retries(self, n):
    await asyncio.sleep(0)
    if self.request.retries < 2:
        self.retry(countdown=0.05)
    return self.request.retries


@app.task(name="raises", track=True)
async def raises(n):
    await asyncio.sleep(0)
    raise LookupError("no such thing")


_kept = []


@app.task(name="leak")
def leak(n, size=1 << 20):
    """Keeps ``size`` bytes for ever."""
    _kept.append(b"\1" * size)
    put_mark(n)


@app.task(name="swell", time_limit=60, soft_time_limit=50)
def swell(n, size):
    """Takes ``size`` bytes at once, and then some time."""
    put_mark(n, "begin")
    ballast = b"\1" * size
    time.sleep(30)
    put_mark(n, f"run{len(ballast)}")


@app.task(name="swells_for")
def swells_for(n, size, seconds):
    ballast = b"\1" * size
    time.sleep(seconds)
    del ballast
    put_mark(n)


@app.task(name="swells_later")
def swells_later(n, size):
    """Leaves a thread behind that takes memory when the task is over."""
    threading.Timer(0.3, lambda: _kept.append(b"\1" * size)).start()
    put_mark(n)


@app.task(name="rated", rate_limit="40/s", track=True)
def rated(n):
    put_mark(n)
    return current_task.request.delivery


@app.task(name="locked", lock="{key}")
def locked(n, key, seconds=0.0):
    put_mark(n, "begin")
    time.sleep(seconds)
    put_mark(n)


@app.task(name="locked_gated", lock="{key}")
def locked_gated(n, key, gate):
    put_mark(n, "begin")
    while not os.path.exists(gate):
        time.sleep(0.01)
    put_mark(n)


@app.task(name="locked_dies_once", lock="{key}")
def locked_dies_once(n, key, flag):
    """Kills its process the first time, while it has the lock."""
    put_mark(n, "begin")
    if not os.path.exists(flag):
        open(flag, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    put_mark(n)


@app.task(name="unique", unique="{key}", track=True)
def unique(n, key, how="ends", gate=""):
    put_mark(n, "begin")
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fails":
        raise ValueError(n)
    if how == "retries" and current_task.request.retries == 0:
        current_task.retry(countdown=0.05)
    while gate and not os.path.exists(gate):
        time.sleep(0.01)
    put_mark(n)


@app.task(name="follows", unique="{key}", unique_until="start")
def follows(key, source, gate):
    """Reads first, then works for a while: what changes meanwhile, it has not seen."""
    with open(source) as file:
        seen = file.read()
    put_mark(seen, "begin")
    while not os.path.exists(gate):
        time.sleep(0.01)
    put_mark(seen)


@app.task(name="debounced", debounce=0.2, debounce_key="{key}")
def debounced(n, key):
    put_mark(n)


@app.task(name="parent", atomic=True)
def parent(n, children):
    """Its children wait in a queue that nobody serves, to be counted there."""
    for child in range(children):
        mark.apply_async((f"{n}.{child}",), queue="kept")
    put_mark(n)


@app.task(name="step", retry=Retry(max=5, on=(OSError,), delay=0.02), crash_limit=200)
def step(*args):
    """A node of a graph: the values of those before it, its own name, and what it does. Its value is its name."""
    *before, name, kind = args
    put_mark(name, "begin")
    put_mark(name, "in:" + ",".join(one if isinstance(one, str) else "-" for one in before))
    if kind == "slow":
        time.sleep(0.03)
    if kind == "fails":
        put_mark(name, "fails")
        raise ValueError(name)
    if kind == "retries" and current_task.request.retries == 0:
        put_mark(name, "again")
        raise OSError("the first attempt fails")
    put_mark(name)
    return name
