"""``umbel signatures``: what the tasks can be called with, and what a change of that breaks."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import click

from .compatibility import BREAKS, PARKS, SAFE, Change, compare
from .declarations import Declared, declared, read
from .exits import CLEAN, NO
from .page import Page
from .target import Target, target_options
from .terminal import columns, counted, say, say_json, shown

_HEADS = {
    BREAKS: "Breaks calls that wait, or that older callers still make:",
    PARKS: "Waits during the deploy, for a worker of this release:",
    SAFE: "Worth knowing:",
}


@click.command(
    cls=Page,
    exits=(0, 1, 2, 3),
    examples="""
        umbel signatures --json > signatures.json            # keep it with the release
        umbel signatures --against signatures.json           # before the next one
    """,
)
@target_options
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Compare with an older print, made with --json. Exit code 1 if this release breaks calls of that one.",
)
@click.pass_obj
def signatures(target: Target, /, against: Path | None) -> int:
    """All tasks with their parameters, one a line, the same for the same code.

    With --against an older print: what this release breaks. Ends with 0 if that is nothing, with 1 if it is something, with 2 if
    the file is no print.
    """
    now = declared(target.load(discover=True))
    if against is not None:
        return _tell_changes(target, read(against), now)
    if target.as_json:
        say_json(now)
        return CLEAN
    for name, task in now.tasks.items():
        say(shown(f"{name}{task.call()}  {task.options()}"))
    return CLEAN


def _tell_changes(target: Target, old: Declared, new: Declared) -> int:
    changes = compare(old, new)
    broken = [one for one in changes if one.effect == BREAKS]
    if target.as_json:
        named = [one._asdict() for one in changes]
        say_json({"from": old.release, "to": new.release, "breaks": len(broken), "changes": named})
    else:
        _print(changes)
        total = f"{counted(len(old.tasks), 'task')} before, {counted(len(new.tasks), 'task')} now"
        say(f"{total}: " + (f"{counted(len(broken), 'change')} would break calls." if broken else "nothing breaks."))
    return NO if broken else CLEAN


def _print(changes: list[Change]) -> None:
    for effect, head in _HEADS.items():
        rows = [one for one in changes if one.effect == effect]
        if not rows:
            continue
        say(head)
        for one in rows:
            say(_wrapped(f"{one.task}: {one.what}", "  "))
            if one.remedy:
                say(_wrapped(f"to do: {one.remedy}", "      "))
        say()


def _wrapped(text: str, indent: str) -> str:
    return fill(shown(text), columns(), initial_indent=indent, subsequent_indent="      ", break_on_hyphens=False, break_long_words=False)
