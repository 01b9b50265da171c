"""What is built is what was written: the installed package holds every file, and its entry points lead somewhere."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import umbel

SOURCE = Path(__file__).parents[1] / "src" / "umbel"


def test_every_file_travels() -> None:
    installed = Path(umbel.__file__).parent
    written = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert Path("py.typed") in written
    assert [str(path) for path in written if not (installed / path).is_file()] == []


def test_entry_points_load() -> None:
    brokers = entry_points(group="umbel.brokers")
    assert {point.name for point in brokers} >= {"memory", "sqlite", "redis"}
    for point in [*brokers, *entry_points(group="console_scripts", name="umbel")]:
        assert callable(point.load()), point.value
