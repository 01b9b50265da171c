"""``umbel worker``: flags as Celery's users type them; what this version has not is said, never passed over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ..errors import ArgumentError, ConfigError
from ..message import check_name
from ..settings import accept
from ..worker.options import WorkerOptions
from .completing import queue_names
from .page import Page
from .reload import folders, reload_options
from .target import Target, target_options
from .terminal import note

WORKER_DEFAULTS: dict[str, Any] = {
    "processes": None,
    "strict": False,
    "name": "",
    "logfile": None,
    "pidfile": None,
    "time_limit": None,
    "soft_time_limit": None,
    "max_tasks_per_child": None,
    "max_memory_per_child": None,
    "fail_fast": False,
}
"""What a command says that runs a worker and has no such options."""
LEVELS = ("debug", "info", "warning", "error", "critical")
BESIDE = {"threads": 10, "asyncio": 100}
"""Tasks at once in a process, where nothing is said: threads cost memory and take turns at one interpreter; coroutines mostly wait."""
MOST_CHILDREN, MOST_BESIDE = 1_000, 20_000
"""Beyond these a mistyped number is more likely than a wish."""
NOT_YET = {
    "autoscale": "--autoscale",
    "detach": "-D (use systemd, or a shell's &)",
}
NOT_NEEDED = {
    "beat": "-B: there is no beat process; every worker fires schedules",
    "task_events": "-E: events are always there for who listens",
    "optimization": "-O: a child never takes more than it can begin soon, so there is nothing to choose",
    "without_gossip": "--without-gossip: workers do not gossip",
    "without_mingle": "--without-mingle: workers do not wait for each other",
    "without_heartbeat": "--without-heartbeat: the heartbeat keeps the tasks its own, and stays",
}


@click.command(
    cls=Page,
    exits=(0, 2, 3, 69, 75),
    examples="""
        umbel worker
        umbel -A proj worker -l info
        umbel worker -A proj.tasks:app -c 4 -Q emails,default
        umbel worker --reload                       # for development; umbel up says more
        kill -TERM $(cat umbel.pid)                 # of one with --pidfile umbel.pid: drain, and end
    """,
)
@target_options
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1, MOST_BESIDE),
    metavar="N",
    help="Children; of the other pools, tasks at once in each process.  [default: one per processor; threads: 10, asyncio: 100]",
)
@click.option("-P", "--pool", default="prefork", metavar="POOL", help="prefork, threads or asyncio.  [default: prefork]")
@click.option("--processes", type=click.IntRange(1, MOST_CHILDREN), metavar="M", help="Processes of threads and asyncio.  [default: 1]")
@click.option(
    "-Q",
    "--queues",
    default="",
    metavar="A,B",
    shell_complete=queue_names,
    help="Queues to serve.  [default: all that the app's tasks declare]",
)
@click.option("--strict", is_flag=True, help="Empty the queues in the order given, instead of taking turns.")
@click.option("-n", "--hostname", "name", default="", metavar="NAME", help="The worker's name; %h is the host.")
@click.option(
    "-l",
    "--loglevel",
    default="info",
    type=click.Choice(LEVELS, case_sensitive=False),
    metavar="LEVEL",
    help="What to log.  [default: info]",
)
@click.option("-f", "--logfile", type=click.Path(dir_okay=False), help="Log there instead of on standard error.")
@click.option("--pidfile", type=click.Path(dir_okay=False), help="Write the process id there.")
@click.option("--time-limit", metavar="SECONDS", help="Hard limit of tasks that have none of their own.")
@click.option("--soft-time-limit", metavar="SECONDS", help="Soft limit of tasks that have none of their own.")
@click.option("--max-tasks-per-child", metavar="N", help="Replace a child after at most so many tasks.")
@click.option(
    "--max-memory-per-child",
    metavar="SIZE",
    help="What a child may have, 200MB or 1.5GiB; a plain number is KiB; none.  [default: 80 % of the memory there is, shared]",
)
@click.option("--fail-fast", is_flag=True, help="End with 69 when the broker is out of reach at the start, instead of waiting.")
@reload_options
@click.option("-B", "--beat", is_flag=True, hidden=True)
@click.option("-E", "--task-events", is_flag=True, hidden=True)
@click.option("-O", "--optimization", hidden=True)
@click.option("--without-gossip", is_flag=True, hidden=True)
@click.option("--without-mingle", is_flag=True, hidden=True)
@click.option("--without-heartbeat", is_flag=True, hidden=True)
@click.option("--autoscale", hidden=True)
@click.option("-D", "--detach", is_flag=True, hidden=True)
@click.pass_obj
def worker(target: Target, /, **given: Any) -> int:
    """Run tasks until TERM or INT: what runs may finish, the rest is given back.

    Signals: TERM and INT drain, for shutdown_timeout (25 s) at most; a second INT, or QUIT, ends it now and gives back what
    ran. HUP: new children with freshly imported code. TSTP: begin nothing more. USR1: print what runs, and all stacks.
    """
    _refuse(given)
    check_pool(given)
    for key, words in NOT_NEEDED.items():
        if given[key]:
            note(words)
    options = options_of(target, given)
    from ..worker.supervisor import run_worker

    return run_worker(options)


def options_of(target: Target, given: dict[str, Any]) -> WorkerOptions:
    """What the command line said, checked as far as it can be without the app, which the worker's template imports."""
    settings = target.command_line()
    for key in ("time_limit", "soft_time_limit", "max_tasks_per_child", "max_memory_per_child"):
        if given[key] is not None:
            accept(key, given[key], "command line")
            settings[key] = given[key]
    for key, value in settings.items():
        accept(key, value, "command line")
    return WorkerOptions(
        app=target.spec(),
        pool=given["pool"],
        concurrency=given["concurrency"] or BESIDE.get(given["pool"]) or processors(),
        processes=given["processes"] or 1,
        queues=_queues(given["queues"]),
        strict=given["strict"],
        name=_name(given["name"]),
        loglevel=given["loglevel"].lower(),
        logfile=_writable("--logfile", given["logfile"]),
        log_json=True if target.as_json else False if given.get("plain") else None,
        pidfile=_writable("--pidfile", given["pidfile"]),
        fail_fast=given["fail_fast"],
        reload=folders(given["reload_dirs"]) if given["reload"] or given["reload_dirs"] else (),
        reload_include=("*.py", *given["reload_include"]),
        settings=settings,
    )


