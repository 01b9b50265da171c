"""The file looked at for what makes tasks late, lost or refused: what ``umbel doctor`` shows of SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3

from ...checkup import Finding, Grade, bytes_text
from . import schema
from .filesystem import kind_of
from .statements import SQL
from .store import Store

_LOW, _LAST = 1024**3, 100 * 1024**2
"""Bytes free on the disk: time to act; and new calls are about to be refused."""


def checkup(store: Store) -> list[Finding]:
    """Everything. ``PRAGMA quick_check`` reads the whole file: about a second a GiB."""
    return [_file(store), _schema(store), _journal(store), _place(store), _room(store), _sound(store), *_leases(store)]


def _file(store: Store) -> Finding:
    sizes = [os.path.getsize(f"{store.path}{end}") for end in ("", "-wal") if os.path.exists(f"{store.path}{end}")]
    found = f"{store.path}, {bytes_text(sizes[0])}" + (f" and {bytes_text(sizes[1])} of journal" if len(sizes) > 1 else "")
    if len(sizes) > 1 and sizes[1] > max(256 * 1024**2, sizes[0]):
        means = "somebody reads without end, so the journal cannot be copied back; reading becomes slow and the disk full"
        return Finding("file", Grade.WARN, found, means, "find who has the file open (lsof), and end it")
    return Finding("file", Grade.OK, found)


def _schema(store: Store) -> Finding:
    [(version,)] = store.read(lambda _: store.connection.execute("PRAGMA user_version").fetchall())
    return Finding(
        "schema", Grade.OK, f"{version}, the newest that this release knows is {schema.newest()}; SQLite {sqlite3.sqlite_version}"
    )


def _journal(store: Store) -> Finding:
    [(mode,)] = store.read(lambda _: store.connection.execute("PRAGMA journal_mode").fetchall())
    kept = {
        "NORMAL": "no death of a process loses anything; a power cut may lose the last moments (?synchronous=FULL does not)",
        "FULL": "neither the death of a process nor a power cut loses what was accepted",
        "EXTRA": "neither the death of a process nor a power cut loses what was accepted",
    }
    level = store.address.synchronous
    return Finding("journal", Grade.OK if mode == "wal" else Grade.FAIL, f"{mode}, synchronous {level}", kept[level])


def _place(store: Store) -> Finding:
    kind = kind_of(store.path)  # one shared between machines was refused when the file was opened
    return Finding("file system", Grade.OK, f"{kind}, of this machine" if kind else "its kind is not told on this system")


def _room(store: Store) -> Finding:
    free = shutil.disk_usage(store.path.parent).free
    if free >= _LOW:
        return Finding("disk", Grade.OK, f"{bytes_text(free)} free")
    means = "when it is full, new calls are refused; running tasks finish in what is kept for them"
    return Finding("disk", Grade.FAIL if free < _LAST else Grade.WARN, f"{bytes_text(free)} free", means, "free some, or move the file")


def _sound(store: Store) -> Finding:
    rows = store.read(lambda _: store.connection.execute("PRAGMA quick_check(5)").fetchall())
    said = [str(row[0]) for row in rows]
    if said == ["ok"]:
        return Finding("integrity", Grade.OK, "quick_check found nothing")
    means = "the file is damaged, by its disk or by somebody who wrote to it"
    remedy = "stop the workers, copy the file, and rescue what can be read: sqlite3 FILE .recover"
    return Finding("integrity", Grade.FAIL, "; ".join(said), means, remedy)


def _leases(store: Store) -> list[Finding]:
    [(over, workers)] = store.read(lambda now: store.connection.execute(SQL["leases_over"], (now,)).fetchall())
    [(stranded,)] = store.read(lambda _: store.connection.execute(SQL["stranded"]).fetchall())
    found = []
    if over == 0:
        found.append(Finding("leases", Grade.OK, f"workers: {workers}, all with a lease"))
    elif over < workers:
        means = "another worker gives back what they held, once it has itself renewed on time for a whole lease"
        found.append(
            Finding("leases", Grade.WARN, f"{over} of {workers} workers are gone without goodbye", means, "look again in half a minute")
        )
    else:
        means = "what they held is stuck until a worker runs"
        found.append(Finding("leases", Grade.FAIL, f"gone without goodbye: all workers ({workers})", means, "start a worker: umbel worker"))
    if stranded:
        means = "they are held by nobody who lives, so nobody gives them back"
        found.append(Finding("holders", Grade.FAIL, f"left over: {stranded} messages of nobody", means, "report it with this output"))
    return found
