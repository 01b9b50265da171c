"""Long work in pieces, with a bar on standard error if somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import click

T = TypeVar("T")
PIECE = 500
"""Items per step of the store: short enough that workers are not kept waiting."""


def pieces(items: Sequence[T], label: str, size: int = PIECE) -> Iterator[Sequence[T]]:
    """``items`` in pieces; a bar moves when the caller has dealt with one."""
    cut = [items[at : at + size] for at in range(0, len(items), size)]
    if len(cut) < 2 or not sys.stderr.isatty():
        yield from cut
        return
    with click.progressbar(length=len(items), label=label, file=sys.stderr) as bar:
        for piece in cut:
            yield piece
            bar.update(len(piece))
