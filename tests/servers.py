"""Real servers for tests: private, on a free port, and easy to kill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.waiting import wait_for

REDIS_SERVER = os.environ.get("UMBEL_TEST_REDIS") or shutil.which("redis-server")
"""``UMBEL_TEST_REDIS`` names another program, such as an older redis-server or a valkey-server."""
_SENT = frozenset(("eval", "evalsha", "blpop", "ping", "hgetall", "info", "auth", "hello", "select", "client", "script"))
"""Commands that umbel's clients send and its scripts do not."""


class RedisServer:
    """A redis-server of one's own, on 127.0.0.1.

    Port and folder outlive ``stop`` and ``kill``, so a client meets the same server after the next ``start``. With ``aof``
    it also meets its data (``appendfsync everysec``); without, nothing is written to disk. Further ``options`` are passed
    to the server as they are, e.g. ``"--maxmemory", "20mb"``. Starting and stopping are safe twice.
    """

    def __init__(self, folder: Path, *options: str, aof: bool = False) -> None:
        self.folder = folder
        self.port = _free_port()
        self._log = folder / "redis.log"
        self._options = ["--appendonly", "yes" if aof else "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self, timeout: float = 10.0) -> None:
        """Start and return once it answers, that is, once it has loaded what it had written."""
        if self._process is not None:
            return
        assert REDIS_SERVER is not None, "redis-server is not installed"
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        command = [REDIS_SERVER, *place, "--save", "", "--daemonize", "no", *self._options]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal ends the tests, and they end the server.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(self._answers, timeout)
        except BaseException:
            self.kill()
            raise

    def command(self, *words: str | int, timeout: float = 30.0) -> bytes:
        """One command on a connection of its own; the reply as it comes. ``AssertionError`` for an error."""
        given = [str(word).encode() for word in words]
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection, connection.makefile("rb") as reader:
            connection.sendall(b"*%d\r\n" % len(given) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in given))
            line = reader.readline()
            assert line and line[:1] != b"-", f"{words[0]}: {line!r}"
            return reader.read(int(line[1:])) if line[:1] == b"$" else line[1:].strip()

    def figure(self, section: str, name: str) -> float:
        """One figure of INFO."""
        return float(self.command("INFO", section).decode().partition(f"{name}:")[2].split()[0])

    def client_commands(self) -> int:
        """Commands that clients have sent so far. The server also counts what scripts do: of TIME, each script does one."""
        counts: dict[str, int] = {}
        for row in self.command("INFO", "commandstats").decode().splitlines():
            if row.startswith("cmdstat_"):
                name, _, figures = row.removeprefix("cmdstat_").partition(":")
                command = name.partition("|")[0]
                counts[command] = counts.get(command, 0) + int(figures.split(",")[0].partition("=")[2])
        return sum(counts.get(name, 0) for name in _SENT) + max(0, counts.get("time", 0) - counts.get("evalsha", 0))

    def stop(self) -> None:
        """As an operator would: TERM, and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)  # a test may have left it stopped
        self._process.wait(timeout=180)
        self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"redis-server ended with {code}: {self._log.read_text()[-2000:]}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
