"""The one door for settings.

Who wins, from the weakest: the defaults, code (arguments of ``Umbel(...)``, ``app.conf``, ``config_from_object``; the
later the stronger), ``pyproject.toml [tool.umbel]``, the environment ``UMBEL_*``, the command line. Unknown keys are
errors, wherever they stand. Nothing is read before the first setting is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from enum import IntEnum
from types import ModuleType
from typing import Any

import msgspec

from .errors import ConfigError
from .project import anchored, masked, project_root, pyproject_table
from .settings import ACCEPTS, CELERY_NAMES, REMOVED, Settings, accept, check

ENV_PREFIX = "UMBEL_"
_ENV_OTHERS = ("DEBUG", "TEST", "KILLS")
"""Names behind ``UMBEL_`` that are not settings: traces on the command line and, like all of ``UMBEL_TEST_*``, switches of tests."""


_NONE_SAYS = ("soft_time_limit", "time_limit", "max_memory_per_child")
"""Settings for which None means something: no limit."""


BEAT = "beat_schedule"
"""Celery's schedules, which are no setting: kept as they are given, by code only, and read with the app's other schedules."""


class Source(IntEnum):
    """Where a value came from; the larger wins."""

    DEFAULT = 0
    CODE = 1
    PYPROJECT = 2
    ENVIRONMENT = 3
    COMMAND_LINE = 4


class Shown(msgspec.Struct, frozen=True):
    """One setting as ``umbel config`` shows it: secrets masked."""

    key: str
    value: Any
    source: Source
    origin: str


class _Given(msgspec.Struct, frozen=True):
    value: Any
    origin: str


class Config:
    """The settings of one app (``app.conf``): read as attributes or items; written by code at its own rank.

    A value set here loses against ``pyproject.toml``, the environment and the command line.
    """

    def __init__(self, name: str | None = None, **arguments: Any) -> None:
        self.__dict__["_given"] = {source: {} for source in Source}
        self.__dict__["_settings"] = None
        self.__dict__["_read_outside"] = False
        self.__dict__["beat_schedule"] = {}
        if name is not None:
            self._put(Source.CODE, "name", name, "argument of Umbel()")
        said = {key: value for key, value in arguments.items() if value is not None or key in _NONE_SAYS}
        self._merge(Source.CODE, said, "argument of Umbel()", CELERY_NAMES)

    # -- reading

    @property
    def settings(self) -> Settings:
        """All settings, checked against each other. The same object until something changes."""
        if self._settings is None:
            self.__dict__["_settings"] = self._resolve()
        settings: Settings = self._settings
        return settings

    beat_schedule: dict[str, Any]
    """As Celery has it: schedules by name. The dict may be changed in place."""

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        return getattr(self.settings, self._key(key, AttributeError))

    def __getitem__(self, key: str) -> Any:
        return getattr(self.settings, self._key(key, KeyError))

    def get(self, key: str, default: Any = None) -> Any:
        """The setting, or ``default`` if there is none of that name."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return key in ACCEPTS or key in CELERY_NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(ACCEPTS)

    def origin(self, key: str) -> str:
        """Where the value of ``key`` came from, in words."""
        if not self._read_outside:
            self._resolve()
        given = self._strongest(key)
        return given[1].origin if given else "default"

    def shown(self) -> list[Shown]:
        """Every setting with its value and where it came from; secrets are masked."""
        settings = self.settings
        rows = []
        for key in ACCEPTS:
            found, value = self._strongest(key), getattr(settings, key)
            source, origin = (found[0], found[1].origin) if found else (Source.DEFAULT, "default")
            rows.append(Shown(key, masked(value) if key == "broker" else value, source, origin))
        return rows

    def __repr__(self) -> str:
        changed = ", ".join(f"{row.key}={row.value!r}" for row in self.shown() if row.source)
        return f"<Config {changed}>"

    # -- writing

    def __setattr__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set several values from code. All or none: raises ``ConfigError`` for the first bad one."""
        self._merge(Source.CODE, {**(values or {}), **more}, "app.conf", CELERY_NAMES)

    def from_object(self, obj: object, namespace: str = "") -> None:
        """Take settings from a module, a class, an object, a mapping, or its name (``"module"``, ``"module:attribute"``).

        With a ``namespace``, only upper-case names that begin with it and ``_`` (``UMBEL_BROKER``). Without, every public
        name that is not a module, function or class; upper or lower case.
        """
        where = f"config_from_object({obj if isinstance(obj, str) else getattr(obj, '__name__', type(obj).__name__)})"
        prefix = namespace.upper().rstrip("_") + "_" if namespace else ""
        found = _public_values(_load(obj) if isinstance(obj, str) else obj, prefix)
        self._merge(Source.CODE, {key.lower(): value for key, value in found.items()}, where, CELERY_NAMES)

    def override(self, **values: Any) -> None:
        """Set values from the command line: nothing beats them. ``None`` values are passed over."""
        self._merge(Source.COMMAND_LINE, {k: v for k, v in values.items() if v is not None}, "command line", {})

    def reread(self) -> None:
        """Forget what was read from files and the environment; the next question reads anew."""
        self.__dict__["_read_outside"] = False
        self.__dict__["_settings"] = None

    # -- within

    def _merge(self, source: Source, values: Mapping[str, Any], origin: str, aliases: Mapping[str, str]) -> None:
        checked, beat = [], None
        for key, value in values.items():
            if key == BEAT and aliases:
                beat = value
                continue
            known = aliases.get(key, key)
            if key in REMOVED:
                raise ConfigError(f"setting {key!r} ({origin}): {REMOVED[key]}")
            if known not in ACCEPTS:
                raise ConfigError(f"{unknown_name('setting', key, [*ACCEPTS, *aliases])} ({origin})")
            checked.append((known, accept(known, value, origin)))
        if beat is not None:
            if not isinstance(beat, dict):
                raise ConfigError(f"{BEAT} ({origin}): it must be a dict of schedules by name")
            self.__dict__[BEAT] = beat
        for key, value in checked:
            self._put(source, key, value, origin)

    def _put(self, source: Source, key: str, value: Any, origin: str) -> None:
        self._given[source][key] = _Given(accept(key, value, origin), origin)
        self.__dict__["_settings"] = None

    def _strongest(self, key: str) -> tuple[Source, _Given] | None:
        for source in reversed(Source):
            if key in self._given[source]:
                return source, self._given[source][key]
        return None

    def _resolve(self) -> Settings:
        if not self._read_outside:
            self._read_pyproject()
            self._read_environment()
            self.__dict__["_read_outside"] = True
        values = {key: found[1].value for key in ACCEPTS if (found := self._strongest(key))}
        values["broker"] = anchored(values.get("broker", Settings().broker), project_root())
        settings = Settings(**_fitted(values))
        check(settings, self.origin)
        return settings

    def _read_pyproject(self) -> None:
        self._given[Source.PYPROJECT].clear()
        file, table = pyproject_table()
        self._merge(Source.PYPROJECT, table, f"{file} [tool.umbel]", {})
        given = self._given[Source.PYPROJECT]
        if file is not None and "broker" in given:
            given["broker"] = _Given(anchored(given["broker"].value, file.parent), given["broker"].origin)

    def _read_environment(self) -> None:
        self._given[Source.ENVIRONMENT].clear()
        for variable, value in os.environ.items():
            key = variable.removeprefix(ENV_PREFIX)
            if key != variable and key not in _ENV_OTHERS and not key.startswith("TEST_"):
                if key.lower() not in ACCEPTS:
                    names = [ENV_PREFIX + name.upper() for name in ACCEPTS]
                    raise ConfigError(f"{unknown_name('setting', variable, names)} (environment)")
                self._merge(Source.ENVIRONMENT, {key.lower(): value}, f"environment {variable}", {})

    def _key(self, key: str, error: type[Exception]) -> str:
        known = CELERY_NAMES.get(key, key)
        if known not in ACCEPTS:
            raise error(unknown_name("setting", key, ACCEPTS))
        return known


def _fitted(values: dict[str, Any]) -> dict[str, Any]:
    """Where only one of the two limits was given, the other's default keeps its proportion to it (300 to 330)."""
    soft, hard = values.get("soft_time_limit"), values.get("time_limit")
    if hard is not None and "soft_time_limit" not in values:
        values["soft_time_limit"] = min(300.0, hard / 1.1)
    elif soft is not None and "time_limit" not in values:
        values["time_limit"] = max(330.0, soft * 1.1)
    return values


def unknown_name(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    """The complaint about an unknown name, with the nearest known one."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"unknown {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _load(path: str) -> object:
    from importlib import import_module

    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute) if attribute else import_module(module)
    except AttributeError as exc:
        raise ConfigError(f"config_from_object({path!r}): {exc}") from exc
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
            raise  # the module is there; something that it imports is not
        head, _, tail = module.rpartition(".")
        if head and exc.name == module:  # Celery also takes "module.attribute"
            found = getattr(import_module(head), tail, None)
            if found is not None:
                return found
        raise ConfigError(f"config_from_object({path!r}): there is no module {exc.name!r}") from exc


def _public_values(obj: object, prefix: str) -> dict[str, Any]:
    """What ``obj`` has below ``prefix``, without it. Without a prefix, code that lives beside the settings is passed over."""
    names = [str(key) for key in obj] if isinstance(obj, Mapping) else [name for name in dir(obj) if not name.startswith("_")]
    found = {}
    for name in names:
        if name.startswith(prefix):
            value = obj[name] if isinstance(obj, Mapping) else getattr(obj, name)
            if prefix or isinstance(obj, Mapping) or not (isinstance(value, ModuleType) or callable(value)):
                found[name[len(prefix) :]] = value
    return found
