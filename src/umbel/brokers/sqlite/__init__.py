"""The SQLite broker, the embedded default: one file in WAL mode, any number of processes of one machine.

``sqlite:///relative.db``, ``sqlite:////absolute.db``; ``?synchronous=FULL&busy_timeout=30`` (s) are its options.
"""

from __future__ import annotations

from ...broker import Broker, BrokerSettings
from ...clock import Clock
from .address import Address
from .broker import SQLiteBroker

__all__ = ["Address", "SQLiteBroker", "factory"]


def factory(url: str, settings: BrokerSettings, clock: Clock) -> Broker:
    """See ``umbel.brokers.make_broker``. Raises ``ConfigError`` for an address that says nothing usable."""
    return SQLiteBroker(Address.of(url), settings, clock)
