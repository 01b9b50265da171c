"""The tables: the sum of the migrations and of the additions, applied under one lock.

A migration changes what older code reads or writes, so a file of a newer schema is refused by it. An addition is tables of
its own, and columns that may be NULL, which older code neither sees nor has to keep: it works on beside newer code, as in a deploy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ...errors import StoreUnusable

FOLDER = Path(__file__).parent / "migrations"
ADDITIONS = Path(__file__).parent / "additions"
"""Each file is named after its last table, whose presence says that all of the file was done."""
APPLICATION_ID = 0x756D626C
"""``umbl``: marks a file as ours, so that a project's own database is never taken for a broker."""


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """(number, text) of each, in order; the number is the first four digits of the file's name."""
    return tuple((int(path.name[:4]), path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("[0-9]*.sql")))


@cache
def additions() -> tuple[tuple[str, str], ...]:
    """(name of a table, text that makes it) of each, by name."""
    return tuple((path.stem, path.read_text(encoding="utf-8")) for path in sorted(ADDITIONS.glob("*.sql")))


def is_complete(connection: sqlite3.Connection) -> bool:
    """Does the file have this release's schema, and all that was added to it?"""
    [(found,)] = connection.execute("PRAGMA user_version").fetchall()
    return found == newest() and not _missing(connection)


def _missing(connection: sqlite3.Connection) -> list[str]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}
    return [text for table, text in additions() if table not in tables]


def newest() -> int:
    """The schema that this release writes."""
    return migrations()[-1][0]


def version(connection: sqlite3.Connection, path: Path) -> int:
    """The file's schema, 0 for a new file. Raises ``StoreUnusable`` for a newer one, and for a file of another program."""
    [(found,)] = connection.execute("PRAGMA user_version").fetchall()
    [(owner,)] = connection.execute("PRAGMA application_id").fetchall()
    if owner != APPLICATION_ID:
        [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if tables or found or owner:
            raise StoreUnusable(f"{path} is a database of another program; give the broker a file of its own")
        return 0
    if found > newest():
        raise StoreUnusable(
            f"{path} has schema {found}, and this release of umbel knows schemas up to {newest()}: it was written by a newer release. "
            "Upgrade umbel here, or use another file"
        )
    return int(found)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema. The caller has begun a write transaction, and commits; so of two who race, one
    finds nothing to do."""
    at = version(connection, path)
    for number, text in migrations():
        if number > at:
            for statement in statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number:d}")  # a pragma takes no parameters
    for text in _missing(connection):
        for statement in statements(text):
            connection.execute(statement)
    if at == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")


def statements(text: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit the transaction that we are in."""
    part = ""
    for line in text.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""
    if part.strip():
        raise ValueError(f"a migration ends within a statement: {part.strip()[:60]!r}")
