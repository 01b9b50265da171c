"""Queues of one release: ``emails@2026.11`` holds the calls of ``emails`` that release 2026.11 made for its own workers.

What follows from that, and who wins each race: ``docs/internals/releases.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

from .errors import ArgumentError
from .message import check_name

MARK = "@"
RELEASE_MAX = 50
"""Bytes of a release's name: with the longest name of a queue before it, a store still keeps its length in one byte."""


def check_queue(name: object) -> str:
    """``name`` itself, if a task, a call or a setting may name a queue so. ``ArgumentError`` otherwise: also for the mark that
    a release's queues have, since such a queue would be taken over by others."""
    checked = check_name("queue", name)
    if MARK in checked:
        raise ArgumentError(f"a queue name must not have {MARK!r}, which marks the queues of a release: {checked!a}")
    return checked


def check_release(name: object) -> str:
    """``name`` itself, if it may be a release's. ``ArgumentError`` otherwise."""
    checked = check_name("release", name)
    if MARK in checked:
        raise ArgumentError(f"a release name must not have {MARK!r}: {checked!a}")
    if len(checked.encode()) > RELEASE_MAX:
        raise ArgumentError(f"a release name has at most {RELEASE_MAX} bytes: {checked[:60]!a}")
    return checked


def version_of(queue: str, release: str) -> str:
    """The queue of a release; a queue of some release stays what it is."""
    return queue if MARK in queue else f"{queue}{MARK}{release}"


def base_of(queue: str) -> str:
    """The queue whose calls these are."""
    return queue.partition(MARK)[0]


def consumed(queues: Iterable[str], release: str) -> list[str]:
    """The queues that a worker of ``release`` takes from where it is to serve ``queues``: each one's own version, then
    itself. ``release`` empty: itself."""
    if not release:
        return list(queues)
    return list(dict.fromkeys(name for queue in queues for name in (version_of(queue, release), queue)))
