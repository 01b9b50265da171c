"""``umbel config``: each setting, and where it came from."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from ..config import Config, Shown, Source
from ..errors import AppNotFound
from ..loading import find_app
from .page import Page
from .target import Target, target_options
from .terminal import note, say_json, table


@click.command(
    cls=Page,
    exits=(0, 2, 3),
    examples="""
        umbel config
        umbel config --changed
        UMBEL_LEASE_TTL=30 umbel config --json
    """,
)
@target_options
@click.option("--changed", is_flag=True, help="Only what is not the default.")
@click.pass_obj
def config(target: Target, /, changed: bool) -> None:
    """Each setting, its value, and where it came from. Secrets are masked.

    From the weakest to the strongest: defaults, Umbel(…) and app.conf in code, [tool.umbel] of pyproject.toml, the
    environment (UMBEL_NAME_OF_SETTING), the command line.
    """
    rows = [row for row in _rows(target) if row.source != Source.DEFAULT or not changed]
    if target.as_json:
        say_json([{"key": row.key, "value": _plain(row.value), "origin": row.origin, "source": row.source.name.lower()} for row in rows])
        return
    table(("SETTING", "VALUE", "FROM"), [(row.key, _text(row.value), row.origin.replace(f"{Path.cwd()}/", "")) for row in rows], give=2)


def _rows(target: Target) -> list[Shown]:
    """The app's settings; without an app, or with one that was found and does not import, what stands outside of it."""
    named = target.app is not None
    try:
        target.app = target.app or find_app()
        shown: list[Shown] = target.load().conf.shown()
        return shown
    except AppNotFound as exc:
        if named:
            raise
        why = f"its app cannot be read: {str(exc).splitlines()[0]}" if target.app else "no app found here"
        note(f"{why}; these are the settings from outside of an app")
    outside = Config()
    outside.override(**target.command_line())
    return outside.shown()


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{name}={number}" for name, number in value.items()) or "none"
    return ", ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
