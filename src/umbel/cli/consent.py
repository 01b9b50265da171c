"""Asking before something is lost."""

from __future__ import annotations

import sys

import click

from ..errors import ConfigError
from .exits import Refused


def agree(question: str, yes: bool) -> None:
    """Return if the person agrees, now or by ``--yes``. Raises ``Refused`` for a no, ``ConfigError`` where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody can be asked, since standard input is no terminal: say --yes")
    if not click.confirm(question, err=True):
        raise Refused("nothing was changed")
