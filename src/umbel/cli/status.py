"""``umbel status``: queues, workers, and what is wrong, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..broker import QueueStats
from ..facets import Limits, Ruled
from .page import Page
from .roster import Roster, Seen
from .target import Target, target_options, where
from .terminal import age, counted, note, pasted, say, say_json, shown, table
from .why import nobody_serves


@click.command(
    cls=Page,
    examples="""
        umbel status
        umbel status --json | jq .wrong       # empty where nothing is wrong
        watch umbel status
    """,
)
@target_options
@click.pass_obj
def status(target: Target, /) -> None:
    """Queues, workers, and why tasks wait, on one screen.

    OLDEST is for how long the first message that is ready has waited; a line with ! is something to look after. It ends
    with 0 whatever it finds: scripts ask for --json, and look at "wrong".
    """
    with target.opened() as broker:
        now, queues = broker.ping(), broker.stats()
        roster = Roster.of(broker, now)
        stopped = held(broker.rules()) if isinstance(broker, Limits) else []
    wrong = complaints(queues, roster) + stopped
    if target.as_json:
        say_json(_as_json(target, now, queues, roster, wrong))
        return
    say(f"{shown(target.settings().name)} on {shown(where(target.settings()))}")
    say()
    queue_table(queues, roster)
    say()
    _worker_table(roster, now)
    if roster.seen is None:
        note(f"the {broker.capabilities.name} broker of this version does not tell its workers, so none are shown")
    for line in wrong:
        say(f"\n! {shown(line)}" if line is wrong[0] else f"! {shown(line)}")
    if not wrong:
        say("\nNothing waits in vain.")


def held(rules: Mapping[str, Ruled]) -> list[str]:
    """Tasks that an operator lets not begin at all: easily forgotten, since nothing fails."""
    found = []
    for name, ruled in rules.items():
        kind, _, task = name.partition(":")
        per_key = " --per-key" if kind == "key" else ""
        for command, number in (("rate-limit", ruled.override.count), ("concurrency", ruled.override.concurrency)):
            if number == 0 and kind in ("task", "key"):
                found.append(f"the task {task!r} is held at 0 by umbel control: umbel control {command} {pasted(task)} --clear{per_key}")
    return found


def complaints(queues: list[QueueStats], roster: Roster) -> list[str]:
    """What an operator must hear of, the worst first."""
    said = []
    idle = [one for one in queues if one.ready + one.scheduled]
    if idle and roster.seen is not None and not roster.alive():
        total = sum(one.ready + one.scheduled for one in idle)
        said.append(f"no worker is running, and {counted(total, 'message')} in {', '.join(one.queue for one in idle)}: umbel worker")
    for one in queues:
        waiting = one.ready + one.scheduled
        if one.paused:
            said.append(f"queue {one.queue!r} is paused ({counted(waiting, 'message')} in it): umbel queues resume {pasted(one.queue)}")
        if waiting and roster.alive() and not roster.serving(one.queue):
            said.append(f"{nobody_serves(one.queue, roster)} ({counted(waiting, 'message')} in it)")
    said += [
        f"worker {seen.worker} is gone (its lease ended {age(-seen.left)} ago); any other worker gives back what it held"
        for seen in roster.seen or ()
        if not seen.alive
    ]
    dead = sum(one.dead for one in queues)
    if dead:
        said.append(f"{counted(dead, 'dead letter')}: umbel dead list")
    return said


def queue_table(queues: list[QueueStats], roster: Roster) -> None:
    """One line a queue."""
    if not queues:
        say("no queues yet: nothing waits, and nothing is dead")
        return
    table(
        ("QUEUE", "READY", "SCHEDULED", "RUNNING", "DEAD", "OLDEST", "WORKERS", ""),
        [
            (q.queue, q.ready, q.scheduled, q.leased, q.dead, age(q.oldest), _served(q.queue, roster), "paused" if q.paused else "")
            for q in queues
        ],
        give=0,
        right=(1, 2, 3, 4, 5, 6),
    )


def _served(queue: str, roster: Roster) -> object:
    return "?" if roster.seen is None else len(roster.serving(queue))


def _worker_table(roster: Roster, now: int) -> None:
    if roster.seen is None:
        return
    if not roster.seen:
        say("no workers")
        return
    rows = []
    for seen in roster.seen:
        about = seen.about
        up = age(now - about.started) if about.started else "-"
        state = "up " + up if seen.alive else "gone"
        rows.append((seen.worker, about.host or "-", about.pid or "-", about.concurrency or "-", state))
    serves = [_serves(seen) for seen in roster.seen]
    table(("WORKER", "HOST", "PID", "CHILDREN", "STATE"), rows, give=0, right=(2, 3), under=serves)


def _serves(seen: Seen) -> str:
    release = f"release {seen.about.release}, " if seen.about.release else ""
    return f"{release}serves {', '.join(seen.about.queues) or 'nothing that it tells'}"


def _as_json(target: Target, now: int, queues: list[QueueStats], roster: Roster, wrong: list[str]) -> dict[str, Any]:
    return {
        "app": target.settings().name,
        "broker": where(target.settings()),
        "now": now,
        "queues": [queue_json(one, roster) for one in queues],
        "workers": None if roster.seen is None else roster.seen,
        "wrong": wrong,
    }


def queue_json(one: QueueStats, roster: Roster) -> dict[str, Any]:
    """A queue for machines. ``oldest`` in ms; ``workers`` None where the broker cannot say."""
    return {
        "queue": one.queue,
        "ready": one.ready,
        "scheduled": one.scheduled,
        "leased": one.leased,
        "dead": one.dead,
        "oldest": one.oldest,
        "paused": one.paused,
        "workers": None if roster.seen is None else [seen.worker for seen in roster.serving(one.queue)],
    }
