"""When something recurs: what users write (``cron``, ``every``, ``at``, Celery's ``crontab``), and the ticks that follow from it.

A *tick* is a moment, in whole ms of UTC. Everything here is pure: the ticks of a :class:`When` depend on nothing but itself and
the time zones of this machine, so every supervisor that looks at the same definition finds the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, NamedTuple
from zlib import crc32

import msgspec

from .clock import seconds, to_ms
from .errors import ConfigError

Missed = Literal["one", "all", "skip"]
MISSED = ("one", "all", "skip")
COUNTED = 1000
"""Missed ticks are counted up to so many: a schedule of every second has 86,400 of them after a day."""
_HORIZON = 50
"""Years ahead in which the next tick is looked for; cronsim's own bound."""
_LOOK_BACK = (3_600_000, 86_400_000, 8 * 86_400_000, 32 * 86_400_000, 400 * 86_400_000)
"""Ms: the spans in which the newest tick of a cron rule is looked for, one after the other."""


class Cron(msgspec.Struct, frozen=True, tag="cron", omit_defaults=True):
    """Five fields as of cron(8), or six with seconds before them."""

    fields: str
    tz: str = ""
    """Empty until the app's ``timezone`` is filled in."""
    weekdays: tuple[int, ...] = ()
    """Celery's rule: of the days that ``fields`` names only these count (0 is Sunday). Empty: all."""


class Every(msgspec.Struct, frozen=True, tag="every"):
    """Multiples of a span since ``When.start``, or else since 1970 in UTC."""

    ms: int


class At(msgspec.Struct, frozen=True, tag="at"):
    """One moment."""

    ms: int


