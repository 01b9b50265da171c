"""What SQLite's errors mean in the words of the contract."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import BrokerError, BrokerUnreachable, StoreFull, StoreUnusable

_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL))
# the shared-memory file cannot grow when the disk is full, and SQLite calls that an I/O error
_NO_ROOM = frozenset((sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP))
_UNUSABLE = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a copy, or rescue what can be read with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database; name another one in the broker address, or move it away",
    sqlite3.SQLITE_READONLY: "the file or its folder cannot be written; give this user the right to write to both",
    sqlite3.SQLITE_PERM: "the file may not be opened by this user; give it the right to read and write file and folder",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; its folder must exist and be writable for this user",
    sqlite3.SQLITE_SCHEMA: "the schema was changed by somebody else; restart this process",
    sqlite3.SQLITE_ERROR: "the file does not have the tables it should have, or another program changed them",
}


def code_of(error: sqlite3.Error) -> int:
    """The extended result code; 0 for an error that is the module's own."""
    return getattr(error, "sqlite_errorcode", 0) or 0


def is_busy(error: sqlite3.Error) -> bool:
    """Somebody else holds the lock: trying again is right."""
    return code_of(error) & 0xFF in _BUSY


def translated(error: sqlite3.Error, path: Path) -> BrokerError:
    """The contract's error for one of SQLite's; whoever calls has rolled back, so nothing was done."""
    code = code_of(error)
    if code & 0xFF in _BUSY:
        return BrokerUnreachable(f"{path}: the database is locked by another process ({error}); nothing was done")
    if code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_ROOM:
        return StoreFull(f"{path}: no room left on the disk ({error}); nothing was done. Free some and try again")
    if code & 0xFF in _UNUSABLE:
        return StoreUnusable(f"{path}: {_UNUSABLE[code & 0xFF]} ({error})")
    return BrokerUnreachable(f"{path}: {type(error).__name__}: {error}; nothing was done")
