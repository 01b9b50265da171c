"""The project's own database: raw answers, and bookings that have a key."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

SCHEMA = """
CREATE TABLE IF NOT EXISTS raw (account INTEGER, day TEXT, answer BLOB, PRIMARY KEY (account, day));
CREATE TABLE IF NOT EXISTS booking (account INTEGER, number INTEGER, cents INTEGER, PRIMARY KEY (account, number));
"""


@contextmanager
def opened() -> Iterator[sqlite3.Connection]:
    """The database, in one transaction."""
    connection = sqlite3.connect("ledger.db", timeout=30)
    try:
        connection.executescript(SCHEMA)
        with connection:
            yield connection
    finally:
        connection.close()


def keep_raw(account: int, day: str, answer: bytes) -> None:
    """Keep what the bank said, as it said it; a newer answer takes the place of an older one."""
    with opened() as db:
        db.execute("INSERT OR REPLACE INTO raw VALUES (?, ?, ?)", (account, day, answer))


def book(account: int, day: str) -> None:
    """Book a kept answer, all of it or nothing. ``ValueError`` for one that is not JSON."""
    with opened() as db:
        (answer,) = db.execute("SELECT answer FROM raw WHERE account = ? AND day = ?", (account, day)).fetchone()
        rows = [(account, one["number"], one["cents"]) for one in json.loads(answer)]
        db.executemany("INSERT INTO booking VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)


def booked() -> tuple[int, int]:
    """How many bookings there are, and their sum in cents."""
    with opened() as db:
        count, cents = db.execute("SELECT count(*), coalesce(sum(cents), 0) FROM booking").fetchone()
    return count, cents
