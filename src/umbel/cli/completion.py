"""``umbel completion``: what a shell has to be told once, so that it completes commands, options, tasks and queues."""

from __future__ import annotations

import click

from .page import Page
from .terminal import say


@click.command(
    cls=Page,
    exits=(0, 2),
    examples="""
        umbel completion bash > ~/.local/share/bash-completion/completions/umbel
        umbel completion zsh > "${fpath[1]}/_umbel"
        umbel completion fish > ~/.config/fish/completions/umbel.fish
        eval "$(umbel completion bash)"     # for this shell only
    """,
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, names of tasks and of queues.

    Write it where the shell looks for completions, and open a new shell. Names are read from the sources below the working
    directory: nothing is imported, and no store is asked.
    """
    from click.shell_completion import get_completion_class

    from .group import umbel

    found = get_completion_class(shell)
    assert found is not None  # the three that click knows
    say(found(umbel, {}, "umbel", "_UMBEL_COMPLETE").source())
