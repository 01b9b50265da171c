"""``umbel schedule``: list, show, add, pause, resume, run, remove."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..clock import to_datetime
from ..errors import ConfigError
from ..facets import require
from ..redaction import decoded
from ..ticks import Entry, Origin, Ticks, Timetable
from ..timetable import Definition, definition_of
from .call import called
from .completing import queue_names, task_names
from .exits import Refused
from .page import Pages
from .roster import Roster
from .target import Target, storable, target_options
from .terminal import age, facts, moment, note, say, say_json, shown, table

if TYPE_CHECKING:
    from ..schedule import When
    from .summary import Discretion

_NEXT = 5


@click.group(
    cls=Pages,
    exits=(0, 1, 2, 3, 69),
    invoke_without_command=True,
    examples="""
        umbel schedule
        umbel schedule show nightly
        umbel schedule pause nightly
    """,
)
@target_options
@click.pass_context
def schedule(context: click.Context) -> None:
    """What runs by itself, and when: list, show, add, pause, resume, run now, remove. Alone: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@schedule.command(
    "list",
    examples="""
        umbel schedule list
        umbel schedule list --json | jq '.[] | select(.paused) | .name'
    """,
)
@target_options
@click.pass_obj
def list_(target: Target, /) -> None:
    """Every schedule that the broker keeps, the next to fire first."""
    with target.opened() as broker:
        found = require(broker, Ticks).timetable()
        roster = Roster.of(broker, found.now)
    if target.as_json:
        discretion = target.discretion()
        say_json([_json(entry, found.now, discretion) for entry in found.entries])
        return
    if not found.entries:
        say("there are no schedules")
        return
    rows = sorted((_row(entry, found.now) for entry in found.entries), key=lambda row: (row[0], row[1]))
    table(("NAME", "NEXT", "IN", "LAST", "WHEN"), [row[1:] for row in rows], give=4)
    if roster.seen is not None and not roster.alive():
        note("no worker lives: nothing fires until one starts")


def _row(entry: Entry, now: int) -> tuple[float, str, str, str, str, str]:
    definition = definition_of(entry.definition)
    ticks = _ticks(entry, definition, now, 1)
    when = definition.when.text() if definition else "(of a newer release of umbel)"
    last = f"{age(now - entry.last_fired)} ago" if entry.last_fired else "never"
    if not ticks or definition is None:
        return float("inf"), entry.name, "paused" if entry.paused else "-", "-", last, when
    at = to_datetime(ticks[0]).astimezone(definition.when.zone)
    return ticks[0], entry.name, at.strftime("%Y-%m-%d %H:%M:%S%z"), age(ticks[0] - now), last, when


