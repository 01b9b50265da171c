"""What the supervisor must know of the user's tasks, sent to it by the template as data."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..lane import Rule
from ..policy import HardLimitPolicy
from ..ticks import Planned


class TaskFacts(msgspec.Struct, frozen=True):
    """One task, as far as limits and retries are concerned. Seconds; 0 means no limit."""

    soft: float
    hard: float
    on_hard_limit: HardLimitPolicy


class Catalog(msgspec.Struct, frozen=True):
    """The app as data."""

    app: str
    broker: str
    queues: tuple[str, ...]
    """All that its workers take from, those of their release too."""
    tasks: Mapping[str, TaskFacts]
    """By the name that each has now."""
    lease_ttl: float
    heartbeat: float
    shutdown_timeout: float
    record_ttl: float
    dead_letter_bytes: int
    dead_letter_ttl: float
    rules: Mapping[str, Rule] = {}
    """The numbers of its tasks' limits, by rule."""
    aliases: Mapping[str, str] = {}
    """Names that messages may still carry, and those that they mean."""
    release: str = ""
    versioned: bool = False
    """Are these queues of its release's own, to be told to callers?"""
    listens: bool = False
    """Does anybody listen to what happens in supervisors?"""

    schedules: tuple[Planned, ...] = ()
    """Those that the code declares."""
    stamp: str = ""
    """What names this set of them."""
    max_memory_per_child: int | str | None = None
    """The setting, KiB."""

    def facts(self) -> dict[str, TaskFacts]:
        """The tasks by every name that a message may carry."""
        return {**{alias: self.tasks[name] for alias, name in self.aliases.items()}, **self.tasks}
