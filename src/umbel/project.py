"""The project around the working directory: where its root is, and what its ``pyproject.toml`` says of umbel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .errors import ConfigError

_MARKS = ("pyproject.toml", ".git", "manage.py")


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from ``start`` (the working directory) upwards, that has a ``pyproject.toml``, ``.git`` or
    ``manage.py``; else ``start`` itself."""
    begin = (start or Path.cwd()).absolute()
    for folder in (begin, *begin.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return begin


def pyproject_table(start: Path | None = None) -> tuple[Path | None, dict[str, Any]]:
    """The nearest ``pyproject.toml`` and its ``[tool.umbel]`` table (empty without one).

    Raises :class:`~umbel.errors.ConfigError` for a file that cannot be read or is not TOML.
    """
    begin = (start or Path.cwd()).absolute()
    for folder in (begin, *begin.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return file, _table(file)
    return None, {}


def _table(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{file} cannot be read: {exc.strerror}") from exc
    if b"umbel" not in text:  # parsing TOML costs an import of 20 ms
        return {}
    import tomllib

    try:
        tool = tomllib.loads(text.decode()).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file} is not TOML: {exc}") from exc
    table = tool.get("umbel", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: tool.umbel must be a table, [tool.umbel]")
    return table


def anchored(address: str, root: Path) -> str:
    """A broker address with a relative SQLite path made absolute below ``root``; others as they are.

    ``sqlite:///jobs.db`` is relative, ``sqlite:////var/jobs.db`` absolute, ``sqlite://`` and ``:memory:`` name no file.
    """
    scheme, mark, rest = address.partition(":///")
    if scheme.partition("+")[0].lower() != "sqlite" or not mark:
        return address
    path, question, options = rest.partition("?")
    if not path or path.startswith(("/", ":memory:")):
        return address
    return f"{scheme}:///{os.path.normpath(root / path)}{question}{options}"


def masked(address: str) -> str:
    """A broker address as it may be shown: passwords become ``***``, in the user part and in the options."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    place, question, options = rest.partition("?")
    if "@" in options and "@" not in place:
        # a password with a bare ? in it: better to hide too much
        place, _, tail = rest.rpartition("@")
        end, question, options = tail.partition("?")
        place = f"{place}@{end}"
    user, at, host = place.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        user = f"{name}:***" if colon else name
    return f"{scheme}://{user}{at}{host}{question}{'&'.join(_masked_option(option) for option in options.split('&'))}"


def _masked_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    secret = any(word in name.lower() for word in ("password", "passwd", "secret", "token", "key"))
    return f"{name}=***" if equals and secret and not name.lower().endswith(("file", "path")) else option
