"""What a worker says of itself: to people at its start, to the store with each heartbeat."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable

import msgspec

from ..broker import Broker
from ..checkup import Examined, Finding
from ..project import masked
from .catalog import Catalog
from .options import WorkerOptions

log = logging.getLogger("umbel.worker")


def about(options: WorkerOptions, catalog: Catalog, started: int) -> bytes:
    """JSON for ``Inspects.workers()``; ``started`` in ms."""
    return msgspec.json.encode(
        {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "app": catalog.app,
            "release": catalog.release,
            "queues": list(catalog.queues),
            "pool": options.pool,
            "concurrency": options.concurrency,
            "children": options.children,
            "started": started,
            "tasks": sorted(catalog.tasks),
        }
    )


def concerns_of(broker: Broker) -> list[Finding]:
    """What in the store's settings may lose messages; nothing where that cannot be asked."""
    return broker.concerns() if isinstance(broker, Examined) else []


def tell_concerns(found: Iterable[Finding]) -> None:
    """Log them."""
    for one in found:
        log.warning("%s: %s; %s; to mend it: %s", one.check, one.found, one.means, one.remedy)


def print_banner(options: WorkerOptions, catalog: Catalog, worker: str) -> None:
    """The start banner, on a terminal only (a log file has the ready line)."""
    if not sys.stderr.isatty():
        return
    tasks = sorted(catalog.tasks)
    shown = tasks[:20] + ([f"… and {len(tasks) - 20} more"] if len(tasks) > 20 else [])
    lines = [
        "",
        f"  umbel worker {worker}",
        f"  app      {catalog.app} ({options.app})",
        *([f"  release  {catalog.release}"] if catalog.release else []),
        f"  broker   {masked(catalog.broker)}",
        f"  queues   {', '.join(catalog.queues)}",
        f"  children {options.children} ({options.pool}" + (f", {options.concurrency} tasks each)" if options.beside else ")"),
        *([f"  watches  {', '.join(options.reload)} ({', '.join(options.reload_include)})"] if options.reload else []),
        "  tasks    " + ("\n           ".join(shown) or "none"),
        "",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
