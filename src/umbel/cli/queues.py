"""``umbel queues``: list, peek, purge, pause, resume; lanes, which stand in a file of their own."""

from __future__ import annotations

from difflib import get_close_matches

import click

from ..broker import Broker
from ..errors import ArgumentError, ConfigError
from ..facets import Inspects, Listed, Place, Serves, require
from ..message import check_name
from ..release import base_of
from .completing import queue_names
from .consent import agree
from .exits import Refused
from .lanes import lanes
from .page import Pages
from .progress import pieces
from .roster import Roster
from .status import queue_json, queue_table
from .summary import Summary, summary
from .target import Target, storable, target_options
from .terminal import age, counted, note, say, say_json, shown, table


@click.group(
    cls=Pages,
    exits=(0, 1, 2, 3, 69),
    invoke_without_command=True,
    examples="""
        umbel queues
        umbel queues peek emails
        umbel queues pause emails
        umbel queues lanes
    """,
)
@target_options
@click.pass_context
def queues(context: click.Context) -> None:
    """List, peek into, purge, pause and resume queues; show lanes. Alone: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


queues.add_command(lanes)


@queues.command(
    "list",
    examples="""
        umbel queues list
        umbel queues list --json | jq '.[] | select(.ready > 1000) | .queue'
    """,
)
@target_options
@click.pass_obj
def list_(target: Target, /) -> None:
    """Every queue: what is ready, scheduled, running, dead, and who serves it."""
    with target.opened() as broker:
        found = broker.stats()
        roster = Roster.of(broker, broker.ping())
    if target.as_json:
        say_json([queue_json(one, roster) for one in found])
    else:
        queue_table(found, roster)


@queues.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel queues peek emails
        umbel queues peek emails --scheduled -n 50
        umbel queues peek emails --running
    """,
)
@target_options
@click.argument("queue", type=storable, shell_complete=queue_names)
@click.option("-n", "--limit", default=10, type=click.IntRange(1, 1000), metavar="N", help="Messages to show.  [default: 10]")
@click.option("--scheduled", "place", flag_value="scheduled", help="Those that are not due yet.")
@click.option("--running", "place", flag_value="leased", help="Those in the hands of workers.")
@click.pass_obj
def peek(target: Target, /, queue: str, limit: int, place: str | None) -> None:
    """The next messages of a queue, in the order in which they will run. Nothing is taken.

    Values of arguments that the setting redact names are not shown.
    """
    at = Place(place or "ready")
    with target.opened() as broker:
        now, page = broker.ping(), require(broker, Inspects).browse(queue, at, limit)
        if not page.messages:
            _check_there(broker, [queue])
    discretion = target.discretion()
    found = [summary(one, discretion) for one in page.messages]
    if target.as_json:
        say_json(found)
        return
    if not found:
        say(f"nothing is {at} in {shown(queue)}")
        return
    _peek_table(found, page.messages, at, now)
    if page.cursor is not None:
        note(f"there are more; -n {limit * 10} shows more")


def _peek_table(found: list[Summary], listed: list[Listed], at: Place, now: int) -> None:
    third = {Place.SCHEDULED: "DUE IN", Place.LEASED: "WORKER"}.get(at, "WAITS")
    rows = []
    for said, one in zip(found, listed, strict=True):
        waits = now - one.envelope.enqueued if one.envelope.enqueued else None
        when = {Place.SCHEDULED: age((one.due or now) - now), Place.LEASED: said.worker}.get(at, age(waits))
        rows.append((said.id or "(unreadable)", said.attempt, when, said.task))
    table(("ID", "TRY", third, "TASK"), rows, give=3, right=(1,), under=["" if one.call() == "()" else one.call() for one in found])


@queues.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel queues purge emails
        umbel queues purge emails reports --yes
    """,
)
@target_options
@click.argument("names", metavar="QUEUE...", nargs=-1, type=storable, shell_complete=queue_names, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def purge(target: Target, /, names: tuple[str, ...], yes: bool) -> None:
    """Remove all that waits in queues, ready or scheduled, for good. What runs goes on; dead letters stay. It asks before it does."""
    with target.opened() as broker:
        _check_there(broker, names)
        waiting = {one.queue: one.ready + one.scheduled for one in broker.stats()}
        total = sum(waiting.get(name, 0) for name in names)
        agree(f"Remove {counted(total, 'waiting message')} of {', '.join(map(shown, names))} for good?", yes)
        removed = {}
        for piece in pieces(list(dict.fromkeys(names)), "purging", 1):
            removed[piece[0]] = broker.purge(piece[0])
    if target.as_json:
        say_json({"purged": removed})
    else:
        for name, count in removed.items():
            say(f"{shown(name)}: {counted(count, 'message')} removed")


@queues.command(
    examples="""
        umbel queues pause emails
        umbel queues pause emails reports
    """,
)
@target_options
@click.argument("names", metavar="QUEUE...", nargs=-1, type=storable, shell_complete=queue_names, required=True)
@click.pass_obj
def pause(target: Target, /, names: tuple[str, ...]) -> None:
    """Let nothing more be taken from queues; calls are still accepted, and what runs goes on. A pause stays over restarts."""
    _steer(target, names, pausing=True)


@queues.command(
    examples="""
        umbel queues resume emails
    """,
)
@target_options
@click.argument("names", metavar="QUEUE...", nargs=-1, type=storable, shell_complete=queue_names, required=True)
@click.pass_obj
def resume(target: Target, /, names: tuple[str, ...]) -> None:
    """End a pause: what waits is taken again."""
    _steer(target, names, pausing=False)


def _steer(target: Target, names: tuple[str, ...], pausing: bool) -> None:
    for name in names:
        _check_spelling(name)
    with target.opened() as broker:
        inspects = require(broker, Inspects)
        before = {one.queue: one for one in broker.stats()}
        names = _with_versions(names, broker, list(before))
        for name in names:
            (inspects.pause_queue if pausing else inspects.resume_queue)(name)
    if target.as_json:
        say_json({"paused" if pausing else "resumed": list(names)})
        return
    for name in names:
        was = before.get(name)
        same = "already " if was is not None and was.paused == pausing else ""
        running = (
            f"; {counted(was.leased, 'task')} of it still {'runs' if was.leased == 1 else 'run'}" if pausing and was and was.leased else ""
        )
        say(f"{shown(name)}: {same}{'paused' if pausing else 'not paused' if same else 'resumed'}{running}")
        if was is None:
            note(f"queue {name!r} has no messages{_near(name, list(before))}")


def _with_versions(names: tuple[str, ...], broker: Broker, known: list[str]) -> tuple[str, ...]:
    """Queues, each with those of single releases that hold its calls."""
    known = known + [one.queue for one in broker.served()] if isinstance(broker, Serves) else known
    versions = {name: sorted({one for one in known if one != name and base_of(one) == name}) for name in names}
    return tuple(dict.fromkeys(one for name in names for one in (name, *versions[name])))


def _check_spelling(name: str) -> None:
    try:
        check_name("queue", name)
    except ArgumentError as exc:
        raise ConfigError(str(exc)) from exc


def _check_there(broker: Broker, names: tuple[str, ...] | list[str]) -> None:
    known = [one.queue for one in broker.stats()]
    for name in names:
        if name not in known:
            raise Refused(f"there is no queue {name!r}{_near(name, known)}")


def _near(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f" (there are: {', '.join(known[:10])})" if known else " (there are none)"
