"""How the command line ends: which code, and which words."""

from __future__ import annotations

import os
import sys
import traceback

import click

from ..errors import AppNotFound, BrokerUnreachable, EnqueueUnknown, ReplyLost, ResultError, ResultTimeout, UmbelError
from .terminal import shown

CLEAN, NO, USAGE, IMPORT, NOBODY, DRAIN, INTERRUPTED = 0, 1, 2, 3, 69, 75, 130

MEANINGS = {
    CLEAN: "clean",
    NO: "the answer is no: declined, not found, the task failed, something to mend was found; or a fault of umbel's own",
    USAGE: "usage or configuration",
    IMPORT: "the app's module does not import",
    NOBODY: "nobody answered in time, or the broker is out of reach (a worker ends so only with `--fail-fast`)",
    DRAIN: "a worker's drain ran out of time, or was cut short: something was interrupted, and given back",
    INTERRUPTED: "interrupted from the keyboard",
}
"""Every code that a command ends with."""


class Unanswered(UmbelError):
    """Nobody answered."""


class Refused(UmbelError):
    """The answer is no: nothing was found, or somebody declined."""


def code_of(error: BaseException) -> int:
    """The exit code of an expected error."""
    if isinstance(error, click.ClickException):
        return error.exit_code if error.exit_code != 1 else USAGE
    if isinstance(error, AppNotFound):
        return IMPORT
    if isinstance(error, BrokerUnreachable | ReplyLost | EnqueueUnknown | ResultTimeout | Unanswered):
        return NOBODY
    cause = error.__cause__
    if isinstance(cause, BrokerUnreachable | ReplyLost):  # as the producer passes them on
        return NOBODY
    return NO if isinstance(error, Refused | ResultError) else USAGE


def tell(error: BaseException) -> None:
    """``umbel: …`` on standard error: one line, except for the user's own trace. With ``UMBEL_DEBUG``, ours before it."""
    if os.environ.get("UMBEL_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        text = error.format_message()
        path = error.ctx.command_path if error.ctx else "umbel"
        words = shown(text) + f" ({path} --help)"
    elif isinstance(error, click.ClickException):
        words = shown(error.format_message())
    else:
        lines = str(error).split("\n") if isinstance(error, AppNotFound) else [str(error)]
        words = "\n".join(shown(line) for line in lines) or type(error).__name__
    print(f"umbel: {words}", file=sys.stderr, flush=True)
