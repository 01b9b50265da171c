"""``--reload``: which folders are watched, and whether they can be."""

from __future__ import annotations

import os
from importlib.util import find_spec

import click

from ..errors import ConfigError
from ..project import project_root
from .target import C


def reload_options(command: C) -> C:
    """Give a command ``--reload``, ``--reload-dir`` and ``--reload-include``."""
    options = (
        click.option("--reload", is_flag=True, help="For development: when a source file changes, run its new code."),
        click.option(
            "--reload-dir", "reload_dirs", multiple=True, metavar="DIR", help="Watch this folder instead of the project's root; repeatable."
        ),
        click.option("--reload-include", multiple=True, metavar="PATTERN", help="Watch these files too: '*.yaml'; repeatable."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def folders(given: tuple[str, ...]) -> tuple[str, ...]:
    """What to watch: absolute paths. ``ConfigError`` for one that is not there, or without the package that watches."""
    if find_spec("watchfiles") is None:
        raise ConfigError("--reload needs the package 'watchfiles': pip install 'umbel[dev]'")
    for folder in given:
        if not os.path.isdir(folder):
            raise ConfigError(f"--reload-dir {folder}: there is no such folder")
    return tuple(os.path.abspath(folder) for folder in given) or (str(project_root()),)
