"""The project's database: raw answers as they came, and balances made of them. Every write may be made twice."""

import sqlite3
from contextlib import closing, contextmanager

SCHEMA = """
create table if not exists raw (account integer primary key, answer text not null);
create table if not exists balances (account integer primary key, cents integer not null);
"""


@contextmanager
def database():
    with closing(sqlite3.connect("warehouse.db", timeout=20)) as connection, connection:
        connection.executescript(SCHEMA)
        yield connection


def keep_raw(account: int, answer: str) -> None:
    with database() as db:
        db.execute("insert or replace into raw values (?, ?)", (account, answer))


def raw(account: int) -> str:
    with database() as db:
        return db.execute("select answer from raw where account = ?", (account,)).fetchone()[0]


def keep_balance(account: int, cents: int) -> None:
    with database() as db:
        db.execute("insert or replace into balances values (?, ?)", (account, cents))


def balances() -> tuple[int, int]:
    """How many, and their sum."""
    with database() as db:
        return db.execute("select count(*), coalesce(sum(cents), 0) from balances").fetchone()