@schedule.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel schedule show nightly
        umbel schedule show nightly --json
    """,
)
@target_options
@click.argument("name", type=storable)
@click.pass_obj
def show(target: Target, /, name: str) -> None:
    """One schedule: its next five times in its own zone, its call, what it has done."""
    with target.opened() as broker:
        found = require(broker, Ticks).timetable()
        entry = _entry(found, name)
    said = _json(entry, found.now, target.discretion())
    if target.as_json:
        say_json(said)
        return
    facts(
        [
            ("name", name),
            ("task", f"{said['task']}{said['call']}"),
            ("queue", said["queue"]),
            ("when", said["when"]),
            ("declared", f"in code{', release ' + said['release'] if said['release'] else ''}" if said["in_code"] else "at run time"),
            ("missed ticks", said["missed"]),
            ("overlap", "yes" if said["overlap"] else "no: a tick is skipped while the last call waits or runs"),
            ("jitter", age(int(said["jitter"] * 1000)) if said["jitter"] else ""),
            ("fired", f"{entry.fired} times; {entry.overlapped} skipped for overlapping, {entry.missed} missed"),
            ("last", f"{moment(entry.last_fired)}, {entry.last_id}" if entry.last_fired else "never"),
        ]
    )
    if entry.done > found.now:
        note("the store's clock was set back: it goes on at the time of its last tick; umbel schedule resume NAME: now")
    say("")
    say("paused" if entry.paused else "next" if said["next"] else "it has no more times")
    for at in said["next"]:
        say(f"  {at}")


@schedule.command(
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel schedule add nightly tasks.report --cron '30 2 * * *' --tz Europe/Moscow
        umbel schedule add poll tasks.poll '["bank"]' --every 30 --no-overlap
        umbel schedule add once tasks.report --at 2026-12-31T23:00:00+03:00
    """,
)
@target_options
@click.argument("name", type=storable)
@click.argument("task", shell_complete=task_names)
@click.argument("positional", metavar="[JSON ARRAY]", required=False)
@click.option("-k", "--kwargs", metavar="JSON", help="Named arguments: '{\"urgent\": true}'.")
@click.option("--cron", "fields", metavar="FIELDS", help="Minute hour day-of-month month day-of-week: '30 2 * * *'.")
@click.option("--tz", metavar="ZONE", help="Time zone of --cron.  [default: the setting timezone]")
@click.option("--every", "span", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Multiples of so many seconds.")
@click.option("--at", "moment_", metavar="TIME", help="Once: 2026-12-31T23:00:00+03:00.")
@click.option(
    "--missed", type=click.Choice(["one", "all", "skip"]), default="one", help="Ticks at which no worker was there.  [default: one]"
)
@click.option("--no-overlap", is_flag=True, help="Skip a tick while the last one's call waits or runs.")
@click.option("--jitter", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Fire up to so much later, at random.")
@click.option("--queue", metavar="NAME", shell_complete=queue_names, help="Another queue than the task's.")
@click.option("--replace", is_flag=True, help="Also over one of this name that was made at run time.")
@click.pass_obj
def add(target: Target, /, name: str, task: str, positional: str | None, replace: bool, queue: str | None, **given: Any) -> None:
    """Make a schedule at run time. The app is imported, and checks the arguments as it would in code.

    It stays until it is removed, whatever is deployed. Workers know of it within a heartbeat.
    """
    app, args, kwargs = called(target, task, positional, given.pop("kwargs"))
    when = _when(**given)
    from ..signature import Signature

    target.tell_default(app.conf)
    call: Signature[Any] = Signature(app.callee(task), args, kwargs, {"queue": queue} if queue else None)
    try:
        app.schedules.add(name, call, when, replace=replace)
    except TypeError as exc:  # wrong parameters, as for a plain call; ArgumentError is one too
        raise ConfigError(str(exc)) from exc
    made = app.schedules.get(name)
    times = [at.isoformat() for at in made.next(_NEXT)] if made else []
    if target.as_json:
        say_json({"added": name, "next": times})
    else:
        say(f"{shown(name)}: {when.in_zone(app.settings.timezone).text()}; next {times[0] if times else 'never: its time is over'}")


def _when(
    fields: str | None, tz: str | None, span: float | None, moment_: str | None, missed: Any, no_overlap: bool, jitter: float
) -> When:
    from ..schedule import at, cron, every

    if sum(one is not None for one in (fields, span, moment_)) != 1:
        raise ConfigError("say one of --cron, --every and --at")
    if tz is not None and fields is None:
        raise ConfigError("--tz is the time zone of --cron")
    if fields is not None:
        return cron(fields, tz, missed=missed, overlap=not no_overlap, jitter=jitter)
    if span is not None:
        return every(span, missed=missed, overlap=not no_overlap, jitter=jitter)
    if no_overlap:
        raise ConfigError("--no-overlap: what fires once overlaps nothing")
    try:
        return at(datetime.fromisoformat(moment_ or ""), missed=missed, jitter=jitter)
    except ValueError:
        raise ConfigError(f"--at {moment_!r} is no time; write it as 2026-12-31T23:00:00+03:00") from None


@schedule.command(exits=(0, 1, 2, 3, 69), examples="umbel schedule pause nightly")
@target_options
@click.argument("name", type=storable)
@click.pass_obj
def pause(target: Target, /, name: str) -> None:
    """Fire no tick until it is resumed. A pause stays over restarts and deploys."""
    _steer(target, name, pausing=True)


@schedule.command(exits=(0, 1, 2, 3, 69), examples="umbel schedule resume nightly")
@target_options
@click.argument("name", type=storable)
@click.pass_obj
def resume(target: Target, /, name: str) -> None:
    """End a pause: it fires from now on. What fell into the pause is not made up for."""
    _steer(target, name, pausing=False)


def _steer(target: Target, name: str, pausing: bool) -> None:
    with target.opened() as broker:
        ticks = require(broker, Ticks)
        was = _entry(ticks.timetable(), name)
        ticks.pause_schedule(name, pausing)
        table_ = ticks.timetable()
        entry = _entry(table_, name)
    if target.as_json:
        say_json({"paused" if pausing else "resumed": name})
        return
    following = _ticks(entry, definition_of(entry.definition), table_.now, 1)
    then = f"; next {moment(following[0])}" if following else ""
    say(f"{shown(name)}: {'already ' if was.paused and pausing else ''}{'paused' if pausing else 'resumed'}{then}")


@schedule.command(exits=(0, 1, 2, 3, 69), examples="umbel schedule run nightly")
@target_options
@click.argument("name", type=storable)
@click.pass_obj
def run(target: Target, /, name: str) -> None:
    """Send its call now, whatever the plan says, also while it is paused; the plan goes on as before. Prints the call's id."""
    with target.opened() as broker:
        found = require(broker, Ticks).timetable()
        definition = definition_of(_entry(found, name).definition)
        if definition is None:
            raise Refused(f"schedule {name!r} was written by a newer release of umbel: use that one")
        envelope = definition.envelope(name, found.now, found.now)
        broker.enqueue([envelope])
    if target.as_json:
        say_json({"id": envelope.id, "task": definition.task, "queue": definition.queue})
    else:
        say(envelope.id)


@schedule.command(exits=(0, 1, 2, 3, 69), examples="umbel schedule remove poll")
@target_options
@click.argument("name", type=storable)
@click.pass_obj
def remove(target: Target, /, name: str) -> None:
    """Delete a schedule that was made at run time. Calls that it has made stay."""
    with target.opened() as broker:
        ticks = require(broker, Ticks)
        if _entry(ticks.timetable(), name).origin == Origin.CODE:
            raise Refused(f"schedule {name!r} is declared in code, and would come back: remove it there, or pause it")
        ticks.remove_schedule(name)
    if target.as_json:
        say_json({"removed": name})
    else:
        say(f"{shown(name)}: removed")


def _entry(found: Timetable, name: str) -> Entry:
    for entry in found.entries:
        if entry.name == name:
            return entry
    known = [entry.name for entry in found.entries]
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f" (there are: {', '.join(known[:10])})" if known else " (there are none)"
    raise Refused(f"there is no schedule {name!r}{hint}")


def _ticks(entry: Entry, definition: Definition | None, now: int, count: int) -> list[int]:
    return [] if definition is None or entry.paused else definition.when.ticks(max(entry.done, now), count)


def _json(entry: Entry, now: int, discretion: Discretion) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": entry.name,
        "in_code": entry.origin == Origin.CODE,
        "paused": entry.paused,
        "fired": entry.fired,
        "overlapped": entry.overlapped,
        "missed_ticks": entry.missed,
        "last_fired": moment(entry.last_fired) if entry.last_fired else None,
        "last_tick": moment(entry.last_tick) if entry.last_tick else None,
        "last_id": entry.last_id or None,
        "next": [],
    }
    definition = definition_of(entry.definition)
    if definition is None:
        unknown = dict.fromkeys(("task", "call", "queue", "release", "missed"), "")
        return said | unknown | {"when": "(of a newer release of umbel)", "overlap": True, "jitter": 0}
    when, redaction = definition.when, discretion.redaction
    args = redaction.args(decoded(msgspec.Raw(definition.args.encode())), discretion.shape_of(definition.task)) if definition.args else []
    kwargs = redaction.value(decoded(msgspec.Raw(definition.kwargs.encode()))) if definition.kwargs else {}
    texts = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    ticks = _ticks(entry, definition, now, _NEXT)
    return said | {
        "when": when.text(),
        "task": definition.task,
        "call": f"({', '.join(texts)})",
        "args": args,
        "kwargs": kwargs,
        "queue": definition.queue,
        "release": definition.release,
        "missed": when.missed,
        "overlap": when.overlap,
        "jitter": when.jitter / 1000,
        "next": [to_datetime(tick).astimezone(when.zone).isoformat() for tick in ticks],
    }
