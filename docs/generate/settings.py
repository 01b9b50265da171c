"""Every setting."""

from __future__ import annotations

from typing import Any

from umbel.cli.group import umbel
from umbel.cli.worker import worker
from umbel.config import ENV_PREFIX
from umbel.settings import ACCEPTS, CELERY_NAMES, REMOVED, SettingKeywords, Settings

from .declared import attribute_words, one_line
from .table import code, codes, size, span, table

FLAGS = {"broker": (umbel, "broker"), "name": (umbel, "app_name"), "app": (umbel, "app")} | {
    key: (worker, key) for key in ("time_limit", "soft_time_limit")
}
"""Settings that have an option of the command line: the command, and the option's name there."""


def page() -> str:
    """The page."""
    words = attribute_words(Settings)
    defaults = Settings()
    rows = [
        (code(key), _default(getattr(defaults, key), accepts.__doc__ or ""), one_line(accepts.__doc__ or ""), words[key])
        for key, accepts in ACCEPTS.items()
    ]
    return f"""# Settings

Durations are seconds (a number, or a `timedelta` in code), sizes are bytes (a number, or text such as `"256 KiB"`).

## Where they are set

From the weakest to the strongest; the last one that says something wins:

1. the default;
2. code: `Umbel("name", key=value)`, `app.conf.key = value`, `app.conf.update(key=value)`, `app.config_from_object(...)`;
3. `[tool.umbel]` in the nearest `pyproject.toml`: `key = value`;
4. the environment: `{ENV_PREFIX}KEY=value`, the setting's name in capitals; a list with commas between, no limit as `none`;
5. the command line.

An unknown name is an error wherever it stands, with "did you mean". `umbel config` prints each value and where it came from, with
passwords masked; `umbel config --changed` only what is not the default. Nothing is read before the first setting is asked for.

{_places()}
`UMBEL_DEBUG=1` is no setting: commands then print umbel's own trace before an error.

## All of them

{table(("setting", "default", "accepts", "what"), rows)}
Two rules between them: `lease_ttl` is at least three times `heartbeat`, and `soft_time_limit` is less than `time_limit`. If only one of the
two limits is set, the default of the other gives way where it must, in the defaults' proportion.

## Names of Celery's

These are accepted in code (`Umbel(...)`, `app.conf`, `config_from_object`), though not in files or in the environment:

{table(("Celery's name", "setting"), [(code(celery), code(ours)) for celery, ours in CELERY_NAMES.items()])}
These are refused, each with the words beside it:

{table(("name", "what umbel says"), [(code(name), one_line(said)) for name, said in REMOVED.items()])}"""


def _places() -> str:
    """Which settings can be given where: only what is not the rule."""
    keywords = SettingKeywords.__annotations__
    rows = [
        (
            code(key),
            code(f"Umbel({key}=…)") if key in keywords else code('Umbel("…")') if key == "name" else "–",
            code(ENV_PREFIX + key.upper()),
            _flag(key),
        )
        for key in ACCEPTS
        if key in FLAGS or key not in keywords
    ]
    rows.append(("every other one", code("Umbel(key=…)"), code(f"{ENV_PREFIX}KEY"), "–"))
    return table(("setting", "in code", "environment", "command line"), rows)


def _flag(key: str) -> str:
    command, name = FLAGS[key]
    (option,) = (parameter for parameter in command.params if parameter.name == name)
    of_worker = " of `umbel worker`" if command is worker else ""
    return codes(option.opts) + of_worker


def _default(value: Any, accepts: str) -> str:
    if value is None:
        return "none"
    if value == ():
        return "none"
    if isinstance(value, float):
        return span(value)
    if isinstance(value, int) and accepts.startswith("bytes"):
        return size(value)
    return code(value) if isinstance(value, str) else str(value)
