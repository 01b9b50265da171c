"""Which pages there are, what writes each, and which of those that are there are stale."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from . import brokers, commands, errors, events, settings, states, tasks

FOLDER = Path(__file__).parents[1] / "reference"
MARK = "<!-- Written by docs/generate from the code's declarations: change those, then `make reference`. -->\n\n"
"""What begins with it is ours to write and to remove."""
PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings.page,
    "tasks.md": tasks.page,
    "commands.md": commands.page,
    "states.md": states.page,
    "errors.md": errors.page,
    "events.md": events.page,
    "brokers.md": brokers.page,
}


def differences(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the pages in ``folder`` that are not, or not any more, what the code says; and of those that nobody writes any more."""
    there = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.md")}
    stale = [name for name, page in PAGES.items() if there.get(name) != MARK + page()]
    return stale, sorted(name for name, text in there.items() if text.startswith(MARK) and name not in PAGES)


def write(folder: Path, stale: Iterable[str], left_over: Iterable[str]) -> None:
    """Make them right."""
    folder.mkdir(exist_ok=True)
    for name in stale:
        (folder / name).write_text(MARK + PAGES[name](), encoding="utf-8")
    for name in left_over:
        (folder / name).unlink()
