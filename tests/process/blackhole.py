"""A way to a server on which chosen processes' bytes vanish, as behind a firewall that forgot their connections."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path


class BlackHole:
    """Listens on ``port`` and carries to ``target``; what is ``swallowed`` stays open, and nothing is carried any more."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._swallowed: set[int] = set()
        """Ports of the client's ends."""
        self._pids: set[int] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def swallow(self, pid: int, *, new_ones: bool) -> None:
        """From now on, nothing of this process's connections arrives; with ``new_ones``, of those that it makes later neither."""
        self._swallowed |= ports_of(pid)
        if new_ones:
            self._pids.add(pid)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(180)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, (_, port) = self._listener.accept()
            if any(port in ports_of(pid) for pid in self._pids):
                self._swallowed.add(port)
            thread = threading.Thread(target=self._carry, args=(client, port), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _carry(self, client: socket.socket, port: int) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            while not self._stop.is_set():
                if port in self._swallowed:
                    self._stop.wait(0.05)
                    continue
                for source in select.select([client, server], [], [], 0.05)[0]:
                    if port in self._swallowed:
                        break
                    try:
                        data = source.recv(65536)
                        (server if source is client else client).sendall(data)
                    except OSError:
                        return
                    if not data:
                        return


def ports_of(pid: int) -> set[int]:
    """Local ports of a process's TCP connections."""
    inodes = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    except FileNotFoundError:
        pass
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes}
