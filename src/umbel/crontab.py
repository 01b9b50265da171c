"""Celery's ``crontab(...)``: its fields and its ways of writing them, as the same rule that ``cron`` makes.

What differs from cron(8): where both days of the month and days of the week are said, both must match; a range may go over its
end (``fri-mon``, ``22-4``); a field may be a number, or a collection of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from .errors import ConfigError
from .schedule import Cron, Missed, When, cron

Field = str | int | Iterable[int]
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_MONTHS = {
    name: number
    for number, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1)
}


class _Kind(msgspec.Struct, frozen=True):
    name: str
    first: int
    last: int
    names: dict[str, int] = {}


_MINUTE, _HOUR = _Kind("minute", 0, 59), _Kind("hour", 0, 23)
_DAY, _MONTH = _Kind("day_of_month", 1, 31), _Kind("month_of_year", 1, 12, _MONTHS)
_WEEKDAY = _Kind("day_of_week", 0, 6, _DAYS)


def crontab(
    minute: Field = "*",
    hour: Field = "*",
    *,
    day_of_week: Field = "*",
    day_of_month: Field = "*",
    month_of_year: Field = "*",
    tz: str | None = None,
    missed: Missed = "one",
    overlap: bool = True,
    jitter: float | timedelta = 0,
    start: datetime | None = None,
    end: datetime | None = None,
) -> When:
    """As in Celery, in the app's ``timezone`` or in ``tz``; the other options, and what daylight saving does, as of ``umbel.cron``.
    Raises ``ConfigError``."""
    weekday, day = _text(_WEEKDAY, day_of_week), _text(_DAY, day_of_month)
    both = weekday != "*" and day != "*"
    fields = f"{_text(_MINUTE, minute)} {_text(_HOUR, hour)} {day} {_text(_MONTH, month_of_year)} {'*' if both else weekday}"
    made = cron(fields, tz, missed=missed, overlap=overlap, jitter=jitter, start=start, end=end)
    if not both or not isinstance(made.rule, Cron):
        return made
    days = tuple(sorted(_numbers(_WEEKDAY, day_of_week)))
    return msgspec.structs.replace(made, rule=msgspec.structs.replace(made.rule, weekdays=days))


def _text(kind: _Kind, field: Field) -> str:
    """As cron writes it. A star stays one: fields that begin with it are intervals, which daylight saving leaves alone."""
    numbers = sorted(_numbers(kind, field))
    if isinstance(field, str) and field.replace(" ", "").startswith("*") and "," not in field:
        return field.replace(" ", "")
    return ",".join(map(str, numbers))


def _numbers(kind: _Kind, field: Field) -> set[int]:
    if isinstance(field, bool):
        raise _refusal(kind, field)
    if isinstance(field, int):
        found = {field}
    elif isinstance(field, str):
        found = {number for part in field.lower().replace(" ", "").split(",") for number in _part(kind, part)}
    elif isinstance(field, Iterable):
        found = set(field)
    else:
        raise _refusal(kind, field)
    given: set[object] = {*found}  # what a caller's collection holds may be anything
    if not given or not all(isinstance(one, int) and kind.first <= one <= kind.last for one in given):
        raise _refusal(kind, field)
    return found


def _part(kind: _Kind, part: str) -> list[int]:
    """``*``, ``5``, ``mon``, ``1-5``, ``fri-mon``, each maybe with ``/step``."""
    span, slash, step = part.partition("/")
    if slash and (not step.isdecimal() or int(step) == 0):
        raise _refusal(kind, part)
    first, dash, last = span.partition("-")
    if span == "*":
        numbers = list(range(kind.first, kind.last + 1))
    elif not dash:
        numbers = [_number(kind, span)]
    else:
        low, high = _number(kind, first), _number(kind, last)
        above = list(range(low, (kind.last if high < low else high) + 1))
        numbers = above + (list(range(kind.first, high + 1)) if high < low else [])
    return numbers[:: int(step)] if slash else numbers


def _number(kind: _Kind, word: str) -> int:
    number = int(word) if word.isdecimal() and word.isascii() else kind.names.get(word[:3], -1)
    if kind is _WEEKDAY and number == 7:
        return 0  # Celery has no such day; cron's users write it
    if not kind.first <= number <= kind.last:
        raise _refusal(kind, word)
    return number


def _refusal(kind: _Kind, what: object) -> ConfigError:
    names = f" or names ({', '.join(kind.names)})" if kind.names else ""
    return ConfigError(
        f"crontab({kind.name}={what!r}): it takes numbers from {kind.first} to {kind.last}{names}, ranges such as 1-5, steps such as */2, "
        "and several of them with commas between"
    )
