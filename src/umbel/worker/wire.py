"""What supervisor and template say to each other: one JSON value a line over a socket pair."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from .catalog import Catalog
from .points import span

LONG_IMPORT = span("import", 10.0)
"""Seconds without a word of the app after which both say so: the supervisor that it waits, the template where it is."""


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """To the template: make a child for this slot, which consumes as ``holder``."""

    slot: int
    holder: str
    max_memory: int = 0
    """Bytes that it may have; 0: no limit."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From the template: the user's modules are imported."""

    catalog: Catalog


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From the template: the app cannot be had. ``exit`` is the exit code that says why."""

    error: str
    exit: int


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    slot: int
    holder: str
    pid: int


class NotForked(msgspec.Struct, frozen=True, tag="not_forked"):
    """From the template: the system has no room for another process now."""

    holder: str
    error: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """From the template: a child's exit status, as of ``os.waitpid``."""

    pid: int
    status: int


ToTemplate = Fork
FromTemplate = Ready | Failed | Forked | NotForked | Exited
_T = TypeVar("_T")


class Line(Generic[_T]):
    """One end of the socket."""

    def __init__(self, sock: socket.socket, reads: Any) -> None:
        self.sock = sock
        self._decoder: msgspec.json.Decoder[_T] = msgspec.json.Decoder(reads)
        self._rest = b""
        self.closed = False

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, value: msgspec.Struct) -> bool:
        """False if the other end is gone."""
        try:
            self.sock.sendall(msgspec.json.encode(value) + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> Iterator[_T]:
        """All that arrives in one read; sets ``closed`` when the other end is gone."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield self._decoder.decode(line)
