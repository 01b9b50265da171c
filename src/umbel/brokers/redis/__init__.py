"""The Redis broker (extra ``umbel[redis]``)."""

from __future__ import annotations

from ...broker import Broker, BrokerSettings
from ...clock import Clock
from .broker import RedisBroker

__all__ = ["RedisBroker", "factory"]


def factory(url: str, settings: BrokerSettings, clock: Clock) -> Broker:
    """The broker of an address in one of the forms that ``address.py`` lists, not yet opened."""
    return RedisBroker(url, settings, clock)
