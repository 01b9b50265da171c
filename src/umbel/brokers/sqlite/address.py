"""What an address of the SQLite broker says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ...errors import ConfigError

_SYNCHRONOUS = ("NORMAL", "FULL", "EXTRA")
"""OFF is missing on purpose: it may lose what was accepted, and even damage the file, when the machine dies."""


MEANINGS = {
    "synchronous": "`NORMAL` (the default) survives the death of any process, `FULL` and `EXTRA` also a power cut: each step then waits "
    "for the disk",
    "busy_timeout": "seconds to wait for others who write, default 30",
}
"""The options of an address, and what each is for."""


@dataclass(frozen=True)
class Address:
    """A file and how to use it. ``busy_timeout`` in seconds: how long to wait for others who write."""

    path: Path
    synchronous: str = "NORMAL"
    busy_timeout: float = 30.0

    @classmethod
    def of(cls, url: str) -> Address:
        """Read ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with options after a ``?``."""
        scheme, separator, rest = url.partition(":///")
        where, _, query = rest.partition("?")
        name = unquote(where)
        if not separator or scheme.lower() != "sqlite" or not name or "\0" in name:
            raise ConfigError(f"broker address {url!r}: expected sqlite:///relative.db or sqlite:////absolute/path.db")
        if name == ":memory:":
            raise ConfigError("broker address sqlite:///:memory: would be a store that no worker can see; use memory://NAME in tests")
        options = dict(parse_qsl(query, keep_blank_values=True))
        address = cls(Path(name), _synchronous(options.pop("synchronous", "NORMAL")), _seconds(options.pop("busy_timeout", "30")))
        if options:
            raise ConfigError(f"broker address {url!r}: unknown option {min(options)!r} (there are: busy_timeout, synchronous)")
        return address


def _synchronous(value: str) -> str:
    if value.upper() not in _SYNCHRONOUS:
        raise ConfigError(f"broker address: synchronous={value!r} is none of {', '.join(_SYNCHRONOUS)}")
    return value.upper()


def _seconds(value: str) -> float:
    try:
        span = float(value)
    except ValueError:
        span = -1.0
    if not 0 <= span <= 3600:
        raise ConfigError(f"broker address: busy_timeout={value!r} is not a number of seconds between 0 and 3600")
    return span
