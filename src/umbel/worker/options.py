"""What the command line says to a worker; it travels to the template as JSON."""

from __future__ import annotations

import msgspec


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker is started with. Seconds; None: as the app's settings say."""

    app: str
    """``module:attribute``."""
    concurrency: int = 2
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


class Inherited(msgspec.Struct, frozen=True):
    """File descriptors that the template inherits from the supervisor."""

    control: int
    life: int
    events: int
    """Where a herald reads what happened in the supervisor."""
    slots: int
    slot_count: int
    permits: tuple[tuple[int, int], ...]
