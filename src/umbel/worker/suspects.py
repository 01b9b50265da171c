"""What a dead child was running, and what its death means for that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..broker import Blame, Broker
from ..envelope import Delivery
from .catalog import TaskFacts
from .crew import Killed, Member, Ran, blame_for, found_running, hard_limit_outcome, name_of, over_hard_limit
from .endings import EXIT_OVERDUE
from .roster import Row


class Inquest(NamedTuple):
    """What is known of a death."""

    ran: list[Ran]
    """What it was running, as far as the store still has it."""
    timed_out: list[Ran]
    """Those of them that it was ended for, at their hard limit."""
    blamed: Sequence[Blame] | None
    """See ``Broker.retire``."""


def hold_inquest(broker: Broker, member: Member, tasks: Mapping[str, TaskFacts]) -> Inquest:
    """On the clerk's thread. Nobody changes what a dead member says."""
    if member.rows is not None:
        held = broker.resume(member.holder) if member.rows else []
        return inquest_of_many(member, member.rows, held, tasks)
    busy = member.last is not None and member.last.busy
    ran = found_running(member, broker.resume(member.holder)) if busy else None
    blame = blame_for(member, ran, tasks)
    found = [ran] if ran is not None else []
    return Inquest(found, found if over_hard_limit(member) else [], None if blame is None else [blame])


def inquest_of_many(member: Member, rows: Sequence[Row], held: Sequence[Delivery], tasks: Mapping[str, TaskFacts]) -> Inquest:
    """Of a child that ran ``rows`` beside each other. A death of its own is a crash of one of them, and nobody knows of which;
    when it was ended for some, these are charged, and the others are not."""
    if not rows:
        return Inquest([], [], None)
    by_receipt = {d.receipt: d.envelope for d in held}
    ended_for = member.killed is Killed.HARD or _left_overdue(member, rows)
    ran, timed_out, blamed = list[Ran](), list[Ran](), list[Blame]()
    for row in rows:
        receipt = row.receipt(member.holder)
        envelope = by_receipt.get(receipt)
        one = Ran(envelope, name_of(envelope)) if envelope is not None else None
        if one is not None:
            ran.append(one)
        if ended_for:
            if one is not None and row.overdue(member.ended):
                timed_out.append(one)
                blamed.append(Blame(receipt, hard_limit_outcome(one, tasks)))
        elif member.killed is Killed.NO:
            blamed.append(Blame(receipt))
    return Inquest(ran, timed_out, blamed)


def _left_overdue(member: Member, rows: Sequence[Row]) -> bool:
    """Did it end by itself since all that it still ran was over its hard limit? A task may end it with the same status."""
    late = [row.overdue(member.ended) for row in rows]
    if member.status is None:
        return member.killed is Killed.NO and member.overdue > 0.0 and any(late)
    return os.waitstatus_to_exitcode(member.status) == EXIT_OVERDUE and all(late)
