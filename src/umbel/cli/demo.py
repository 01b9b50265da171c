"""``umbel demo``: see it work, and see it survive."""

from __future__ import annotations

import click

from ..errors import ConfigError
from .page import Page
from .target import Target, target_options


@click.command(
    cls=Page,
    exits=(0, 1, 2),
    examples="""
        umbel demo
        umbel demo --users 2000
        umbel demo --broker redis://127.0.0.1:6379/0
    """,
)
@target_options
@click.option("--users", default=20_000, type=click.IntRange(100, 1_000_000), metavar="N", help="Users to write to.  [default: 20000]")
@click.pass_obj
def demo(target: Target, /, users: int) -> int:
    """E-mails to 20,000 users through a real mail server that refuses and hangs, a worker that loses a child; nothing lost.

    It needs the extra demo (pip install 'umbel[demo]'), takes half a minute, and leaves nothing behind. It ends with 0 only
    if every user has the mail.
    """
    try:
        from ..demo import run_demo
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("umbel"):
            raise
        raise ConfigError(f"the demo needs the package {exc.name!r}: pip install 'umbel[demo]'") from exc
    return run_demo(broker=target.broker, users=users)
