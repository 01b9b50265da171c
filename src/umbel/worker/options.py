"""What the command line says to a worker; it travels to the template as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker is started with. Seconds; None: as the app's settings say."""

    app: str
    """``module:attribute``."""
    pool: str = "prefork"
    """``prefork``, ``threads`` or ``asyncio``."""
    concurrency: int = 2
    """Children of prefork; of the others, tasks that each child runs at once."""
    processes: int = 1
    """Children of ``threads`` and ``asyncio``."""
    queues: tuple[str, ...] = ()
    """Empty: all that the app's tasks declare, and the default."""
    strict: bool = False
    """Queues in order, instead of turns."""
    name: str = ""
    loglevel: str = "info"
    logfile: str | None = None
    log_json: bool | None = None
    pidfile: str | None = None
    fail_fast: bool = False
    reload: tuple[str, ...] = ()
    """Folders whose sources are watched, absolute; empty: none are."""
    reload_include: tuple[str, ...] = ("*.py",)
    """Names of files that count as sources."""
    settings: dict[str, str] = {}
    """Settings of the command line, over all others."""

    @property
    def children(self) -> int:
        """How many processes run tasks."""
        return self.concurrency if self.pool == "prefork" else self.processes

    @property
    def beside(self) -> int:
        """How many tasks a child runs beside each other; 0 for prefork, whose children have no roster."""
        return 0 if self.pool == "prefork" else self.concurrency


class Inherited(msgspec.Struct, frozen=True):
    """File descriptors that the template inherits from the supervisor."""

    control: int
    life: int
    events: int
    """Where a herald reads what happened in the supervisor."""
    slots: int
    slot_count: int
    permits: tuple[tuple[int, int], ...]
    rosters: int = -1
    """Of children that run many tasks at once; -1 for prefork."""

    @property
    def fds(self) -> list[int]:
        """Each once, but for ``control``."""
        pairs = [fd for pair in self.permits for fd in pair]
        return list(dict.fromkeys(fd for fd in (self.life, self.events, self.slots, *pairs, self.rosters) if fd >= 0))

    def renumbered(self, control: int, fds: Sequence[int]) -> Inherited:
        """The same in a process where they have other numbers: ``fds``, in the order of the property."""
        new = dict(zip(self.fds, fds, strict=True))
        permits = tuple((new[read], new[write]) for read, write in self.permits)
        return Inherited(control, new[self.life], new[self.events], new[self.slots], self.slot_count, permits, new.get(self.rosters, -1))
