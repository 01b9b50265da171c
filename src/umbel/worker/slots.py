"""The slots: shared memory in which a child says what it runs, and the supervisor what it wants.

A slot belongs to one child at a time. Every field has one writer. What a child says of its present run is framed by the
same version number at both ends, written first and last; a reader that finds two different ones has read in the middle of
a write and looks again. ``pack_into`` fills the frame with zeros before it writes it, so a reader may also meet the run 0 of
delivery 0, which never is: versions begin with 1. The version names the run: limits are aimed at a version, never at a process.
"""

from __future__ import annotations

import mmap
import os
import signal
import tempfile
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

SLOT_SIZE = 256
POKE = signal.SIGUSR2
"""To a child: look at your slot, for a command or a soft limit. Tasks must leave this signal alone."""

_RUN = Struct("<QqiiddddQ")  # version, batch seq, batch size, running index, batch since, started, hard, soft, version
_SPAN = Struct("<d")
_INDEX = Struct("<i")
_LONG = Struct("<q")
_INDEX_AT = 20
_BEAT_AT = 72
_SOFT_DONE_AT = 80
_FAILING_AT = 88
_WISH_AT = 120
_COMMAND_AT = 128
_SOFT_WANTED_AT = 136
_RETURNED_AT = 144
_SEEN_AT = 152
_RECONNECT_AT = 160
# 168-255: counters of finished runs, for metrics; not written yet


class Command(IntEnum):
    """What the supervisor wants of a child."""

    RUN = 0
    QUIET = 1
    """Begin nothing more, settle, exit."""
    INTERRUPT = 2
    """As QUIET, and soft limits are interruptions by a shutdown from now on."""


class Wish(IntEnum):
    """Why a child wishes to be replaced."""

    NONE = 0
    TASKS = 1
    """It has run as many tasks as it may, or is about to."""
    MEMORY = 2
    """It has, or will soon have, as much memory as it may."""


class Running(NamedTuple):
    """A reading of what a child says. Times are seconds of the monotonic clock, which all processes share."""

    version: int
    seq: int
    size: int
    at: int
    """Index of the delivery that runs in its batch; -1 for none."""
    batch_since: float
    started: float
    soft: float
    """When its soft limit is over (monotonic), 0 for never."""
    hard: float

    @property
    def busy(self) -> bool:
        return self.at >= 0


class Pulse(NamedTuple):
    """How a child's loop goes. Monotonic seconds."""

    beat: float
    """When the child last turned its loop; 0: not yet."""
    failing: float = 0.0
    """Since when each of its exchanges has failed; 0 if the last one was answered."""


IDLE = Running(0, 0, 0, -1, 0.0, 0.0, 0.0, 0.0)


