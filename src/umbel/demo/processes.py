"""The demo's processes, and their certain end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from ..errors import UmbelError
from .mailbox import Report, Status
from .mailserver_options import ServerOptions


class DemoError(UmbelError):
    """A process of the demo did not do its part; the message has its last words."""


class Actor:
    """One process, in a session of its own: Ctrl-C reaches the stage alone, which then ends all others."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, talks: bool = False) -> None:
        """Starts ``python -m ARGUMENTS`` in ``folder``. What it writes goes to its log; with ``talks``, pipes are kept to its
        standard input and output."""
        self.name = name
        self.log = folder / f"{name}.log"
        pipe = subprocess.PIPE if talks else subprocess.DEVNULL
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env=dict(environment),
                stdin=pipe,
                stdout=pipe if talks else log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()

    def gone_wrong(self) -> DemoError:
        return DemoError(f"the demo's {self.name} ended with {self.process.returncode}\n{self.last_words()}")

    def runs(self, pid: int) -> bool:
        """Is ``pid`` a process of this one's session? So that no stranger is ever killed."""
        try:
            return pid > 0 and os.getsid(pid) == self.process.pid
        except ProcessLookupError:
            return False

    def ask_to_end(self, patience: float) -> int:
        """TERM, and its exit status; ``DemoError`` if it goes on for longer than ``patience`` seconds."""
        self.process.terminate()
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the demo's {self.name} did not end within {patience:g} s of SIGTERM\n{self.last_words()}") from None

    def end(self) -> None:
        """Whatever it does, it and all that it has started are gone afterwards. Twice is once."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its session is its group
        except ProcessLookupError:
            pass
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class MailServer(Actor):
    """The mail server, with its port and its latest status."""

    def __init__(self, options: ServerOptions, folder: Path, environment: Mapping[str, str]) -> None:
        arguments = ["umbel.demo.mailserver", msgspec.json.encode(options).decode()]
        super().__init__("mail server", arguments, folder, environment, talks=True)
        self._report = folder / options.report
        self.status = Status(0, 0, 0, 0)
        line = self._output.readline()
        if not line:
            self.process.wait()
            raise self.gone_wrong()
        self.port = int(line)
        self._listener = threading.Thread(target=self._listen, daemon=True, name="mail-server-status")
        self._listener.start()

    @property
    def _output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def _listen(self) -> None:
        for line in self._output:
            self.status = msgspec.json.decode(line, type=Status)

    def close(self) -> Report:
        """End it in good order: its count."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.wait(30) != 0:
            raise self.gone_wrong()
        self._listener.join()
        return msgspec.json.decode(self._report.read_bytes(), type=Report)

    def end(self) -> None:
        if hasattr(self, "_listener"):
            os.killpg(self.process.pid, signal.SIGKILL) if not self.ended else None
            self._listener.join()  # before its pipe is closed
        super().end()
