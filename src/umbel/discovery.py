"""Finding tasks by importing modules of a given name from packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module

from .errors import ConfigError

Packages = Iterable[str] | Callable[[], Iterable[str]] | None


def import_related(packages: Packages, related: str | None) -> None:
    """Import ``package.related`` for each package; one that has no such module is passed over. Errors in modules pass through.

    ``packages`` None means Django's installed apps.
    """
    for package in list(_installed_apps() if packages is None else packages() if callable(packages) else packages):
        if related is None:
            import_module(package)
            continue
        name = f"{package}.{related}"
        try:
            import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name != name:
                raise _missing(package, exc) from exc


def _missing(package: str, exc: ModuleNotFoundError) -> Exception:
    if exc.name == package or package.startswith(f"{exc.name}."):
        return ConfigError(f"autodiscover_tasks: there is no package {package!r}")
    return exc


def _installed_apps() -> list[str]:
    registry = sys.modules.get("django.apps")
    if registry is None:
        raise ConfigError(
            "autodiscover_tasks() without packages means Django's installed apps, and Django is not imported; name the packages"
        )
    return [config.name for config in registry.apps.get_app_configs()]
