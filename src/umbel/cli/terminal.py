"""What reaches the terminal: text without control characters, tables, ages, moments, JSON."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from ..clock import to_datetime

WIDTH = 80
"""Columns that a table keeps to where the terminal is not wider (or there is none)."""


def shown(text: str) -> str:
    """``text`` with every character escaped that is not printable: control and direction characters never reach a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def pasted(text: str) -> str:
    """``text`` as one word of a command that somebody may copy into a shell: a name of ``x; rm -r ~`` must not become two."""
    return shlex.quote(shown(text))


def note(text: str) -> None:
    """A remark beside the answer, on standard error."""
    click.echo(f"umbel: {shown(text)}", err=True)


def say(text: str = "") -> None:
    """A line of the answer, as it is: names in it must have gone through :func:`shown`."""
    click.echo(text)


def say_json(value: Any) -> None:
    """The answer for machines: indented JSON, ASCII only, so that no terminal sees a control character."""
    import json

    click.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=True))


def columns() -> int:
    """How wide the answer may be."""
    return max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def clipped(text: str, width: int) -> str:
    """``text`` cut to ``width`` columns, with a sign that it was cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], give: int, right: Sequence[int] = (), under: Sequence[str] = ()) -> None:
    """Print rows under heads. Column ``give`` is cut where the whole is too wide; columns in ``right`` stand
    to the right; ``under`` has a second line for each row."""
    cells = [list(heads)] + [["-" if cell is None else shown(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    over = sum(widths) + 2 * (len(widths) - 1) - columns()
    if over > 0:
        widths[give] = max(widths[give] - over, len(heads[give]), 8)
    for number, row in enumerate(cells):
        parts = [
            clipped(cell, width).rjust(width) if at in right else clipped(cell, width).ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(parts).rstrip())
        if number and under and under[number - 1]:
            say(clipped("    " + shown(under[number - 1]), columns()))


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    kept = [(name, value) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        say(f"{name.ljust(width)}  {shown(str(value))}")


def age(ms: int | None) -> str:
    """A span of ms in two units at most: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``5 h 2 min``, ``4 d 1 h``."""
    if ms is None:
        return "-"
    if ms < 10_000:
        return f"{max(ms, 0) / 1000:.1f} s"
    seconds = ms // 1000
    for unit, size, small, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{seconds} s"


def moment(ms: int) -> str:
    """A wall time: ``2026-11-23 09:30:00 UTC``."""
    return to_datetime(ms).strftime("%Y-%m-%d %H:%M:%S UTC") if 0 <= ms < 253_402_300_800_000 else f"{ms} ms"


def counted(number: int, noun: str) -> str:
    """``1 message``, ``2,000 messages``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun.endswith("sh") else "s")
