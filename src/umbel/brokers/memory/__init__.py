"""The memory broker: the reference. One process, nothing kept after it; clear and obviously right rather than fast.

``memory://NAME`` names a store that every handle of the process shares; ``memory://`` makes one of its own.
"""

from __future__ import annotations

from ...broker import Broker, BrokerSettings
from ...clock import Clock
from .broker import MemoryBroker
from .store import Store

__all__ = ["MemoryBroker", "Store", "factory", "store_of"]


def factory(url: str, settings: BrokerSettings, clock: Clock) -> Broker:
    """See ``umbel.brokers.make_broker``."""
    return MemoryBroker(store_of(url), settings, clock)


def store_of(url: str) -> Store:
    """The store that an address names; a fresh one where it names none."""
    name = url.partition("://")[2].strip("/")
    return Store.named(name) if name else Store()
