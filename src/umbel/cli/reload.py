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
    command = reload_folders(command)
    return click.option("--reload", is_flag=True, help="For development: when a source file changes, run its new code.")(command)


def reload_folders(command: C) -> C:
    """Give a command ``--reload-dir`` and ``--reload-include``."""
    include = click.option("--reload-include", multiple=True, metavar="PATTERN", help="Watch these files too: '*.yaml'; repeatable.")
    folder = click.option(
        "--reload-dir",
        "reload_dirs",
        multiple=True,
        metavar="DIR",
        type=click.Path(),
        help="Watch this folder instead of the project's root; repeatable.",
    )
    return folder(include(command))


def folders(given: tuple[str, ...]) -> tuple[str, ...]:
    """What to watch: absolute paths. ``ConfigError`` for one that is not there, or without the package that watches."""
    if find_spec("watchfiles") is None:
        raise ConfigError("reloading needs the package 'watchfiles': pip install 'umbel[dev]' (umbel up --no-reload does without)")
    for folder in given:
        if not os.path.isdir(folder):
            raise ConfigError(f"--reload-dir {folder}: there is no such folder")
    return tuple(os.path.abspath(folder) for folder in given) or (str(project_root()),)
