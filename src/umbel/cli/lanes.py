"""``umbel queues lanes``: lanes, what they wait for, since when. And the words for that."""

from __future__ import annotations

from typing import Any

import click

from ..facets import LaneSeen, Limits, Waits, require
from ..lane import UNLIMITED, Rule
from ..lane import shown as name_of
from .completing import queue_names
from .page import Page
from .target import Target, storable, target_options
from .terminal import age, counted, note, say, say_json, table

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


@click.command(
    cls=Page,
    examples="""
        umbel queues lanes
        umbel queues lanes emails -n 200
        umbel queues lanes --json
    """,
)
@target_options
@click.argument("queue", required=False, type=storable, shell_complete=queue_names)
@click.option("-n", "--limit", default=50, type=click.IntRange(1, 10_000), metavar="N", help="Lanes to show.  [default: 50]")
@click.pass_obj
def lanes(target: Target, /, queue: str | None, limit: int) -> None:
    """Lanes in which something waits: sub-queues with a rate, a concurrency or a lock of their own; what each waits for, and how long."""
    with target.opened() as broker:
        now, page = broker.ping(), require(broker, Limits).lanes(queue, limit)
    if target.as_json:
        say_json([_json(one) for one in page.lanes])
        return
    if not page.lanes:
        say("nothing waits in a lane" + (f" of {queue}" if queue else ""))
        return
    rows = [(one.queue, one.priority, name_of(one.limit), one.waiting, age(now - one.since) if one.since else "-") for one in page.lanes]
    table(
        ("QUEUE", "PRIO", "LANE", "WAITING", "LAST SERVED"),
        rows,
        give=2,
        right=(1, 3, 4),
        under=[f"waits for {waits_words(one, now)}" for one in page.lanes],
    )
    if page.cursor is not None:
        note(f"there are more; -n {limit * 10} shows more")


def waits_words(one: LaneSeen, now: int) -> str:
    """What a lane waits for, in a few words."""
    whose = f"{name_of(one.group)}: " if one.waits in (Waits.GROUP_RATE, Waits.GROUP_CONCURRENCY) else ""
    if one.waits in (Waits.RATE, Waits.GROUP_RATE):
        when = f", in {age(max(0, one.until - now))}" if one.until is not None else ", until that is changed"
        return f"{whose}its rate of {_rate_words(one.numbers)}{when}"
    if one.waits in (Waits.CONCURRENCY, Waits.GROUP_CONCURRENCY):
        return f"{whose}{one.held} of {one.numbers.most} run"
    return {Waits.PAUSED: "its queue is paused"}.get(one.waits, "a worker")


def lane_sentence(one: LaneSeen, now: int) -> str:
    """The answer to "why does it not run?" of a message in this lane."""
    others = f", {counted(one.waiting, 'message')} in it" if one.waiting > 1 else ""
    return f"it stands in the lane {name_of(one.limit)!r}{others}, which waits for {waits_words(one, now)}"


def numbers_words(rule: Rule) -> str:
    """The numbers of a limit."""
    said = []
    if rule.count is not None:
        said.append("no rate" if rule.count == UNLIMITED else _rate_words(rule))
    if rule.concurrency is not None:
        said.append("any number at a time" if rule.concurrency == UNLIMITED else f"{rule.concurrency} at a time")
    return ", ".join(said) or "no limit"


def _rate_words(rule: Rule) -> str:
    if rule.count == 0:
        return "0"
    count, period = rule.count or 0, rule.period
    # as few as a second's worth are told per second, and so on: 7 in 100 ms is 70/s
    for size, unit in reversed(_UNITS):
        if count * size >= period:
            burst = f", burst {rule.burst}" if rule.burst > 1 else ""
            return f"{count * size / period:g}/{unit}{burst}"
    return f"{count} in {age(period)}"


def _json(one: LaneSeen) -> dict[str, Any]:
    numbers = one.numbers
    return {
        "queue": one.queue,
        "priority": one.priority,
        "limit": name_of(one.limit),
        "rule": one.rule,
        "group": name_of(one.group) or None,
        "waiting": one.waiting,
        "waits": one.waits,
        "until": one.until,
        "held": one.held,
        "count": numbers.count,
        "period": numbers.period,
        "burst": numbers.burst,
        "concurrency": numbers.concurrency,
        "since": one.since,
    }
