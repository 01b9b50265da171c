"""``umbel up``: all that a developer needs, in one terminal. What later versions add to a project's processes joins here."""

from __future__ import annotations

from typing import Any

import click

from .completing import queue_names
from .page import Page
from .reload import reload_folders
from .target import Target, target_options
from .terminal import note
from .worker import LEVELS, MOST_BESIDE, WORKER_DEFAULTS, check_pool, options_of

CHILDREN = 2
"""Enough to see tasks run side by side, and few enough to start in no time."""


@click.command(
    cls=Page,
    exits=(0, 2, 3, 75),
    examples="""
        umbel up
        umbel -A proj.tasks:app up -Q emails -l debug
        umbel up --reload-dir src --reload-include '*.yaml'
    """,
)
@target_options
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1, MOST_BESIDE),
    metavar="N",
    help="Children; of the other pools, tasks at once.  [default: 2; threads: 10, asyncio: 100]",
)
@click.option("-P", "--pool", default="prefork", metavar="POOL", help="prefork, threads or asyncio.  [default: prefork]")
@click.option(
    "-Q",
    "--queues",
    default="",
    metavar="A,B",
    shell_complete=queue_names,
    help="Queues to serve.  [default: all that the app's tasks declare]",
)
@click.option(
    "-l",
    "--loglevel",
    default="info",
    type=click.Choice(LEVELS, case_sensitive=False),
    metavar="LEVEL",
    help="What to log.  [default: info]",
)
@click.option("--no-reload", is_flag=True, help="Do not watch the sources.")
@reload_folders
@click.pass_obj
def up(target: Target, /, no_reload: bool, **given: Any) -> int:
    """Everything for development in this terminal: a worker that runs new code when a source file changes, and its log.

    Code that does not import stops nothing: what is wrong is printed, the old code goes on, and the next edit is tried.
    Ctrl-C lets what runs finish; a second one ends it now, and gives it back.
    """
    if given["pool"] == "prefork":
        given["concurrency"] = given["concurrency"] or CHILDREN
    if no_reload:
        given |= {"reload_dirs": (), "reload_include": ()}
    told = {**WORKER_DEFAULTS, **given, "reload": not no_reload, "plain": True}
    check_pool(told)
    options = options_of(target, told)
    from ..worker.supervisor import run_worker

    note("up: Ctrl-C stops it, twice at once" + ("" if no_reload else f"; watching {', '.join(options.reload)}"))
    return run_worker(options)
