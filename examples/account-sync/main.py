"""Sync all accounts of one day, wait until nothing is left to do, and say what was booked.

python main.py [--mended]      --mended: with a bank that has got over its confusion
"""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from sync import ledger
from sync.app import app
from sync.tasks import sync_all

ACCOUNTS = 40


@contextmanager
def bank():
    """The bank's address while it is open."""
    file = Path("bank.address")
    file.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "bank.py", str(file), *sys.argv[1:]], stderr=subprocess.DEVNULL)
    try:
        while not (file.exists() and file.read_text()):
            time.sleep(0.05)
        yield file.read_text()
    finally:
        process.terminate()
        process.wait()


def work_left() -> int:
    """Calls that wait or run, over all queues. Dead letters are nobody's work until somebody looks."""
    broker = app.make_broker()
    broker.open()
    try:
        return sum(queue.ready + queue.scheduled + queue.leased for queue in broker.stats())
    finally:
        broker.close()


if __name__ == "__main__":
    with bank() as address:
        sync_all.delay(address, "2026-11-23", ACCOUNTS)
        while work_left():
            time.sleep(0.1)
    count, cents = ledger.booked()
    print(f"{count} bookings, {cents / 100:.2f} in all")
    app.close()
