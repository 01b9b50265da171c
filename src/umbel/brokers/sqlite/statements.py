"""The SQL of this broker, by name.

Every statement stands in a file of ``statements/``, after a line ``-- name: NAME`` and a comment that says what it is for,
its parameters, and what it costs.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "statements"
_MARK = "-- name: "


def parse(text: str) -> dict[str, str]:
    """Name to statement of one file's text. Comments are left out: SQLite need not read them again."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(_MARK):
            name = line.removeprefix(_MARK).strip()
            found[name] = []
        elif name and line.strip() and not line.startswith("--"):
            found[name].append(line.strip())
    return {name: " ".join(lines).removesuffix(";") for name, lines in found.items()}


def load() -> dict[str, str]:
    """All statements. Raises ``ValueError`` for a name that stands twice."""
    statements: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.sql")):
        for name, statement in parse(path.read_text(encoding="utf-8")).items():
            if name in statements or not statement:
                raise ValueError(f"{path.name}: the statement {name!r} is empty or stands twice")
            statements[name] = statement
    return statements


SQL = load()