class Slots:
    """The table. The supervisor creates it; the template and its children map the same file."""

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self.count = count
        self._memory = mmap.mmap(fd, count * SLOT_SIZE)

    @classmethod
    def create(cls, count: int) -> Slots:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("umbel-slots", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, count * SLOT_SIZE)
        return cls(fd, count)

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)

    def clear(self, number: int) -> None:
        """Make the slot ready for its next child. Supervisor."""
        at = number * SLOT_SIZE
        self._memory[at : at + SLOT_SIZE] = bytes(SLOT_SIZE)
        _RUN.pack_into(self._memory, at, 0, 0, 0, -1, 0.0, 0.0, 0.0, 0.0, 0)

    def child(self, number: int) -> ChildSlot:
        return ChildSlot(self._memory, number * SLOT_SIZE)

    # -- what the supervisor reads

    def running(self, number: int) -> Running | None:
        """What the child runs; None if it was just being written."""
        at = number * SLOT_SIZE
        first, seq, size, running, since, started, hard, soft, last = _RUN.unpack(self._memory[at : at + _RUN.size])
        if first != last or (not first and running >= 0):
            return None
        return Running(first, seq, size, running, since, started, soft, hard)

    def last_words(self, number: int) -> Running:
        """What a dead child ran: nobody writes any more. A begin that was cut off in its middle had begun nothing."""
        return self.running(number) or IDLE

    def pulse(self, number: int) -> Pulse:
        """How the child's loop goes."""
        at = number * SLOT_SIZE
        (beat,) = _SPAN.unpack_from(self._memory, at + _BEAT_AT)
        (failing,) = _SPAN.unpack_from(self._memory, at + _FAILING_AT)
        return Pulse(beat, failing)

    def soft_done(self, number: int) -> int:
        """The last version in which the child raised a soft limit."""
        (version,) = _LONG.unpack_from(self._memory, number * SLOT_SIZE + _SOFT_DONE_AT)
        return int(version)

    def wish(self, number: int) -> Wish:
        """Does the child wish to be replaced?"""
        (wish,) = _INDEX.unpack_from(self._memory, number * SLOT_SIZE + _WISH_AT)
        return Wish(wish)

    # -- what the supervisor writes

    def command(self, number: int, command: Command) -> None:
        _INDEX.pack_into(self._memory, number * SLOT_SIZE + _COMMAND_AT, command)

    def want_soft(self, number: int, version: int) -> None:
        """Ask for the soft limit in this version, and in no other."""
        _LONG.pack_into(self._memory, number * SLOT_SIZE + _SOFT_WANTED_AT, version)

    def seen(self, number: int, pid: int) -> None:
        """Process ``pid`` is watched from now on, and may begin. Until it reads this it writes nothing here."""
        _LONG.pack_into(self._memory, number * SLOT_SIZE + _SEEN_AT, pid)

    def want_reconnect(self, number: int, beat: float) -> None:
        """Ask for a new connection, if ``beat`` is still the child's last one."""
        _SPAN.pack_into(self._memory, number * SLOT_SIZE + _RECONNECT_AT, beat)

    def returned(self, number: int, seq: int) -> None:
        """What was not begun of batch ``seq`` has been given back: the child may go on."""
        _LONG.pack_into(self._memory, number * SLOT_SIZE + _RETURNED_AT, seq)


class ChildSlot:
    """One slot as its child writes it: a few hundred nanoseconds a call."""

    __slots__ = ("_at", "_memory", "_since", "_seq", "_size", "last_beat", "version")

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory = memory
        self._at = at
        self._seq = self._size = self.version = 0
        self._since = self.last_beat = 0.0

    def batch(self, seq: int, size: int, now: float) -> None:
        """A batch of ``size`` deliveries was received; nothing of it is begun."""
        self._seq, self._size, self._since = seq, size, now
        self.version += 1
        _RUN.pack_into(self._memory, self._at, self.version, seq, size, -1, now, 0.0, 0.0, 0.0, self.version)

    def begin(self, index: int, now: float, soft: float, hard: float) -> None:
        """The delivery at ``index`` of the batch begins; limits are spans in seconds, 0 for none."""
        self.version += 1
        version = self.version
        _RUN.pack_into(
            self._memory,
            self._at,
            version,
            self._seq,
            self._size,
            index,
            self._since,
            now,
            now + hard if hard else 0.0,
            now + soft if soft else 0.0,
            version,
        )

    def end(self) -> None:
        """Nothing runs: from here on, a death is nobody's fault."""
        _INDEX.pack_into(self._memory, self._at + _INDEX_AT, -1)

    def beat(self, now: float) -> None:
        self.last_beat = now
        _SPAN.pack_into(self._memory, self._at + _BEAT_AT, now)

    def failing(self, since: float) -> None:
        """Exchanges have failed since then; 0: one was answered."""
        _SPAN.pack_into(self._memory, self._at + _FAILING_AT, since)

    def wish(self, wish: Wish) -> None:
        """Ask for a successor. The child goes on until it is told to be quiet, or must end."""
        _INDEX.pack_into(self._memory, self._at + _WISH_AT, wish)

    def soft_is_done(self, version: int) -> None:
        _LONG.pack_into(self._memory, self._at + _SOFT_DONE_AT, version)

    @property
    def command(self) -> int:
        return int(_INDEX.unpack_from(self._memory, self._at + _COMMAND_AT)[0])

    @property
    def seen(self) -> int:
        return int(_LONG.unpack_from(self._memory, self._at + _SEEN_AT)[0])

    @property
    def reconnect_wanted(self) -> float:
        return float(_SPAN.unpack_from(self._memory, self._at + _RECONNECT_AT)[0])

    @property
    def soft_wanted(self) -> int:
        return int(_LONG.unpack_from(self._memory, self._at + _SOFT_WANTED_AT)[0])

    @property
    def returned(self) -> int:
        return int(_LONG.unpack_from(self._memory, self._at + _RETURNED_AT)[0])
