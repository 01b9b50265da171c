"""Where brokers live: one file or folder each; they never import each other.

A broker is found by the scheme of its address through the entry-point group ``umbel.brokers``, whose entries are
factories ``(url, settings, clock) -> Broker``. So a package of one's own adds a broker without touching umbel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

from ..broker import Broker, BrokerSettings
from ..clock import SYSTEM, Clock
from ..config import unknown_name
from ..errors import ConfigError

Factory = Callable[[str, BrokerSettings, Clock], Broker]


def make_broker(url: str, settings: BrokerSettings | None = None, clock: Clock = SYSTEM) -> Broker:
    """The broker of an address, not yet opened. Raises :class:`~umbel.errors.ConfigError` for an unknown scheme, or one
    whose library is not installed (the message says which extra to install)."""
    factory = _factory(url.partition(":")[0].lower())
    return factory(url, settings or BrokerSettings(), clock)


@cache
def _factory(scheme: str) -> Factory:
    """Kept: the metadata of all installed packages is looked through, which in each forked child would cost 2 MB of its own."""
    found = {entry.name: entry for entry in entry_points(group="umbel.brokers")}
    if scheme not in found:
        raise ConfigError(f"broker address: {unknown_name('scheme', scheme, list(found))} (there are: {', '.join(sorted(found))})")
    try:
        factory: Factory = found[scheme].load()
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("umbel"):
            raise
        extra = found[scheme].module.rpartition(".")[2]
        raise ConfigError(f"the {scheme} broker needs the package {exc.name!r}: pip install 'umbel[{extra}]'") from exc
    return factory
