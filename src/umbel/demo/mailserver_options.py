"""What the stage tells its mail server; apart from the server, since the stage must not need aiosmtpd to say it."""

from __future__ import annotations

import msgspec


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Travels as JSON on the server's command line."""

    report: str
    """File of the final count."""
    refuses: list[str]
    """Addresses that get a 451 the first time."""
    hangs: list[str]
    """Addresses on which it falls silent the first time."""
    silent: list[str] = []
    """Addresses that get a 451 every time, so that a test can see the demo fail."""
