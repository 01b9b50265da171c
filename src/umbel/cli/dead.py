"""``umbel dead``: list, show, retry, delete dead letters."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ..broker import Broker
from ..errors import ConfigError
from ..facets import Inspects, Listed, Place, require
from .completing import queue_names, task_names
from .consent import agree
from .exits import Refused
from .page import Pages
from .progress import PIECE, pieces
from .summary import summary, task_of
from .target import Target, storable, target_options
from .task import show_summary
from .terminal import age, counted, note, pasted, say, say_json, table


@click.group(
    cls=Pages,
    exits=(0, 1, 2, 3, 69),
    invoke_without_command=True,
    examples="""
        umbel dead
        umbel dead list --task tasks.sync -n 100
        umbel dead show ID
        umbel dead retry --reason time_limit
    """,
)
@target_options
@click.pass_context
def dead(context: click.Context) -> None:
    """List, show, retry and delete dead letters: messages kept after their last failure. Alone: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


def _choosing(command: click.decorators.FC) -> click.decorators.FC:
    command = click.option("--reason", metavar="WORD", help="Only with this reason, such as failed, poison, time_limit.")(command)
    command = click.option("--task", metavar="NAME", shell_complete=task_names, help="Only of this task.")(command)
    return click.option("-q", "--queue", metavar="NAME", type=storable, shell_complete=queue_names, help="Only of this queue.")(command)


@dead.command(
    "list",
    examples="""
        umbel dead list
        umbel dead list --queue emails --reason poison
        umbel dead list -n 1000 --json
    """,
)
@target_options
@_choosing
@click.option("-n", "--limit", default=20, type=click.IntRange(1, 100_000), metavar="N", help="Letters to show.  [default: 20]")
@click.pass_obj
def list_(target: Target, /, queue: str | None, task: str | None, reason: str | None, limit: int) -> None:
    """Dead letters, the newest first."""
    found: list[Listed] = []
    more = False
    with target.opened() as broker:
        now = broker.ping()
        for one in _letters(broker, queue, task, reason):
            if len(found) == limit:
                more = True
                break
            found.append(one)
    discretion = target.discretion()
    rows = [summary(one, discretion) for one in found]
    if target.as_json:
        say_json(rows)
        return
    if not rows:
        say("no dead letters")
        return
    table(
        ("ID", "DIED", "TASK"),
        [(row.id or "(unreadable)", f"{age(now - (one.died or now))} ago", row.task) for row, one in zip(rows, found, strict=True)],
        give=2,
        under=[row.words() for row in rows],
    )
    if more:
        note(f"there are more; -n {limit * 10} shows more")


@dead.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel dead show 01a20ad0-0f39-73a4-9947-ab8671189a37
        umbel dead show ID --json
    """,
)
@target_options
@click.argument("id", type=storable)
@click.pass_obj
def show(target: Target, /, id: str) -> None:
    """One dead letter: its call, its error, its trace. Values of arguments that the setting redact names are not shown."""
    with target.opened() as broker:
        found = require(broker, Inspects).find(id)
    if found is None or found.place != Place.DEAD:
        place = f"; it is {found.place} (umbel task show {pasted(id)})" if found else ""
        raise Refused(f"there is no dead letter {id!r}{place}")
    one = summary(found, target.discretion())
    if target.as_json:
        say_json(one)
        return
    show_summary(one)
    say(f"\nTo run it again: umbel dead retry {pasted(one.id)}")


@dead.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel dead retry ID ID
        umbel dead retry --task tasks.sync --reason failed
        umbel dead retry --all --yes
    """,
)
@target_options
@click.argument("ids", metavar="[ID]...", nargs=-1, type=storable)
@_choosing
@click.option("--all", "every", is_flag=True, help="All, or all that the options above choose.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def retry(target: Target, /, ids: tuple[str, ...], queue: str | None, task: str | None, reason: str | None, every: bool, yes: bool) -> None:
    """Run dead letters again, all their counters begun anew: those with the given IDs, or those that the options choose.

    Which ones is asked once, and read first: one that dies again meanwhile is not met twice. Without ids it asks before it does.
    """
    with target.opened() as broker:
        chosen, unreadable = _chosen(broker, ids, queue, task, reason, every)
        if not ids and chosen:
            agree(f"Run {counted(len(chosen), 'dead letter')} again?", yes)
        inspects = require(broker, Inspects)
        done = sum(inspects.redrive(piece) for piece in pieces(chosen, "redriving"))
    _report(target, "redriven", done, len(chosen) - done, unreadable)


@dead.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel dead delete ID
        umbel dead delete --queue emails --reason failed --yes
    """,
)
@target_options
@click.argument("ids", metavar="[ID]...", nargs=-1, type=storable)
@_choosing
@click.option("--all", "every", is_flag=True, help="All, or all that the options above choose.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(
    target: Target, /, ids: tuple[str, ...], queue: str | None, task: str | None, reason: str | None, every: bool, yes: bool
) -> None:
    """Delete dead letters for good: those with the given IDs, or those that the options choose. It asks before it does."""
    with target.opened() as broker:
        chosen, unreadable = _chosen(broker, ids, queue, task, reason, every)
        if chosen:
            agree(f"Delete {counted(len(chosen), 'dead letter')} for good?", yes)
        inspects = require(broker, Inspects)
        done = sum(inspects.forget_dead(piece) for piece in pieces(chosen, "deleting"))
    _report(target, "deleted", done, len(chosen) - done, unreadable)


def _chosen(
    broker: Broker, ids: tuple[str, ...], queue: str | None, task: str | None, reason: str | None, every: bool
) -> tuple[list[str], int]:
    """The ids that are meant, and how many unreadable letters, which have none, were passed over.

    They are all read first: a letter that dies again meanwhile must not be met twice.
    """
    narrowed = bool(queue or task or reason)
    if ids and (every or narrowed):
        raise ConfigError("give ids, or --all with --queue, --task and --reason; not both")
    if not ids and not every and not narrowed:
        raise ConfigError("which dead letters? Give ids, or --all, or choose by --queue, --task, --reason")
    if ids:
        return list(dict.fromkeys(ids)), 0
    found, unreadable = [], 0
    for one in _letters(broker, queue, task, reason):
        if one.envelope.id:
            found.append(one.envelope.id)
        else:
            unreadable += 1
    return found, unreadable


def _letters(broker: Broker, queue: str | None, task: str | None, reason: str | None) -> Iterator[Listed]:
    inspects, cursor = require(broker, Inspects), None
    while True:
        page = inspects.browse(queue, Place.DEAD, PIECE, cursor)
        for one in page.messages:
            if reason in (None, one.reason) and task in (None, task_of(one.envelope)):
                yield one
        cursor = page.cursor
        if cursor is None:
            return


def _report(target: Target, did: str, done: int, missing: int, unreadable: int) -> None:
    if target.as_json:
        say_json({did: done, "missing": missing, "unreadable": unreadable})
    else:
        say(f"{counted(done, 'dead letter')} {did}")
    if unreadable:
        note(f"{counted(unreadable, 'unreadable letter')} left: without an id they end by dead_letter_ttl only")
    if missing:
        raise Refused(f"{counted(missing, 'id')} of those given {'is' if missing == 1 else 'are'} no dead letter (any more)")
