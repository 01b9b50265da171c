"""A command's page of help: what it does, its options, examples, exit codes, environment variables."""

from __future__ import annotations

from typing import Any

import click

from .exits import MEANINGS

VARIABLES = {
    "UMBEL_APP": "where the app is, as -A says it",
    "UMBEL_BROKER": "the broker's address, as -b says it",
    "UMBEL_NAME_OF_SETTING": "any other setting (umbel config lists them)",
    "UMBEL_DEBUG": "1: show the whole trace of an error",
}


class Page(click.Command):
    """A command with a whole page."""

    def __init__(self, *args: Any, examples: str = "", exits: tuple[int, ...] = (0, 2, 3, 69), **more: Any) -> None:
        """``examples``: lines as they are typed; a remark follows after ``#``. ``exits``: the codes it may end with."""
        super().__init__(*args, **more)
        self.examples = [line.strip() for line in examples.strip().splitlines()]
        self.exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections behind the options."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), MEANINGS[code]) for code in self.exits])
        with formatter.section("Environment"):
            formatter.write_dl(list(VARIABLES.items()))
        super().format_epilog(ctx, formatter)


class Pages(Page, click.Group):
    """A group of commands, each with a page."""

    command_class = Page
