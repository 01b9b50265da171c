"""What became of one run: six values, and nothing else.

A settle carries one of them. Spans are milliseconds *from the moment of the settle on the store's clock*, so a worker
whose own clock is wrong moves nothing. ``error`` and ``result`` are bytes that brokers store and never read.
"""

from __future__ import annotations

import msgspec

from .envelope import Envelope


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The task succeeded. ``result`` is None where no record is kept."""

    result: bytes | None = None


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """The attempt failed and another follows ``after`` ms from now: ``attempt`` rises by one."""

    after: int
    error: bytes = b""


class Dead(msgspec.Struct, frozen=True, tag="dead"):
    """The last failure: the message becomes a dead letter. ``reason`` is a word of ``DEAD_REASONS``."""

    reason: str
    error: bytes = b""


class Dropped(msgspec.Struct, frozen=True, tag="dropped"):
    """Gone without a run or by the task's own wish; ``reason`` is a word of ``DROPPED_REASONS``."""

    reason: str
    error: bytes = b""


class Released(msgspec.Struct, frozen=True, tag="released"):
    """Given back without using an attempt: in front of its queue when ``after`` is 0, else due ``after`` ms from now.

    ``reason`` is a word of ``RELEASED_REASONS``. ``parked`` marks a message that this release of the code cannot run; the
    store remembers when that was first said (``Envelope.parked``), so that a grace can end.
    """

    after: int = 0
    reason: str = ""
    parked: bool = False


class Node(msgspec.Struct, frozen=True, gc=False):
    """A node of a flow as its client says it: see ``joins``."""

    number: int
    envelope: Envelope | None = None
    """Its message, with ``joins.pack_place`` among its extras; None for a gate."""
    needs: int = 0
    """How many edges lead to it."""
    followers: tuple[tuple[int, int], ...] = ()
    """Ranges of numbers, first and last, of those that wait for it."""
    flags: int = 0
    """Bits of ``joins.NodeFlag``."""
    expires_after: int = 0
    """Ms from the moment it is made ready; 0: as the envelope says."""
    label: str = ""
    """How it is shown."""


class Replaced(msgspec.Struct, frozen=True, tag="replaced"):
    """A member of a flow goes on as other nodes of that flow: they are added in this step, as ``add_nodes`` would (also to a closed
    flow), and the member is a gate from then on that waits for ``needs`` of them and whose kept value is ``value``."""

    needs: int
    value: bytes
    nodes: tuple[Node, ...]


Outcome = Done | Retry | Dead | Dropped | Released | Replaced

# The words that stand for reasons. They are stored and shown, so one that has been used keeps its meaning.

DEAD_REASONS = {
    "failed": "its last attempt failed with an exception",
    "time_limit": "it was killed at its hard limit, and its policy does not retry that (or no retry was left)",
    "poison": "it killed the process that ran it, `crash_limit` times",
    "worker_lost": 'its whole worker was lost, `worker_loss_limit` times, or its process died once and it says `on_worker_lost="dead"`',
    "unknown_task": "no worker that knows its task came within `deploy_grace`",
    "unknown_parameters": "no worker whose task takes these parameters came within `deploy_grace`",
    "bad_arguments": 'its arguments are not what the annotations say, or its parameters do not fit and it says `unknown_kwargs="error"`',
    "unreadable": "bytes that are not a message of umbel's",
}
"""Why a message is a dead letter."""

DROPPED_REASONS = {
    "expired": "its `expires` passed before it began",
    "cancelled": "somebody cancelled it: `AsyncResult.revoke()`, `umbel task cancel`",
    "discarded": "the task itself raised `Discard`",
    "locked": 'its lock was held or waited for, and it says `on_locked="skip"`',
    "purged": "an operator emptied its queue: `umbel queues purge`",
}
"""Why a message is gone without an end of its own. Its record says EXPIRED for the first, REVOKED for the others."""

RELEASED_REASONS = {
    "snoozed": "the task raised `Snooze`",
    "unknown_task": "parked: this release has no such task",
    "unknown_parameters": "parked: this release's task does not take these parameters",
    "unbegun": "handed out and not begun, when the worker became quiet",
    "shutdown": "it ran when the worker's `shutdown_timeout` was over",
    "killed": "its process was ended for another reason than this task",
    "inputs": "the broker did not answer when the values were read that a member of a flow is given",
}
"""Why a message was given back without using an attempt."""
