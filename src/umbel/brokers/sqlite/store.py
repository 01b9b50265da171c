"""One connection to the file: opening it, and one atomic step at a time."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ...clock import Clock
from ...errors import BrokerError, BrokerUnreachable, StoreFull, StoreUnusable
from ...forks import step_lock
from . import schema
from .address import Address
from .faults import is_busy, translated
from .filesystem import refuse_network

T = TypeVar("T")
Step = Callable[[int], T]
"""What is done within one transaction, at one moment (ms). It may be run again after a full disk, so it keeps no state."""

MIN_SQLITE = (3, 35, 0)
"""RETURNING came with it (2021)."""
_FIRST_PAUSE, _LAST_PAUSE = 0.0002, 0.004
"""Seconds between two tries for the lock. SQLite's own handler begins at 1 ms and ends at 100: too long for steps of 1 ms."""
_CHECKPOINT_PAGES = 4000
"""16 MiB of WAL before it is copied back: fewer, larger copies; no page of a hot queue is copied often."""
_WAL_LIMIT = 64 * 1024 * 1024
"""Bytes that the WAL may keep on disk after one very large step made it grow."""
_PLENTY = 64 * 1024 * 1024
"""Free bytes above which nobody has to look closer: more than the WAL and its copy."""
_SPARE = 1024 * 1024
"""Bytes kept free beside the room to copy the WAL back: enough to settle some hundred messages at a time."""
_ROOM_FOR_ONE = 2 * 1024 * 1024
"""Free bytes for each message that one step moves. A moved row is written anew with its body, which may have 256 KiB, and a
step that runs into the end of the disk may take what is kept to copy the WAL back; so none uses more than an eighth."""
_CACHE_KIB = 8000
_STATEMENTS = 256
"""More than this broker has, so that none is ever parsed twice."""


