"""What surrounds the app, looked at for ``umbel doctor``: Python, packages, the system, where files lie."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from ..checkup import Finding, Grade
from ..clock import SYSTEM, Clock
from ..settings import Settings

_FILES_LEAST = 256
"""Open files: a supervisor needs about 8 a child, and what the tasks open comes on top."""
_BEFORE = 1_760_000_000_000
"""Ms; October 2025: a clock that says less was never set, and stamps calls with times long gone."""
_EXTRAS = {"redis": "a redis:// broker", "dev": "--reload and umbel up", "demo": "umbel demo"}


def installation(settings: Settings, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Everything that needs neither the store nor the app's code."""
    yield _versions()
    yield _extras(settings)
    yield _system(clock)
    file = database(settings)
    if file is not None:
        yield _place(file)


def database(settings: Settings) -> Path | None:
    """The file of an SQLite broker; None for another."""
    scheme, _, rest = settings.broker.partition(":///")
    path = rest.partition("?")[0]
    return Path(path) if scheme.lower() == "sqlite" and path and not path.startswith(":memory:") else None


def _versions() -> Finding:
    said = [f"umbel {version('umbel')}", f"Python {sys.version.split()[0]}", f"msgspec {version('msgspec')}", f"click {version('click')}"]
    return Finding("versions", Grade.OK, f"{', '.join(said)}; {sys.prefix}")


def _extras(settings: Settings) -> Finding:
    missing = {extra: absent for extra in _EXTRAS if (absent := _lacking(extra))}
    there = [extra for extra in _EXTRAS if extra not in missing]
    found = f"installed: {', '.join(there) or 'none'}" + "".join(f"; without {extra} (for {_EXTRAS[extra]})" for extra in missing)
    if "redis" in missing and settings.broker.partition(":")[0].partition("+")[0] in ("redis", "rediss", "unix"):
        lacking = ", ".join(missing["redis"])
        return Finding("extras", Grade.FAIL, f"{lacking}: not installed", "the broker cannot be reached", "pip install 'umbel[redis]'")
    return Finding("extras", Grade.OK, found)


def _lacking(extra: str) -> list[str]:
    """Packages of an extra that are not installed."""
    names = []
    for line in requires("umbel") or ():
        wanted, _, condition = line.partition(";")
        if "extra" in condition and condition.replace('"', "'").rpartition("==")[2].strip(" '") == extra:
            name = "".join(c if c.isalnum() or c in "-_." else " " for c in wanted).split()[0]
            try:
                version(name)
            except PackageNotFoundError:
                names.append(name)
    return names


def _system(clock: Clock) -> Finding:
    if clock.now() < _BEFORE:
        means = "calls are stamped with times long gone: eta and expires are off"
        return Finding("system", Grade.FAIL, "this machine's clock was never set", means, "set it (chrony, systemd-timesyncd)")
    if sys.platform != "linux":
        return Finding(
            "system", Grade.WARN, f"{sys.platform}: calls can be sent from here", "workers run on Linux only", "run workers there"
        )
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < _FILES_LEAST:
        means = "a worker with several children, or tasks that open files, run out of them"
        return Finding("system", Grade.WARN, f"at most {limit} open files", means, "ulimit -n 4096, LimitNOFILE= under systemd")
    return Finding("system", Grade.OK, f"Linux {os.uname().release}, {limit} open files")


def _place(file: Path) -> Finding:
    """May this user write the database, and may others?"""
    folder = file.parent
    if not folder.is_dir():
        return Finding("place", Grade.FAIL, f"there is no folder {folder}", "no call can be stored", f"mkdir -p {folder}")
    for path in (folder, file):
        if path.exists() and not os.access(path, os.W_OK):
            means = "no call can be stored, no worker can run" + (": SQLite keeps files beside the database" if path is folder else "")
            return Finding("place", Grade.FAIL, f"{path} cannot be written by this user", means, f"chown or chmod {path}")
    mode = file.stat().st_mode if file.exists() else 0
    if mode & stat.S_IWOTH:
        means = "whoever has an account here can let your workers run tasks, with arguments of their choice"
        return Finding("place", Grade.WARN, f"{file} may be written by everybody", means, f"chmod o-w {file}")
    return Finding("place", Grade.OK, f"{folder} can be written, {'not by everybody' if mode else 'and the database is not there yet'}")