def processors() -> int:
    """Processors that this process may use: of the machine, of its mask, of its cgroup's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return count


def _refuse(given: dict[str, Any]) -> None:
    for key, words in NOT_YET.items():
        if given[key]:
            raise ConfigError(f"{words} is not in this version")


def check_pool(given: dict[str, Any]) -> None:
    """Refuse a pool that there is not, and numbers that do not fit it."""
    pool = given["pool"]
    if pool not in ("prefork", *BESIDE):
        raise ConfigError(f"-P {pool}: there is no such pool; there are prefork, threads and asyncio{_ELSEWHERE.get(pool, '')}")
    if pool == "prefork" and given["processes"]:
        raise ConfigError("--processes is for -P threads and -P asyncio; with prefork, -c is how many processes there are")
    if pool == "prefork" and (given["concurrency"] or 0) > MOST_CHILDREN:
        raise ConfigError(f"-c {given['concurrency']}: prefork makes a process for each, {MOST_CHILDREN:,} at most")


_ELSEWHERE = {
    "solo": "; prefork with -c 1 runs one task at a time",
    "gevent": "; asyncio runs thousands of async def tasks at once, threads run plain functions beside each other",
    "eventlet": "; asyncio runs thousands of async def tasks at once, threads run plain functions beside each other",
}
"""What takes the place of Celery's other pools."""


def _queues(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    try:
        return tuple(check_name("queue", name) for name in names)
    except ArgumentError as exc:
        raise ConfigError(f"-Q: {exc}") from exc


def _name(text: str) -> str:
    """``worker1@%h`` as Celery writes it: %h the host, %n its first part, %d the rest, %% a percent sign."""
    host = os.uname().nodename
    first, _, rest = host.partition(".")
    parts = text.split("%%")
    expanded = "%".join(part.replace("%h", host).replace("%n", first).replace("%d", rest) for part in parts)
    try:
        return check_name("worker", expanded) if expanded else ""
    except ArgumentError as exc:
        raise ConfigError(f"-n: {exc}") from exc


def _writable(option: str, path: str | None) -> str | None:
    """The absolute path, if its folder is there and lets us write."""
    if path is None:
        return None
    file = Path(path).absolute()
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigError(f"{option} {file}: cannot be written" + ("" if file.parent.is_dir() else f", there is no folder {file.parent}"))
    return str(file)
