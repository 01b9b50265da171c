"""What one step of a worker came to."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import UmbelError
from ..facets import State
from ..outcome import Dead, Done, Dropped, Outcome, Replaced, Retry


class SandboxError(UmbelError):
    """A test asked its sandbox for what cannot be; the message says what to do instead."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One message that a stepped worker took: it was run, or dropped (expired, cancelled) instead."""

    id: str
    task: str
    """The task's name."""
    attempt: int
    """1 for the first run; rises with each retry."""
    outcome: Outcome
    """What was settled."""
    value: Any = None
    """What the function returned, as it returned it (kept even where the task keeps no record)."""
    error: BaseException | None = None
    """The very exception that came out of the run; also that of a retry, a snooze or a discard."""

    @property
    def state(self) -> State:
        """As a record would say: ``SUCCESS``, ``RETRY``, ``FAILURE``, ``REVOKED`` (discarded, cancelled), ``EXPIRED``; of one
        that was given back (snoozed, or parked since nobody knows its task) ``SCHEDULED``."""
        match self.outcome:
            case Done() | Replaced():
                return State.SUCCESS
            case Retry():
                return State.RETRY
            case Dead():
                return State.FAILURE
            case Dropped(reason, _):
                return State.EXPIRED if reason == "expired" else State.REVOKED
        return State.SCHEDULED

    @property
    def reason(self) -> str:
        """One word, where there is one: ``failed``, ``expired``, ``discarded``, ``snoozed``, ``unknown_task`` …"""
        return "" if isinstance(self.outcome, Done | Retry | Replaced) else self.outcome.reason

    @property
    def due_in(self) -> float | None:
        """Seconds until it runs again; None if it does not."""
        return None if isinstance(self.outcome, Done | Dead | Dropped | Replaced) else self.outcome.after / 1000
