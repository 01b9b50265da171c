"""Settings and tasks that are allowed and seldom meant, for ``umbel doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..checkup import Finding, Grade
from ..settings import Settings
from .roster import Roster
from .terminal import counted, pasted

if TYPE_CHECKING:
    from ..app import Umbel

_NAMED = 5
_LEASE_LONG, _HEARTBEAT_SHORT, _PATIENCE, _GRACE_SHORT = 120, 1, 28, 300
"""Seconds: a lost worker's tasks stand still longer than anybody expects; the store is asked all the time; orchestrators
kill after 30; a deploy takes longer than that."""


def settings_findings(s: Settings) -> list[Finding]:
    """One for each setting that is suspicious; a good one if none is."""
    found = [Finding("settings", Grade.WARN, said, means, remedy) for wrong, said, means, remedy in _rules(s) if wrong]
    return found or [Finding("settings", Grade.OK, "none is suspicious")]


def _rules(s: Settings) -> Iterator[tuple[bool, str, str, str]]:
    yield (
        s.time_limit is None,
        "time_limit is none",
        "a task that hangs takes a child until somebody kills it",
        "set it, and give the few long tasks a limit of their own",
    )
    yield (
        s.soft_time_limit is None and s.time_limit is not None,
        "soft_time_limit is none",
        "a task over its limit is killed without a chance to clean up",
        "set it somewhat below time_limit",
    )
    yield (
        s.lease_ttl > _LEASE_LONG,
        f"lease_ttl is {s.lease_ttl:g} s",
        "what a lost worker held stands still for so long before others take it",
        "20 s suits most; a long task needs no long lease, since it is renewed",
    )
    yield (
        s.heartbeat < _HEARTBEAT_SHORT,
        f"heartbeat is {s.heartbeat:g} s",
        "each worker writes to the store so often, and a slow moment of it costs the lease sooner",
        "5 s suits most, with lease_ttl four times as long",
    )
    yield (
        s.shutdown_timeout > _PATIENCE,
        f"shutdown_timeout is {s.shutdown_timeout:g} s",
        "orchestrators kill after 30 s unless told otherwise: what runs then is lost for lease_ttl, and charged a loss",
        "tell the orchestrator 5 s more than that (terminationGracePeriodSeconds, TimeoutStopSec)",
    )
    yield (
        s.crash_limit == 0,
        "crash_limit is 0 (no limit)",
        "a task that kills its process runs again for ever",
        "3 suits most; on_worker_lost='dead' for tasks that must not run twice",
    )
    yield (
        s.deploy_grace < _GRACE_SHORT,
        f"deploy_grace is {s.deploy_grace:g} s",
        "calls of a newer release become dead letters before its workers have started",
        "a day suits most",
    )
    yield (
        s.dead_letter_bytes == 0,
        "dead_letter_bytes is 0",
        "a call that failed for good is gone with its error",
        "256 MiB suits most",
    )


def task_findings(app: Umbel) -> list[Finding]:
    """Tasks that may run for ever."""
    s = app.settings
    if s.time_limit is None or not app.tasks:
        return []  # said of the setting already
    endless = sorted(name for name, task in app.tasks.items() if not task.limits(s)[1])
    if not endless:
        return [Finding("limits", Grade.OK, f"each of {counted(len(app.tasks), 'task')} has a time limit")]
    more = f" and {len(endless) - _NAMED} more" if len(endless) > _NAMED else ""
    means = "one that hangs takes a child until somebody kills it"
    return [Finding("limits", Grade.WARN, f"without a time limit: {', '.join(endless[:_NAMED])}{more}", means, "say time_limit= on them")]


def queue_findings(app: Umbel, roster: Roster) -> list[Finding]:
    """Queues that tasks declare and nobody serves; nothing where the store does not tell its workers."""
    if roster.seen is None:
        return []
    declared = app.queues()
    if not roster.alive():
        return [Finding("queues", Grade.WARN, "no worker is running", f"nobody serves {', '.join(declared)}", "umbel worker")]
    alone = [queue for queue in declared if not roster.serving(queue) and any(t.options.queue == queue for t in app.tasks.values())]
    if not alone:
        return [Finding("queues", Grade.OK, f"each queue that a task names is served ({', '.join(roster.served())})")]
    means = "calls that go there wait until somebody does"
    remedy = f"umbel worker -Q {pasted(','.join(alone))}, or a worker without -Q, which serves all"
    return [Finding("queues", Grade.WARN, f"declared by tasks, and served by no worker: {', '.join(alone)}", means, remedy)]
