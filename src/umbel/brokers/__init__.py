"""Where brokers live: one file or folder each; they never import each other.

A broker is found by the scheme of its address through the entry-point group ``umbel.brokers``, whose entries are
factories ``(url, settings, clock) -> Broker``. So a package of one's own adds a broker without touching umbel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ..broker import Broker, BrokerSettings
from ..clock import SYSTEM, Clock
from ..config import unknown_name
from ..errors import ConfigError

Factory = Callable[[str, BrokerSettings, Clock], Broker]


def make_broker(url: str, settings: BrokerSettings | None = None, clock: Clock = SYSTEM) -> Broker:
    """The broker of an address, not yet opened. Raises :class:`~umbel.errors.ConfigError` for an unknown scheme, or one
    whose library is not installed (the message says which extra to install)."""
    return factory_of(scheme_of(url))(url, settings or BrokerSettings(), clock)


def scheme_of(url: str) -> str:
    """What an address begins with."""
    return url.partition(":")[0].lower()


def known_schemes() -> frozenset[str]:
    """Of all brokers that are installed, whether or not their libraries are."""
    return frozenset(_entries())


@cache
def factory_of(scheme: str) -> Factory:
    """What makes brokers of this scheme; its library is imported. Raises as ``make_broker`` does."""
    found = _entries()
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


@cache
def _entries() -> dict[str, EntryPoint]:
    """Kept: the metadata of all installed packages is looked through, which in each forked child would cost 2 MB of its own."""
    return {entry.name: entry for entry in entry_points(group="umbel.brokers")}
