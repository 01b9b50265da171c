"""What memory each child may have, by the setting ``max_memory_per_child`` and by what there is."""

from __future__ import annotations

from typing import NamedTuple

from .memory import MIB, Surroundings, shown

SHARE = 0.8
"""Of the memory that there is, for all children together: the rest is for the supervisor, the template, the system's caches."""
ROOM = 16 * MIB
"""What a child needs at the least beyond what it is born with: it builds up some 6 MiB before its first task."""


class Allowance(NamedTuple):
    """Bytes for each child; 0: no limit."""

    limit: int
    refused: str = ""
    """Why what was asked for cannot be."""
    warning: str = ""
    """Why there is no limit, though there should be one."""


def allowance(asked: int | str | None, children: int, baseline: int | None, around: Surroundings) -> Allowance:
    """``asked``: the setting (KiB). ``baseline``: bytes that a child is born with, which is what its template has; None where
    the system does not tell."""
    if asked is None:
        return Allowance(0)
    if baseline is None:
        return Allowance(
            0, refused="" if asked == "auto" else "max_memory_per_child: this system has no /proc, so children cannot be weighed"
        )
    there_is = around.limit()
    if isinstance(asked, str):
        return _automatic(there_is, children, baseline)
    limit = asked * 1024
    least = baseline + ROOM
    said = f"max_memory_per_child = {asked} KiB ({shown(limit)})"
    if limit < least:
        why = f"a child is born with {shown(baseline)}, your modules imported, and needs {shown(ROOM)} more to work at all"
        return Allowance(0, f"{said}: {why}; say {shown(least).replace(' ', '')} or more. A number without a unit is KiB, as in Celery")
    if there_is and limit > there_is:
        return Allowance(0, f"{said}: there are only {shown(there_is)} for all processes. A number without a unit is KiB, as in Celery")
    return Allowance(limit)


def _automatic(there_is: int, children: int, baseline: int) -> Allowance:
    limit = int(there_is * SHARE / children)
    if not there_is or limit >= baseline + ROOM:
        return Allowance(limit)
    return Allowance(
        0,
        warning=f"children have no limit of memory: {children} of them share {shown(there_is * SHARE)}, and each is born with "
        f"{shown(baseline)}; start fewer (-c), or give them room",
    )
