"""The company's database: a table of users."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_NAMES = ("Ada", "Bela", "Chidi", "Dana", "Emre", "Fumi", "Goran", "Hanna", "Idris", "Jun", "Kofi", "Lena", "Mira", "Nils", "Olga", "Pia")


def create_users(path: Path, count: int) -> None:
    """Make the database ``path`` with ``count`` users, numbered from 1, each with an address of its own."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, address TEXT NOT NULL UNIQUE)")
        rows = ((number, _NAMES[number % len(_NAMES)], f"user{number}@example.org") for number in range(1, count + 1))
        database.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)


def open_users(path: Path | str) -> sqlite3.Connection:
    """A connection that reads."""
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)


def user_ids(path: Path | str) -> Iterator[int]:
    """All ids, one by one from a cursor: nobody holds them all."""
    with closing(open_users(path)) as database:
        for (number,) in database.execute("SELECT id FROM users ORDER BY id"):
            yield number


def addresses(path: Path | str) -> set[str]:
    """Every address: whom the demo holds the mail server's count against."""
    with closing(open_users(path)) as database:
        return {address for (address,) in database.execute("SELECT address FROM users")}
