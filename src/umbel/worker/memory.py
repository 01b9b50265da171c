"""What the system says of memory: what a process has for itself, what there is, and whom the kernel killed for lack of it.

A process' memory is here its anonymous resident memory: what it has written itself, and what it shares with the template it
was forked from. Pages of files (libraries, a database that is mapped) do not count, since the kernel takes them back when it needs
room; nor does what was swapped out. It is one small read, some 10 µs, where the exact proportion of what is shared (PSS) takes the
kernel a walk through all pages. Shared pages are counted once for each child, so the sum errs to the safe side.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNLIMITED = 1 << 60
"""Version 1 of control groups writes "no limit" as a number near 2**63."""


def anonymous(pid: int | str) -> int | None:
    """Bytes that a process (``"self"``: this one) has for itself; None if it is gone, or the system does not tell."""
    try:
        fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        _, resident, shared, *_ = os.read(fd, 128).split()
    except (OSError, ValueError):  # it ended in between
        return None
    finally:
        os.close(fd)
    return (int(resident) - int(shared)) * _PAGE


def shown(size: float) -> str:
    """Bytes for people."""
    return f"{size / MIB:.0f} MiB"


class Surroundings:
    """The machine and the control groups (versions 1 and 2) that this process lives in."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._cgroups = root / "sys/fs/cgroup"

    def limit(self) -> int:
        """Bytes that all processes here may have: the least of the machine's and the groups'; 0 where that cannot be read."""
        found = [self._machine(), *(size for file in self._limit_files() if (size := _number(file)))]
        return min((size for size in found if 0 < size < _UNLIMITED), default=0)

    def kills(self) -> int:
        """How many processes the kernel has killed for lack of memory: of our own control group where it is told, else of the machine."""
        v2, v1 = self._group("")[:1], self._group("memory")[:1]
        files = [*(g / "memory.events" for g in v2), *(g / "memory.oom_control" for g in v1), self._proc / "vmstat"]
        return next((count for file in files if (count := _field(file, "oom_kill")) is not None), 0)

    def _machine(self) -> int:
        return (_field(self._proc / "meminfo", "MemTotal:") or 0) * 1024

    def _limit_files(self) -> Iterator[Path]:
        yield from (group / "memory.max" for group in self._group(""))
        yield from (group / "memory.limit_in_bytes" for group in self._group("memory"))

    def _group(self, controller: str) -> list[Path]:
        """Our group of this controller and those around it, from within; version 2's has no name."""
        for line in _lines(self._proc / "self/cgroup"):
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                mount = self._cgroups / controller
                # In a container the path may be the host's, while what is mounted begins at our own group
                inside = Path(path.lstrip("/")) if (mount / path.lstrip("/")).is_dir() else Path()
                return [mount / inside, *(mount / parent for parent in inside.parents)]
        return []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    try:
        return int("".join(_lines(file)))
    except ValueError:  # no such file, or "max"
        return None


def _field(file: Path, name: str) -> int | None:
    for line in _lines(file):
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return int(words[1])
    return None


class KernelKills:
    """Was a death by SIGKILL the kernel's doing, for lack of memory?

    The kernel counts before it kills, so the count has risen when a death is seen. Each rise explains one death; what rose long
    before a death (a program that a task had started) explains none, if ``forget`` is called now and then.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._known = around.kills()

    def forget(self) -> None:
        """What was killed until now was no child of ours."""
        self._known = self._around.kills()

    def explain_one(self) -> bool:
        """Ask once for each death by SIGKILL that nobody here has caused."""
        if self._around.kills() <= self._known:
            return False
        self._known += 1
        return True
