"""Markdown tables, and figures in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. A cell cannot hold a bar: renderers disagree on how one is escaped inside code."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    for line in lines:
        for cell in line:
            if "|" in cell or "\n" in cell:
                raise ValueError(f"this cannot stand in a table: {cell!r}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(text: str) -> str:
    """As code; nothing for nothing."""
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    """Several, as code, with commas between."""
    return ", ".join(code(text) for text in texts)


def span(seconds: float) -> str:
    """``25``, ``86400 (1 day)``: as one would type it, and as one would say it where that helps."""
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        count = seconds / size.total_seconds()
        if count >= 1 and count == int(count):
            return f"{seconds:.0f} ({count:.0f} {unit}{'' if count == 1 else 's'})"
    return f"{seconds:g}"


def size(count: int) -> str:
    """``262144 (256 KiB)``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor and count % factor == 0:
            return f"{count} ({count // factor} {unit})"
    return str(count)
