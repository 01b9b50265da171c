"""Send, wait until all has run, and look at what the tasks wrote down about themselves."""

import sqlite3
import time
from contextlib import closing

from tasks import DATABASE, refresh, summarize, sync_all

ACCOUNTS, TIMES, CHANGES = 5, 8, 20
CATCH_UP = 0.1  # seconds of unused rate that may be made good


def runs(what: str) -> list[tuple[int, float, float]]:
    """Account, begin and end of each run."""
    with closing(sqlite3.connect(DATABASE, timeout=30)) as connection:
        try:
            return list(connection.execute("SELECT key, began, ended FROM run WHERE what LIKE ? ORDER BY began", (what,)))
        except sqlite3.OperationalError:  # nothing has run yet
            return []


def main() -> None:
    DATABASE.unlink(missing_ok=True)
    began = time.time()
    sync_all.delay(ACCOUNTS, TIMES)
    for balance in range(CHANGES):
        summarize.delay(1, balance)
    while len(runs("sync")) < 2:
        time.sleep(0.01)
    skipped = [refresh.delay(account).dropped for account in range(ACCOUNTS)]
    while len(runs("sync")) < ACCOUNTS * TIMES or not runs(f"summary of {CHANGES - 1}"):
        time.sleep(0.05)

    done = runs("sync")
    together = sum(1 for a in done for b in done if a is not b and a[0] == b[0] and a[1] <= b[1] < a[2])
    least = (len(done) - 1) / 40 - CATCH_UP
    print(f"{len(done)} syncs of {ACCOUNTS} accounts; two at once of one account: {together}")
    print(f"spread over at least {least:.2f} s: {done[-1][1] - began >= least - 0.01}")
    print(f"refreshes skipped: {skipped.count('locked')} of {ACCOUNTS}")
    print(f"summaries, after {CHANGES} changes: {len(runs('summary%'))}")


main()
