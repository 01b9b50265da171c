"""One night: the worker is killed half-way, an account cannot be had, and in the morning the flow is resumed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from etl import store
from etl.app import app
from etl.tasks import nightly

from umbel import FlowFailed


def until(fact):
    while not (found := fact()):
        time.sleep(0.05)
    return found


@contextmanager
def program(*command):
    process = subprocess.Popen([sys.executable, *command], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def worker():
    return program("-m", "umbel", "worker", "-c", "2")


for file in ("server.address", "mended", "requests.log", "warehouse.db"):
    Path(file).unlink(missing_ok=True)

with program("server.py", "server.address"):
    address = until(lambda: Path("server.address").exists() and Path("server.address").read_text())
    with worker() as first:
        result = nightly(address).delay()
        until(lambda: store.balances()[0] >= 10)
        os.killpg(first.pid, signal.SIGKILL)
    print(f"the worker is killed: {(store.balances()[0] >= 40 and 'too late') or 'half of the work is done'}")

    with worker():
        until(lambda: result.seen().finished)
        seen = result.seen()
        print(f"{seen.state}: {seen.failed} failed, {seen.abandoned} never began, {store.balances()[0]} balances")
        try:
            result.get()
        except FlowFailed as error:
            print(error)

        Path("mended").touch()
        asked = Counter(Path("requests.log").read_text().split())
        print(f"resumed: {result.retry()} task again")
        print(result.get(timeout=60))
        again = Counter(Path("requests.log").read_text().split()) - asked
        print(f"asked again for account {', '.join(again)} and no other")
app.close()
