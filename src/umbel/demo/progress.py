"""How far the demo is: one live line on a terminal, else a plain line every few seconds."""

from __future__ import annotations

from typing import TextIO

from ..clock import Clock
from .mailbox import Status

_LIVE_EVERY, _PLAIN_EVERY = 0.1, 3.0
_BAR = 24


class Progress:
    """Writes to ``stream``."""

    def __init__(self, stream: TextIO, users: int, clock: Clock) -> None:
        self._stream = stream
        self._users = users
        self._clock = clock
        self._live = stream.isatty()
        self._began = clock.monotonic()
        self._shown = self._began
        self._open = False

    def show(self, status: Status) -> None:
        """The present state, if it is time for it."""
        now = self._clock.monotonic()
        if now - self._shown < (_LIVE_EVERY if self._live else _PLAIN_EVERY):
            return
        self._shown = now
        words = f"{status.sent:,} of {self._users:,} mails  {status.refused} refused  {status.hung} hung  {now - self._began:.0f} s"
        if self._live:
            filled = _BAR * status.sent // self._users
            self._stream.write(f"\r  {'█' * filled}{'░' * (_BAR - filled)}  {words}\x1b[K")
            self._open = True
        else:
            self._stream.write(f"  {words}\n")
        self._stream.flush()

    def say(self, words: str) -> None:
        """A line that stays."""
        self.close()
        self._stream.write(f"{words}\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the live line."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False