class When(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What :func:`cron`, :func:`every`, :func:`at` and :func:`crontab` make. Times and spans in ms."""

    rule: Cron | Every | At
    missed: str = "one"
    overlap: bool = True
    jitter: int = 0
    start: int = 0
    end: int = 0

    def in_zone(self, name: str) -> When:
        """With the app's time zone where none was said. ``ConfigError`` if this machine does not know it."""
        if not isinstance(self.rule, Cron):
            return self
        filled = msgspec.structs.replace(self.rule, tz=self.rule.tz or name)
        zone_of(filled.tz)
        return msgspec.structs.replace(self, rule=filled)

    def rule_text(self) -> str:
        """What decides which ticks there are: two of the same text have the same ticks."""
        return msgspec.json.encode([self.rule, self.start, self.end]).decode()

    def next_after(self, moment: int) -> int | None:
        """The first tick later than ``moment`` (ms); None if there is none any more."""
        if self.start:
            moment = max(moment, self.start - 1)
        tick: int | None
        match self.rule:
            case At(ms):
                tick = ms if ms > moment else None
            case Every(ms):
                base = self.start
                tick = base + ((moment - base) // ms + 1) * ms
            case _:
                tick = _next_of_cron(self.rule, moment)
        return None if tick is None or (self.end and tick > self.end) else tick

    def newest(self, after: int, now: int) -> tuple[int, int] | None:
        """The last tick later than ``after`` and not later than ``now``, and how many there are before it in that span (counted
        up to ``COUNTED``); None if there is none."""
        first = self.next_after(after)
        if first is None or first > now:
            return None
        last, before = first, 0
        while before < COUNTED and (tick := self.next_after(last)) is not None and tick <= now:
            last, before = tick, before + 1
        if before == COUNTED:
            last = self._last_until(last, now)
        return last, before

    def _last_until(self, known: int, now: int) -> int:
        """The last tick until ``now``, where ``known`` is one. Looked for near the end first: it may be a million ticks away."""
        until = min(now, self.end) if self.end else now
        if isinstance(self.rule, Every):
            return self.start + (until - self.start) // self.rule.ms * self.rule.ms
        for span in (*_LOOK_BACK, until - known):
            last = max(known, until - span)
            found = False
            while (tick := self.next_after(last)) is not None and tick <= now:
                last, found = tick, True
            if found:
                return last
        return known

    def ticks(self, after: int, count: int) -> list[int]:
        """The next ``count`` ticks later than ``after``, or fewer."""
        found: list[int] = []
        while len(found) < count and (tick := self.next_after(found[-1] if found else after)) is not None:
            found.append(tick)
        return found

    def delay(self, name: str, tick: int) -> int:
        """By how many ms a tick of the schedule ``name`` is fired later for the sake of ``jitter``: random, but the same for all
        who ask."""
        return crc32(f"{name}:{tick}".encode()) % (self.jitter + 1) if self.jitter else 0

    def text(self) -> str:
        """As a person reads it."""
        match self.rule:
            case Cron(fields, tz, weekdays):
                only = f", only on weekdays {','.join(map(str, weekdays))}" if weekdays else ""
                return f"cron {fields}{only} ({tz or 'time zone of the app'})"
            case Every(ms):
                return f"every {timedelta(milliseconds=ms)}"
            case At(ms):
                return f"at {datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=' ')}"

    @property
    def zone(self) -> tzinfo:
        """In which its times are shown."""
        return zone_of(self.rule.tz) if isinstance(self.rule, Cron) and self.rule.tz else UTC


class _Options(NamedTuple):
    """What all four makers take, checked."""

    missed: str
    overlap: bool
    jitter: int
    start: int
    end: int

    def of(self, rule: Cron | Every | At) -> When:
        return When(rule=rule, **self._asdict())


def cron(
    fields: str,
    tz: str | None = None,
    *,
    missed: Missed = "one",
    overlap: bool = True,
    jitter: float | timedelta = 0,
    start: datetime | None = None,
    end: datetime | None = None,
) -> When:
    """As cron(8) has it: ``cron("30 2 * * *", tz="Europe/Moscow")``; six fields begin with seconds. Without ``tz`` in the app's
    ``timezone``.

    Daylight saving as in Debian's cron: a time that is skipped fires once right after the gap, one that is repeated fires at its
    first pass, and fields that begin with ``*`` for minutes or hours are intervals, which nothing disturbs.

    ``missed``: what follows when nobody was there at a tick: fire ``"one"`` for all of them, ``"all"``, or none (``"skip"``) that is
    more than 60 s late. ``overlap=False``: a tick is skipped while the call of the last one waits or runs. ``jitter``: fire up to so
    many seconds later, at random. ``start``, ``end``: no tick before, none after; aware datetimes. Raises ``ConfigError``.
    """
    checked = _options("cron()", missed, overlap, jitter, start, end)
    if tz is not None:
        zone_of(tz)
    _check_fields(fields)
    return checked.of(Cron(" ".join(fields.split()), tz or ""))


def every(
    span: float | timedelta,
    *,
    missed: Missed = "one",
    overlap: bool = True,
    jitter: float | timedelta = 0,
    start: datetime | None = None,
    end: datetime | None = None,
) -> When:
    """Each ``span`` (seconds or a ``timedelta``; at least 1 ms), counted from ``start``, else from 1970 in UTC: ``every(3600)`` is each
    full hour, whatever is deployed or restarted. The others as of :func:`cron`; ``jitter`` must be less than the span."""
    checked = _options("every()", missed, overlap, jitter, start, end)
    ms = _span_ms("every()", "span", span)
    if ms < 1:
        raise ConfigError(f"every({span!r}): it must be at least 0.001 s")
    if checked.jitter >= ms:
        raise ConfigError(f"every({span!r}, jitter={jitter!r}): jitter must be less than the span, or ticks would pass each other")
    return checked.of(Every(ms))


def at(moment: datetime, *, missed: Missed = "one", jitter: float | timedelta = 0) -> When:
    """Once, at ``moment`` (aware). A moment that is over when the schedule is first stored is not made up for."""
    ms = _moment_ms("at()", "moment", moment)
    return _options("at()", missed, True, jitter, None, None).of(At(ms))


def _options(
    who: str, missed: object, overlap: object, jitter: float | timedelta, start: datetime | None, end: datetime | None
) -> _Options:
    if missed not in MISSED:
        raise ConfigError(f"{who}: missed = {missed!r}: it must be 'one', 'all' or 'skip'")
    if not isinstance(overlap, bool):
        raise ConfigError(f"{who}: overlap = {overlap!r}: it must be True or False")
    first, last = (0 if one is None else _moment_ms(who, name, one) for name, one in (("start", start), ("end", end)))
    if first and last and last < first:
        raise ConfigError(f"{who}: end = {end} is before start = {start}")
    return _Options(str(missed), overlap, _span_ms(who, "jitter", jitter), first, last)


def _span_ms(who: str, name: str, span: object) -> int:
    if isinstance(span, bool) or not isinstance(span, int | float | timedelta) or not 0 <= seconds(span) < 1e10:
        raise ConfigError(f"{who}: {name} = {span!r}: it must be seconds (0 or more) or a timedelta")
    return round(seconds(span) * 1000)


def _moment_ms(who: str, name: str, moment: object) -> int:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigError(f"{who}: {name} = {moment!r}: it must be a datetime with a time zone, such as datetime(2026, 1, 31, tzinfo=UTC)")
    return max(1, to_ms(moment))


# -- cron


@lru_cache(maxsize=100)
def zone_of(name: str) -> tzinfo:
    """A time zone by its name. ``ConfigError`` if this machine does not know it."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise ConfigError(
            f"tz = {name!r}: this machine knows no such time zone (Debian: apt install tzdata; or pip install tzdata)"
        ) from None


def _check_fields(fields: object) -> None:
    from cronsim import CronSim, CronSimError

    if not isinstance(fields, str):
        raise ConfigError(f"cron({fields!r}): it must be text of five fields, such as '30 2 * * *'")
    try:
        sim = CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC))
        next(sim)
    except CronSimError as exc:
        raise ConfigError(f"cron({fields!r}): {str(exc).lower()}; it is minute hour day-of-month month day-of-week") from None
    except StopIteration:
        raise ConfigError(f"cron({fields!r}): there is no such day in {_HORIZON} years") from None


def _next_of_cron(rule: Cron, moment: int) -> int | None:
    return next((ms for ms in _ticks_of_cron(rule, moment) if ms > moment), None)


def _ticks_of_cron(rule: Cron, moment: int) -> Iterator[int]:
    """Ticks around ``moment`` and later. In a repeated hour cronsim begins with times of the first pass, which are over."""
    from cronsim import CronSim

    try:
        begin = datetime.fromtimestamp(moment // 1000, zone_of(rule.tz or "UTC"))
        for tick in CronSim(rule.fields, begin):
            if tick.year > begin.year + _HORIZON:
                return
            if not rule.weekdays or tick.isoweekday() % 7 in rule.weekdays:
                yield to_ms(tick)
    except (OverflowError, ValueError):  # beyond the year 9999
        return
