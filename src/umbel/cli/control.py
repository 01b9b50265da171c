"""``umbel control``: limits of tasks, changed while workers run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..control import Changed, Control
from ..facets import Ruled
from ..lane import Rule
from .completing import task_names
from .lanes import numbers_words
from .page import Pages
from .target import Target, storable, target_options
from .terminal import say, say_json, shown, table


@click.group(
    cls=Pages,
    exits=(0, 1, 2, 3, 69),
    invoke_without_command=True,
    examples="""
        umbel control
        umbel control rate-limit shop.mail.send 50/s
        umbel control concurrency shop.sync 2
        umbel control rate-limit shop.mail.send --clear
    """,
)
@target_options
@click.pass_context
def control(context: click.Context) -> None:
    """Change limits of tasks while workers run: in force at once, everywhere, until cleared. Alone: all limits."""
    if context.invoked_subcommand is None:
        context.invoke(limits)


@control.command(
    examples="""
        umbel control limits
        umbel control limits --json
    """,
)
@target_options
@click.pass_obj
def limits(target: Target, /) -> None:
    """Every limit that the store knows: what the code declares, and what was said here instead."""
    with target.opened() as broker:
        found = Control(lambda: broker).limits()
    if target.as_json:
        say_json(
            {
                name: {**_json(ruled.numbers), "declared": _json(ruled.declared), "override": _json(ruled.override)}
                for name, ruled in found.items()
            }
        )
    elif not found:
        say("no limits: no task declares one, or no worker of it has started yet")
    else:
        table(("LIMIT", "IN FORCE", "DECLARED"), [(name, numbers_words(r.numbers), _declared(r)) for name, r in found.items()], give=0)


def _declared(ruled: Ruled) -> str:
    return "" if ruled.override.empty else numbers_words(ruled.declared)


def _ruled_json(ruled: Ruled) -> dict[str, Any]:
    return {**_json(ruled.numbers), "declared": _json(ruled.declared), "override": _json(ruled.override)}


def _json(rule: Rule) -> dict[str, Any]:
    return {"count": rule.count, "period": rule.period, "burst": rule.burst, "concurrency": rule.concurrency}


def _steering(kind: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    def decorate(command: click.decorators.FC) -> click.decorators.FC:
        command = click.option("--per-key", is_flag=True, help="The limit of its keys, where it has one of its own too.")(command)
        command = click.option("--clear", is_flag=True, help=f"Let the declared {kind} count again.")(command)
        command = click.argument("value", required=False)(command)
        return click.argument("task", type=storable, shell_complete=task_names)(command)

    return decorate


@control.command(
    "rate-limit",
    exits=(0, 2, 3, 69),
    examples="""
        umbel control rate-limit shop.mail.send 50/s
        umbel control rate-limit shop.mail.send 0        # begin none, until it is cleared
        umbel control rate-limit shop.mail.send none
        umbel control rate-limit shop.mail.send --clear
    """,
)
@target_options
@_steering("rate")
@click.option("--burst", type=click.IntRange(1), metavar="N", help="How many may begin at once after a pause.  [default: as declared]")
@click.pass_obj
def rate_limit(target: Target, /, task: str, value: str | None, clear: bool, per_key: bool, burst: int | None) -> None:
    """How often a task may begin, over all workers: 50/s, 100/m, 5/h; 0 for not at all; none for no limit."""
    _check(value, clear)
    with target.opened() as broker:
        steer = Control(lambda: broker)
        if clear:
            changed = steer.clear(task, concurrency=False, per_key=per_key or None)
        else:
            changed = steer.rate_limit(task, None if value == "none" else value or "", burst=burst, per_key=per_key or None)
    _tell(target, changed)


@control.command(
    exits=(0, 2, 3, 69),
    examples="""
        umbel control concurrency shop.sync 2
        umbel control concurrency shop.sync --clear
    """,
)
@target_options
@_steering("concurrency")
@click.pass_obj
def concurrency(target: Target, /, task: str, value: str | None, clear: bool, per_key: bool) -> None:
    """How many of a task may run at a time, over all workers; 0 for none; none for no limit. What runs goes on."""
    _check(value, clear)
    if value is not None and value != "none" and not value.isdecimal():
        raise click.UsageError(f"{value!r}: a concurrency must be a whole number, or none")
    with target.opened() as broker:
        steer = Control(lambda: broker)
        if clear:
            changed = steer.clear(task, rate=False, per_key=per_key or None)
        else:
            changed = steer.concurrency(task, None if value in ("none", None) else int(value), per_key=per_key or None)
    _tell(target, changed)


def _check(value: str | None, clear: bool) -> None:
    if clear == (value is not None):
        raise click.UsageError("say a value, or --clear" + (", not both" if clear else ""))


def _tell(target: Target, changed: Changed) -> None:
    if target.as_json:
        say_json({"limit": changed.rule, "before": _json(changed.before), "after": _json(changed.after)})
        return
    same = "still " if changed.before == changed.after else ""
    was = "" if same else f" (was {numbers_words(changed.before)})"
    say(f"{shown(changed.rule)}: {same}{numbers_words(changed.after)}{was}")
    if changed.after.count == 0 or changed.after.concurrency == 0:
        say("nothing of it begins until that is changed or cleared")
