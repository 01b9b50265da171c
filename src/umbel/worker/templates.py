"""The template as the supervisor sees it: a process, a socket, and what it said of the app."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Protocol

import msgspec

from .allowance import Allowance, allowance
from .catalog import Catalog
from .memory import Surroundings, anonymous
from .options import Inherited, WorkerOptions
from .places import Places
from .twin import Orders, Twin, python_path
from .wire import Fork, FromTemplate, Line


class Process(Protocol):
    """What a template runs in."""

    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class TemplateProcess:
    """One template. Made anew after its death, and for a reload."""

    def __init__(self, options: WorkerOptions, places: Places, life: int, events: int, twin: Twin | None = None) -> None:
        """Starts it, or makes the ``twin`` one. ``life`` is the end of a pipe whose other end only the supervisor holds; ``events``
        is where heralds read."""
        slots, rosters = places.slots, places.rosters
        counters = tuple((p.read_fd, p.write_fd) for p in places.permits)
        inherited = Inherited(-1, life, events, slots.fd, slots.count, counters, -1 if rosters is None else rosters.fd)
        self.process: Process
        if twin is not None and twin.instruct(Orders(options, inherited)):
            self.process, sock = twin, twin.sock
        else:
            self.process, sock = _start(options, inherited)
        sock.setblocking(False)
        self.line: Line[FromTemplate] = Line(sock, FromTemplate)
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


def _start(options: WorkerOptions, inherited: Inherited) -> tuple[Process, socket.socket]:
    """A fresh interpreter: this process has threads by now, and a fork of it could inherit a held lock."""
    ours, theirs = socket.socketpair()
    with theirs:
        control = theirs.fileno()
        arguments = [msgspec.json.encode(value).decode() for value in (options, msgspec.structs.replace(inherited, control=control))]
        command = [sys.executable, "-m", "umbel.worker.template", *arguments]
        environment = {**os.environ, "PYTHONPATH": python_path()}
        fds = [control, *inherited.fds]
        return subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, env=environment), ours
