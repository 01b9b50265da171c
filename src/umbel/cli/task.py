"""``umbel task``: show one task and say why it is not running; cancel it."""

from __future__ import annotations

from typing import Any

import click

from ..broker import Broker
from ..errors import NotSupported, ResultUnreadable
from ..facets import Cancelled, Inspects, Listed, Record, Remembers, require
from ..failure import Failure, decode_failure, decode_result
from ..message import Body
from .exits import NO, Refused
from .page import Pages
from .roster import Roster
from .summary import Discretion, Summary, body_of, summary
from .target import Target, storable, target_options
from .terminal import counted, facts, moment, pasted, say, say_json, shown
from .why import why


@click.group(
    cls=Pages,
    exits=(0, 1, 2, 3, 69),
    no_args_is_help=False,
    examples="""
        umbel task show ID
        umbel task cancel ID
    """,
)
@target_options
def task() -> None:
    """One task: where it stands, why it is not running; cancel it."""


@task.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel task show 01a20ad0-0f39-73a4-9947-ab8671189a37
        umbel task show ID --json | jq .why
    """,
)
@target_options
@click.argument("id", type=storable)
@click.pass_obj
def show(target: Target, /, id: str) -> None:
    """Where a task stands, and why it is not running: a paused queue, no worker that serves it or knows it, not due yet …

    Values of arguments that the setting redact names are not shown.
    """
    with target.opened() as broker:
        if not isinstance(broker, Inspects | Remembers):
            raise NotSupported(f"the {broker.capabilities.name} broker of this version cannot find single tasks; try umbel status")
        found, record = _find(broker, id)
        now = broker.ping()
        said = why(broker, found, record, Roster.of(broker, now), now)
    discretion = target.discretion()
    one = summary(found, discretion) if found else None
    failure = _failure(record, discretion, body_of(found.envelope)[1] if found else None)
    if target.as_json:
        kept = _record_json(record, failure, discretion) if record else None
        say_json({"id": id, "known": bool(found or record), "why": said, "message": one, "record": kept})
    else:
        if one is not None:
            show_summary(one, trace=False)
        else:
            facts([("id", id)])
        if record is not None:
            _print_record(record, failure, discretion)
        say()
        for line in said:
            say(f"→ {shown(line)}")
    if not found and not record:
        raise click.exceptions.Exit(NO)


@task.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel task cancel ID
        umbel task cancel ID --terminate     # end it though it runs
    """,
)
@target_options
@click.argument("id", type=storable)
@click.option("--terminate", is_flag=True, help="Also end it if it runs.")
@click.pass_obj
def cancel(target: Target, /, id: str, terminate: bool) -> None:
    """Let a task not run (again). What runs goes on, unless --terminate says otherwise."""
    with target.opened() as broker:
        found = require(broker, Inspects).cancel(id, terminate)
    if target.as_json:
        say_json({"id": id, "found": found})
    elif found == Cancelled.WAITING:
        say(f"{shown(id)}: cancelled; it waited, and will not run")
    elif found == Cancelled.RUNNING:
        say(f"{shown(id)}: it runs; " + ("its worker is told to end it" if terminate else "it may finish, and will not be tried again"))
    if found == Cancelled.UNKNOWN:
        raise Refused(f"no waiting or running task {id!r} in this store (finished already? umbel task show {pasted(id)})")


def _find(broker: Broker, id: str) -> tuple[Listed | None, Record | None]:
    record = broker.record(id) if isinstance(broker, Remembers) else None
    found = broker.find(id) if isinstance(broker, Inspects) else None
    return found, record


def _failure(record: Record | None, discretion: Discretion, body: Body | None) -> Failure | None:
    """The record's error. Where the message is gone, what a worker did not hide when it was written is not known any more."""
    return discretion.failure(decode_failure(record.error), body) if record and record.error else None


def show_summary(one: Summary, trace: bool = True) -> None:
    """All that is known of a message, and the trace of its error."""
    facts(
        [
            ("id", one.id or "(unreadable)"),
            ("task", one.task),
            ("call", one.call()),
            ("queue", f"{one.queue}, priority {one.priority}"),
            ("place", one.place),
            ("attempt", f"{one.attempt}, handed out {counted(one.delivery, 'time')}" + _losses(one)),
            ("enqueued", one.enqueued),
            ("due", one.due),
            ("expires", one.expires),
            ("parked", one.parked),
            ("worker", one.worker),
            ("died", one.died),
            ("reason", one.reason),
            ("error", f"{one.error.type}: {one.error.message}" if one.error else ""),
            ("at", one.error.at if one.error else ""),
        ]
    )
    if trace and one.error and one.error.traceback:
        say()
        for line in one.error.traceback.rstrip().split("\n"):
            say(f"  {shown(line)}")


def _losses(one: Summary) -> str:
    said = f", {counted(one.crashes, 'crash')}" if one.crashes else ""
    return said + (f", lost with its worker {counted(one.losses, 'time')}" if one.losses else "")


def _print_record(record: Record, failure: Failure | None, discretion: Discretion) -> None:
    facts(
        [
            ("state", f"{record.state}, attempt {record.attempt}"),
            ("started", moment(record.started) if record.started else ""),
            ("finished", moment(record.finished) if record.finished else ""),
            ("progress", discretion.json(record.progress)),
            ("result", discretion.json(record.result or b"")),
            ("failure", f"{failure.type}: {failure.message}" if failure else ""),
        ]
    )


def _record_json(record: Record, failure: Failure | None, discretion: Discretion) -> dict[str, Any]:
    try:
        result = discretion.redaction.value(decode_result(record.result))
    except ResultUnreadable as exc:
        result = f"({exc})"
    return {
        "state": record.state,
        "queue": record.queue,
        "attempt": record.attempt,
        "progress": discretion.json(record.progress),
        "result": result,
        "error": failure,
        "reason": record.reason,
        "enqueued": record.enqueued,
        "started": record.started,
        "finished": record.finished,
    }