class Store:
    """The file as one thread of one process sees it."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self.address, self.clock = address, clock
        self.path = address.path.absolute()
        self.queues: dict[str, int] = {}
        """Numbers of queues, by name; a queue keeps its number for ever."""
        self.at_end: list[Callable[[], None]] = []
        """What the step under way still has to write before it is committed."""
        self.flows: object = None
        """What the step under way has read of flows: see ``flows.py``."""
        self._connection: sqlite3.Connection | None = None
        self._owner = (0, 0)
        self._step = step_lock()
        self._identity = (0, 0)

    # -- opening and closing

    def open(self) -> None:
        """Twice is once. Creates and migrates. Raises ``StoreUnusable``, or ``BrokerUnreachable`` when it stays locked."""
        if self._connection is not None:
            self.connection  # noqa: B018 - looked at for its refusal of strangers
            return
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old for this broker; it needs 3.35 or newer")
        refuse_network(self.path)
        with self._step:
            self._open()

    def _open(self) -> None:
        connection = self._connect()
        try:
            self._prepare(connection)
            found = os.stat(self.path)
        except sqlite3.Error as exc:
            connection.close()
            raise translated(exc, self.path) from exc
        except BaseException:
            connection.close()
            raise
        self._identity = (found.st_dev, found.st_ino)
        self._connection, self._owner = connection, (os.getpid(), threading.get_ident())
        _OPEN.add(self)

    def _connect(self) -> sqlite3.Connection:
        try:
            # timeout 0: who waits for a lock, waits in `_patiently`
            return sqlite3.connect(self.path, timeout=0, isolation_level=None, cached_statements=_STATEMENTS)
        except sqlite3.Error as exc:
            raise translated(exc, self.path) from exc

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # before anything is changed in a file that is not ours; in one snapshot, since somebody may be making the file just now
        try:
            self._patiently(lambda: _snapshot(connection))
            schema.version(connection, self.path)
        finally:
            rollback(connection)
        [(mode,)] = self._patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchall())
        if mode != "wal":
            raise StoreUnusable(f"{self.path}: this file system does not allow SQLite's WAL mode (it offers {mode!r}); use a local disk")
        connection.execute(f"PRAGMA synchronous = {self.address.synchronous}")  # one of three words, see Address
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES:d}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT:d}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB:d}")
        connection.execute("PRAGMA temp_store = MEMORY")
        if self._patiently(lambda: schema.is_complete(connection)):
            return
        self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            schema.migrate(connection, self.path)
            connection.execute("COMMIT")
        except BaseException:
            rollback(connection)
            raise

    def close(self) -> None:
        """Twice is once. A handle that was inherited by a fork is let go of and not closed: it is the parent's."""
        connection, self._connection = self._connection, None
        self.queues.clear()
        _OPEN.discard(self)
        if connection is None:
            return
        if self._owner[0] != os.getpid():
            _INHERITED.append(connection)
            return
        with self._step:
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except sqlite3.Error:
                pass  # a courtesy to whoever opens the file next; the WAL is as good
            connection.close()

    def leave_to_parent(self) -> None:
        """In a forked child: the connection must never be closed here, not even by the garbage collector."""
        if self._connection is not None:
            _INHERITED.append(self._connection)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for the thread and the process that opened it."""
        connection = self._connection
        if connection is None:
            raise BrokerUnreachable(f"{self.path}: the broker is not open; call open() first")
        if self._owner != (os.getpid(), threading.get_ident()):
            what = "process (it was inherited by a fork)" if self._owner[0] != os.getpid() else "thread"
            raise BrokerError(f"{self.path}: this broker was opened by another {what}; each opens one of its own")
        return connection

    # -- steps

    def write(self, step: Step[T], adds: int = 0) -> T:
        """Do ``step`` whole or not at all, alone. ``adds``: bytes of new work, for which there must be more room than for it alone.

        On a full disk the WAL is emptied, and it is tried once more.
        """
        connection = self.connection
        with self._step:
            self._same_file()
            if adds:
                self._keep_room(connection, adds)
            else:
                self._keep_log_short(connection)
            try:
                return self._attempt(connection, step)
            except StoreFull:
                # until the WAL is emptied every write fails, even one that only frees room
                if not self._empty_wal(connection):
                    raise
                return self._attempt(connection, step)

    def movable(self, most: int) -> int:
        """How many messages, at least one and at most ``most``, a step may move with the room that there is."""
        return max(1, min(most, free_bytes(self.path) // _ROOM_FOR_ONE))

    def _keep_log_short(self, connection: sqlite3.Connection) -> None:
        """Copy the WAL back while there is room for that: the file may grow by all of it, and steps to come make it longer."""
        free = free_bytes(self.path)
        if free > _PLENTY:
            return
        log = self._log_bytes()
        if log and free < 2 * log + _SPARE // 2:
            self._empty_wal(connection)

    def _keep_room(self, connection: sqlite3.Connection, adds: int) -> None:
        """Refuse new work while what runs can still be settled: that needs room for the WAL, and to copy it back."""
        if free_bytes(self.path) > _PLENTY + 4 * adds:
            return
        if self._has_room(connection, adds) or (self._empty_wal(connection) and self._has_room(connection, adds)):
            return
        raise StoreFull(
            f"{self.path}: {free_bytes(self.path) // 1024} KiB are left on the disk, and are kept so that running work can settle; "
            "nothing was stored. Free some and try again"
        )

    def _has_room(self, connection: sqlite3.Connection, adds: int) -> bool:
        """For the WAL to take it, and for the file to grow by all that the WAL has then, unless it has pages to use again."""
        log = adds + _SPARE // 2
        unused: int = connection.execute("PRAGMA freelist_count").fetchone()[0] * connection.execute("PRAGMA page_size").fetchone()[0]
        return free_bytes(self.path) > log + max(0, self._log_bytes() + log - unused)

    def _log_bytes(self) -> int:
        return os.stat(f"{self.path}-wal").st_size  # there while anybody has the file open, and we have

    def _attempt(self, connection: sqlite3.Connection, step: Step[T]) -> T:
        try:
            self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            answer = step(self.clock.now())
            for job in self.at_end:
                job()
            connection.execute("COMMIT")
        except BaseException as exc:
            rollback(connection)
            self.queues.clear()  # one that was made in this step is not there any more
            if isinstance(exc, sqlite3.Error):
                raise translated(exc, self.path) from exc
            raise
        finally:
            if self.at_end:
                self.at_end.clear()
                self.flows = None
        return answer

    def _empty_wal(self, connection: sqlite3.Connection) -> bool:
        try:
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            return False
        return not busy

    def read(self, step: Step[T]) -> T:
        """Do ``step``, which only reads, on one state of the store. Never waits for who writes."""
        connection = self.connection
        with self._step:
            try:
                self._patiently(lambda: _snapshot(connection))
                return step(self.clock.now())
            except sqlite3.Error as exc:
                raise translated(exc, self.path) from exc
            finally:
                rollback(connection)

    def read_settled(self, step: Step[T]) -> tuple[bool, T | None]:
        """Do ``step``, which only reads, while nobody writes: (True, its answer), or (False, None) if somebody does just now.

        A commit is seen by others only a moment after its last byte is in the WAL. In here, every change of the WAL that
        was noticed before is seen for certain.
        """
        connection = self.connection
        with self._step:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return True, step(self.clock.now())
            except sqlite3.Error as exc:
                if is_busy(exc):
                    return False, None
                raise translated(exc, self.path) from exc
            finally:
                rollback(connection)

    def version(self) -> int:
        """Another number when somebody else has written."""
        with self._step:
            return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def _patiently(self, job: Callable[[], T]) -> T:
        """``job`` as soon as no lock is in its way; after ``busy_timeout`` SQLite's own error."""
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            try:
                return job()
            except sqlite3.OperationalError as exc:
                if not is_busy(exc) or waited >= self.address.busy_timeout:
                    raise
            nap = pause * (0.5 + random.random())
            time.sleep(nap)
            waited, pause = waited + nap, min(pause * 1.5, _LAST_PAUSE)

    def _same_file(self) -> None:
        """A file that was deleted or replaced would take messages that nobody will ever find."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StoreUnusable(f"{self.path} was deleted or replaced while it was in use; close this broker and open it again")


def _snapshot(connection: sqlite3.Connection) -> None:
    """Begin to read, with the snapshot already taken: a deferred BEGIN alone takes none."""
    rollback(connection)
    connection.execute("BEGIN")
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def free_bytes(path: Path) -> int:
    """Bytes that may still be written to the file system of ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def rollback(connection: sqlite3.Connection) -> None:
    """End the transaction, if there is one, without a trace."""
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite rolled back by itself (disk full, I/O error)


_OPEN: weakref.WeakSet[Store] = weakref.WeakSet()
_INHERITED: list[sqlite3.Connection] = []
"""Connections of a parent process. SQLite forbids to close them here, so they are kept until this process ends."""


def _after_fork() -> None:
    for store in list(_OPEN):
        store.leave_to_parent()
    _OPEN.clear()


os.register_at_fork(after_in_child=_after_fork)
