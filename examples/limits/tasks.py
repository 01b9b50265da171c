"""A shop that syncs accounts from a bank, tells its users, and keeps a summary up to date."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from umbel import Umbel

app = Umbel("limits")
DATABASE = Path(__file__).with_name("runs.db")


def note(what: str, key: int, began: float) -> None:
    """Write down that it ran, and when."""
    with closing(sqlite3.connect(DATABASE, timeout=30)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS run (what TEXT, key INTEGER, began REAL, ended REAL)")
        connection.execute("INSERT INTO run VALUES (?, ?, ?, ?)", (what, key, began, time.time()))


@app.task(lock="account:{account_id}", rate_limit="40/s")
def sync(account_id: int) -> None:
    """One at a time for each account, 40 a second over all: the bank allows no more."""
    began = time.time()
    time.sleep(0.01)
    note("sync", account_id, began)


@app.task(lock="account:{account_id}", on_locked="skip")
def refresh(account_id: int) -> None:
    """Pointless while the account is being synced, or is about to be."""
    note("refresh", account_id, time.time())


@app.task(debounce=0.5, debounce_key="{account_id}")
def summarize(account_id: int, balance: int) -> None:
    """Once, when the changes are over, with the last balance."""
    note(f"summary of {balance}", account_id, time.time())


@app.task(atomic=True)
def sync_all(accounts: int, times: int) -> None:
    """All of these are sent, or none."""
    for _ in range(times):
        for account_id in range(accounts):
            sync.delay(account_id)
