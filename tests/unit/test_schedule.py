"""Ticks: against cronsim, against every nominal rule, and where clocks change."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from umbel import ConfigError, at, cron, crontab, every
from umbel.clock import to_ms
from umbel.schedule import COUNTED, Cron, When

ZONES = ["Europe/Moscow", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


def ms(*moment: int, tz: str = "UTC") -> int:
    return to_ms(datetime(*moment, tzinfo=ZoneInfo(tz)))


def local(when: When, *ticks: int) -> list[str]:
    return [datetime.fromtimestamp(tick / 1000, when.zone).strftime("%m-%d %H:%M%z") for tick in ticks]


def shown(when: When, after: int, count: int) -> list[str]:
    return local(when, *when.ticks(after, count))


# -- daylight saving, by hand


@pytest.mark.parametrize(
    ("fields", "tz", "after", "expected"),
    [
        # New York, 8 March 2026: 2:00 becomes 3:00
        ("30 2 * * *", "America/New_York", (2026, 3, 7, 3), ["03-08 03:00-0400", "03-09 02:30-0400"]),
        ("0 3 * * *", "America/New_York", (2026, 3, 7, 4), ["03-08 03:00-0400", "03-09 03:00-0400"]),
        ("30 * * * *", "America/New_York", (2026, 3, 8, 1), ["03-08 01:30-0500", "03-08 03:30-0400"]),
        ("*/30 2 * * *", "America/New_York", (2026, 3, 7, 3), ["03-09 02:00-0400", "03-09 02:30-0400"]),
        # 1 November 2026: 2:00 becomes 1:00
        ("30 1 * * *", "America/New_York", (2026, 10, 31, 2), ["11-01 01:30-0400", "11-02 01:30-0500"]),
        ("30 * * * *", "America/New_York", (2026, 11, 1, 0, 45), ["11-01 01:30-0400", "11-01 01:30-0500", "11-01 02:30-0500"]),
        ("0 2 * * *", "America/New_York", (2026, 10, 31, 3), ["11-01 02:00-0500", "11-02 02:00-0500"]),
        # Lord Howe, 4 October 2026: 2:00 becomes 2:30; 5 April 2026: 2:00 becomes 1:30
        ("15 2 * * *", "Australia/Lord_Howe", (2026, 10, 3, 3), ["10-04 02:30+1100", "10-05 02:15+1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", (2026, 4, 4, 2), ["04-05 01:45+1100", "04-06 01:45+1030"]),
        # Moscow has had no summer time since 2014
        ("30 2 * * *", "Europe/Moscow", (2026, 3, 28, 3), ["03-29 02:30+0300", "03-30 02:30+0300"]),
    ],
)
def test_where_clocks_change(fields: str, tz: str, after: tuple[int, ...], expected: list[str]) -> None:
    assert shown(cron(fields, tz), ms(*after, tz=tz), len(expected)) == expected


# -- ten years against cronsim, and against the nominal rule

RULES = ["30 2 * * *", "15 2 * * *", "45 1 * * *", "0 0 * * *", "0 3 * * 1-5", "30 1,2 1,15 * *", "*/30 1-3 * * 0", "5 4 L * *"]


@pytest.mark.parametrize(("tz", "fields"), [*itertools.product(ZONES[:3], RULES), (ZONES[3], RULES[0])])
def test_ten_years_as_cronsim_has_them(fields: str, tz: str) -> None:
    """One after the other from the tick before, as schedules are fired, they are those of cronsim in one go."""
    begin, end = datetime(2020, 1, 1, tzinfo=ZoneInfo(tz)), ms(2030, 1, 1)
    when, expected = cron(fields, tz), []
    for tick in CronSim(fields, begin):
        if to_ms(tick) > end:
            break
        expected.append(to_ms(tick))
    found = [to_ms(begin)]
    while (tick_ms := when.next_after(found[-1])) is not None and tick_ms <= end:
        found.append(tick_ms)
    assert found[1:] == sorted(set(expected)), "the same ones, each once"


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize(("hour", "minute"), [(0, 0), (1, 45), (2, 15), (3, 0)])
def test_ten_years_of_a_daily_rule(tz: str, hour: int, minute: int) -> None:
    """Each day has one, at its nominal time; or, where that is skipped, within the hour after the gap."""
    zone, when = ZoneInfo(tz), cron(f"{minute} {hour} * * *", tz)
    tick = ms(2020, 1, 1) - DAY
    day = datetime(2020, 1, 1).date()  # noqa: DTZ001 - a date
    while datetime.fromtimestamp(tick / 1000, zone).date() < day:
        tick = when.next_after(tick) or 0
    while day.year < 2030:
        there = datetime.fromtimestamp(tick / 1000, zone)
        nominal = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        exists = nominal.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == nominal.replace(tzinfo=None)
        assert there.date() == day, "a day without, or a day with two"
        if exists:
            assert tick == to_ms(nominal), "the first pass, where there are two"
        else:
            assert timedelta() < there.replace(tzinfo=None) - nominal.replace(tzinfo=None) <= timedelta(hours=1)
        tick, day = when.next_after(tick) or 0, day + timedelta(days=1)


def changes_of(tz: str) -> list[int]:
    """The moments at which the clocks of a zone are changed, within ten years."""
    zone, hours = ZoneInfo(tz), range(ms(2020, 1, 1), ms(2030, 1, 1), HOUR)
    offsets = [(hour, datetime.fromtimestamp(hour // SECOND, zone).utcoffset()) for hour in hours]
    return [after for (_, before_it), (after, then) in itertools.pairwise(offsets) if before_it != then]


CHANGES = [(tz, change) for tz in ZONES for change in changes_of(tz)]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(RULES + ["30 * * * *", "*/7 * * * *", "10 1-3 * * *", "50 0,1,2,3 * * *"]),
    st.sampled_from(CHANGES),
    st.integers(-4 * HOUR, 4 * HOUR),
    st.integers(0, 2 * DAY),
)
def test_the_next_one_does_not_depend_on_who_asks_when(fields: str, change: tuple[str, int], near: int, before: int) -> None:
    """Also from within a repeated hour: nothing is found that lies between, and nothing that is over."""
    # Where clocks are set back by half an hour, cronsim passes over the minute of an hourly rule that comes a second time, unless it is
    # asked in the very second before. All who ask from the same tick find the same, and that is what matters here.
    assume(fields != "30 * * * *" or change[0] != "Australia/Lord_Howe")
    when, moment = cron(fields, change[0]), change[1] + near
    tick = when.next_after(moment)
    assert tick is not None and tick > moment
    earlier = when.next_after(moment - before)
    while earlier is not None and earlier <= moment:
        earlier = when.next_after(earlier)
    assert earlier == tick


def test_intervals_are_not_disturbed_by_a_change_of_clocks() -> None:
    when = cron("*/10 * * * *", "America/New_York")
    for begin in (ms(2026, 3, 8, 5), ms(2026, 11, 1, 4)):
        ticks = when.ticks(begin, 30)
        assert {b - a for a, b in itertools.pairwise(ticks)} == {10 * MINUTE}


# -- every, at, start, end, jitter


def test_intervals_are_multiples_whatever_happens() -> None:
    assert every(3600).ticks(ms(2026, 1, 1, 5, 17), 2) == [ms(2026, 1, 1, 6), ms(2026, 1, 1, 7)]
    start = datetime(2026, 1, 1, 0, 7, tzinfo=UTC)
    counted = every(timedelta(hours=6), start=start)
    assert counted.ticks(0, 2) == [to_ms(start), to_ms(start) + 6 * HOUR]
    assert counted.ticks(to_ms(start) + 6 * HOUR - 1, 1) == [to_ms(start) + 6 * HOUR]


def test_start_and_end() -> None:
    when = cron("0 12 * * *", start=datetime(2026, 1, 2, 12, tzinfo=UTC), end=datetime(2026, 1, 4, 12, tzinfo=UTC))
    assert when.ticks(0, 9) == [ms(2026, 1, day, 12) for day in (2, 3, 4)]
    assert when.newest(0, ms(2027, 1, 1)) == (ms(2026, 1, 4, 12), 2)


def test_once() -> None:
    when = at(datetime(2026, 5, 1, 9, tzinfo=ZoneInfo("Europe/Moscow")))
    assert when.ticks(0, 5) == [ms(2026, 5, 1, 6)]
    assert when.next_after(ms(2026, 5, 1, 6)) is None


def test_jitter_is_the_same_for_all_who_ask() -> None:
    when = every(60, jitter=20)
    delays = [when.delay("s", tick) for tick in when.ticks(0, 500)]
    assert delays == [when.delay("s", tick) for tick in when.ticks(0, 500)]
    assert 0 <= min(delays) < 2 * SECOND
    assert 18 * SECOND < max(delays) <= 20 * SECOND
    assert every(60).delay("s", 60_000) == 0


@pytest.mark.parametrize("when", [every(1), cron("* * * * *"), cron("30 2 * * *", "America/New_York"), cron("0 0 29 2 *")])
@pytest.mark.parametrize("span", [0, 5 * SECOND, HOUR, 3 * DAY, 900 * DAY])
def test_the_newest_that_is_over(when: When, span: int) -> None:
    now = ms(2026, 6, 15, 12, 30)
    found = when.newest(now - span, now)
    if span > 3 * DAY and when != cron("0 0 29 2 *") and not isinstance(when.rule, Cron):
        assert found == (now, COUNTED)
        return
    expected, tick = [], now - span
    while (tick := when.next_after(tick) or now + 1) <= now and len(expected) < 5000:
        expected.append(tick)
    if not expected:
        assert found is None
    elif len(expected) < 5000:
        assert found == (expected[-1], min(len(expected) - 1, COUNTED))
    else:
        assert found == (now, COUNTED)


# -- crontab


@pytest.mark.parametrize(
    ("mine", "cron8"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute=0, hour="*/3"), "0 */3 * * *"),
        (crontab(0, 0, day_of_month="1-7,15-21"), "0 0 1,2,3,4,5,6,7,15,16,17,18,19,20,21 * *"),
        (crontab(minute="*/10", hour="3,17,22", day_of_week="thu,fri"), "*/10 3,17,22 * * 4,5"),
        (crontab(0, 0, day_of_week="Friday-Monday"), "0 0 * * 0,1,5,6"),
        (crontab(0, "22-2", month_of_year="nov-feb"), "0 0,1,2,22,23 * 1,2,11,12 *"),
        (crontab(minute={30, 0}, hour=[4]), "0,30 4 * * *"),
        (crontab(minute="10-40/15"), "10,25,40 * * * *"),
    ],
)
def test_crontab_as_cron(mine: When, cron8: str) -> None:
    assert mine.rule == Cron(cron8)


def test_crontab_wants_both_days() -> None:
    """Celery's rule, not cron's: the 13th, if it is a Friday."""
    when = crontab(0, 0, day_of_week="fri", day_of_month=13)
    assert shown(when, ms(2026, 1, 1), 4) == ["02-13 00:00+0000", "03-13 00:00+0000", "11-13 00:00+0000", "08-13 00:00+0000"]
    assert shown(cron("0 0 13 * 5"), ms(2026, 1, 1), 2) == ["01-02 00:00+0000", "01-09 00:00+0000"], "cron wants one of them"


# -- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cron("61 * * * *"), "bad minute"),
        (lambda: cron("* * *"), "wrong number of fields"),
        (lambda: cron("0 0 30 2 *"), "day-of-month"),
        (lambda: cron("0 0 * * *", "Mars/Olympus"), "no such time zone"),
        (lambda: cron("0 0 * * *", "../../etc/passwd"), "no such time zone"),
        (lambda: cron(5), "must be text"),
        (lambda: cron("* * * * *", missed="some"), "'one', 'all' or 'skip'"),
        (lambda: cron("* * * * *", overlap="no"), "True or False"),
        (lambda: cron("* * * * *", jitter=-1), "seconds"),
        (lambda: cron("* * * * *", start=datetime(2026, 1, 1)), "time zone"),  # noqa: DTZ001 - a naive one is what is refused
        (lambda: cron("* * * * *", start=datetime(2026, 1, 2, tzinfo=UTC), end=datetime(2026, 1, 1, tzinfo=UTC)), "before start"),
        (lambda: every(0), "at least 0.001"),
        (lambda: every("30"), "seconds"),
        (lambda: every(30, jitter=30), "less than the span"),
        (lambda: at(30), "datetime"),
        (lambda: crontab(minute="60"), "0 to 59"),
        (lambda: crontab(hour="mon"), "0 to 23"),
        (lambda: crontab(day_of_week="*/0"), "day_of_week"),
        (lambda: crontab(day_of_month=()), "day_of_month"),
        (lambda: crontab(minute=True), "minute"),
        (lambda: crontab(minute=1.5), "minute"),
    ],
)
def test_refused(make, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_it_travels() -> None:
    for when in (crontab(0, 0, day_of_week="fri", day_of_month=13), every(5, jitter=1, missed="all", overlap=False), at(datetime.now(UTC))):
        assert msgspec.json.decode(msgspec.json.encode(when), type=When) == when
