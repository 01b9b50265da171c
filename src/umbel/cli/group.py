"""``umbel``: the group of all commands, which imports a command's module when it is used, and turns errors into words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from ..errors import UmbelError
from .exits import CLEAN, INTERRUPTED, NO, code_of, tell
from .page import Pages
from .target import target_options

COMMANDS = {
    "worker": "Run tasks.",
    "up": "For development: a worker that reloads, in one terminal.",
    "shell": "Python with the app, its tasks and its broker.",
    "call": "Send one call.",
    "status": "How it stands: queues, workers, what is wrong.",
    "queues": "List, peek into, purge, pause and resume queues; show lanes.",
    "control": "Change limits of tasks while workers run.",
    "schedule": "What runs by itself: list, add, pause, run now.",
    "dead": "List, show, retry and delete dead letters.",
    "flow": "List, draw, retry and cancel flows.",
    "task": "One task: why is it not running? Cancel it.",
    "doctor": "What loses, delays or refuses tasks, now or soon?",
    "signatures": "All tasks with their parameters; what a new release breaks.",
    "config": "Each setting, and where it came from.",
    "completion": "Let the shell complete commands, tasks, queues.",
    "demo": "20,000 e-mails, a killed worker, and nothing lost.",
}
"""Each stands in a module of its own here, as an object of the same name."""
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(Pages):
    """Knows its commands by name and one line; loads one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"umbel.cli.{cmd_name}"), cmd_name)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # from the table above: importing all modules for a help text takes too long
            formatter.write_dl(list(COMMANDS.items()))

    def main(  # type: ignore[override]  # it never returns: whatever happened becomes an exit code here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        try:
            code = super().main(args, prog_name, **{**extra, "standalone_mode": False})
        except click.Abort as exc:
            if isinstance(exc.__context__, KeyboardInterrupt):
                sys.exit(INTERRUPTED)
            sys.exit(NO)
        except (click.ClickException, UmbelError) as exc:
            tell(exc)
            sys.exit(code_of(exc))
        sys.exit(code if isinstance(code, int) else CLEAN)


@click.group(
    cls=LazyGroup,
    context_settings=SETTINGS,
    no_args_is_help=False,
    invoke_without_command=True,
    exits=(0, 1, 2, 3, 69, 75, 130),
    examples="""
        umbel up                              # develop: a worker that reloads
        umbel worker -c 4                     # run tasks
        umbel call tasks.add '[1, 2]' --wait 10
        umbel status                          # how it stands
        umbel task show ID                    # why is my task not running?
        umbel doctor                          # is everything well?
    """,
)
@target_options
@click.version_option(package_name="umbel", prog_name="umbel")
@click.pass_context
def umbel(context: click.Context) -> None:
    """Background tasks: run them, send them, look after them.

    The app is found by itself (tasks.py, app.py … in this folder, or [tool.umbel] app), or named: umbel -A proj.tasks:app
    COMMAND. The options below may stand before or after the command's name. umbel COMMAND --help tells of each.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
