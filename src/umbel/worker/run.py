"""One run of many that go on at once in a process."""

from __future__ import annotations

import threading
from typing import Protocol

from ..errors import SoftTimeLimitExceeded, TaskInterrupted
from ..outcome import Outcome
from .executor import Executor, Guard, Prepared


class Strike(Protocol):
    """How what runs is interrupted."""

    def strike(self, kind: type[SoftTimeLimitExceeded]) -> bool:
        """Raise ``kind`` in this run, once, and never in another one. False if it cannot be raised now."""
        ...


class Run:
    """From the moment its permit was taken until its outcome is handed over."""

    __slots__ = ("_striking", "aim", "began", "hard", "key", "name", "prepared", "row", "soft", "struck")

    def __init__(self, prepared: Prepared, key: int, row: int, began: float, soft: float, hard: float) -> None:
        """``soft`` and ``hard``: when these limits are over (monotonic), 0 for never."""
        self.prepared = prepared
        self.key = key
        self.row = row
        self.began = began
        self.soft = soft
        self.hard = hard
        self.name = prepared.task.name
        self.aim: Strike | None = None
        """Set by the pool once there is something to interrupt."""
        self.struck: type[SoftTimeLimitExceeded] | None = None
        self._striking = threading.Lock()

    def strike(self, kind: type[SoftTimeLimitExceeded]) -> bool:
        """Interrupt it, if it was not interrupted before. False if that is to be tried again."""
        with self._striking:
            if self.struck is not None:
                return True
            if self.aim is None or not self.aim.strike(kind):
                return False
            self.struck = kind
            return True

    def was_told(self) -> bool:
        """Was its soft limit raised in it? For whoever ends it: a strike may end it before ``strike`` has returned."""
        with self._striking:
            return self.struck is not None and not issubclass(self.struck, TaskInterrupted)


class Host(Protocol):
    """What a pool tells of its runs, and asks for. Called on the threads where they run."""

    def executor(self, guard: Guard) -> Executor:
        """What runs tasks, in ``guard``."""
        ...

    def began(self, run: Run) -> None:
        """It is about to."""
        ...

    def ended(self, run: Run, outcome: Outcome) -> None:
        """From now on it may be settled."""
        ...

    def broken(self, exc: BaseException) -> None:
        """Our own code failed, or no memory is left: this process must end."""
        ...
