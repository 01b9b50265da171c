"""The template as the supervisor sees it: a process, a socket, and what it said of the app."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from .allowance import Allowance, allowance
from .catalog import Catalog
from .memory import Surroundings, anonymous
from .options import Inherited, WorkerOptions
from .places import Places
from .wire import Fork, FromTemplate, Line


class TemplateProcess:
    """One template. Made anew after its death, and for a reload."""

    def __init__(self, options: WorkerOptions, places: Places, life: int, events: int) -> None:
        """Starts it. ``life`` is the end of a pipe whose other end only the supervisor holds; ``events`` is where heralds read."""
        ours, theirs = socket.socketpair()
        os.set_blocking(ours.fileno(), False)
        slots, permits = places.slots, places.permits
        rosters = -1 if places.rosters is None else places.rosters.fd
        counters = tuple((p.read_fd, p.write_fd) for p in permits)
        inherited = Inherited(theirs.fileno(), life, events, slots.fd, slots.count, counters, rosters)
        fds = [theirs.fileno(), life, events, slots.fd, *(fd for p in permits for fd in p.fds), *((rosters,) if rosters >= 0 else ())]
        arguments = [msgspec.json.encode(value).decode() for value in (options, inherited)]
        # A fresh interpreter: this process has threads, and a fork of it could inherit a held lock
        command = [sys.executable, "-m", "umbel.worker.template", *arguments]
        self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, env=_with_cwd())
        theirs.close()
        self.line: Line[FromTemplate] = Line(ours, FromTemplate)
        self.catalog: Catalog | None = None
        self.limit = 0
        """Bytes of memory that each of its children may have; 0: no limit."""

    @property
    def ready(self) -> bool:
        return self.catalog is not None and not self.line.closed

    def gone(self) -> bool:
        """Has its end of the socket been closed?"""
        return self.line.closed

    def fork(self, slot: int, holder: str) -> bool:
        """Ask for a child; False if the template is gone."""
        return self.line.send(Fork(slot, holder, self.limit))

    def introduced(self, catalog: Catalog, children: int) -> Allowance:
        """It has said what the app is: so it has imported it, and weighs what a child will at the least."""
        self.catalog = catalog
        allowed = allowance(catalog.max_memory_per_child, children, anonymous(self.process.pid), Surroundings())
        self.limit = allowed.limit
        return allowed

    def receive(self) -> Iterator[FromTemplate]:
        return self.line.receive()

    def end(self) -> None:
        """Let it end (it kills children of its own that are left). Twice is once."""
        self.line.closed = True
        self.line.sock.close()
        if self.catalog is None:  # it imports, and has no children: nobody waits for the user's modules
            self.process.kill()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _with_cwd() -> dict[str, str]:
    """The user's modules are looked for where the worker was started, as ``python -m`` itself would."""
    path = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in (os.getcwd(), path) if p)}
