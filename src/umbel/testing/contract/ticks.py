"""What ``Ticks`` promises: definitions kept, the newer release's in force, and each tick fired once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ...envelope import TRACKED
from ...facets import Inspects, Remembers, State, require
from ...outcome import Dead, Done, Released, Retry
from ...ticks import MAX_FIRINGS, Entry, Firing, Origin, Planned, Shot, Ticks, Timetable
from .harness import Hand, Harness, counts, envelope, ids, needs, several

TTL = 600.0
"""Seconds for which a set in force stays so in a test."""
LAPSE = 0.05
"""Seconds of one that a test means to outlive."""


def ticks_of(harness: Harness) -> Ticks:
    return require(harness.broker(), Ticks)


def plan(name: str, rule: str = "rule", definition: str = "definition") -> Planned:
    return Planned(name, rule, definition.encode())


def names(table: Timetable, origin: Origin | None = None) -> list[str]:
    return [one.name for one in table.entries if origin in (None, one.origin)]


def entry(ticks: Ticks, name: str = "s") -> Entry:
    return next(one for one in ticks.timetable().entries if one.name == name)


def added(harness: Harness, name: str = "s") -> tuple[Ticks, Entry]:
    """A schedule, a little in the past of the store's clock."""
    ticks = ticks_of(harness)
    assert ticks.add_schedule(plan(name))
    harness.advance(100)
    return ticks, entry(ticks, name)


def shoot(ticks: Ticks, one: Entry, after: int = 1, **more: object) -> Firing:
    """A firing of the tick that many ms after what is done."""
    more.setdefault("envelope", envelope())
    return Firing(one.name, one.revision, one.done + after, **more)  # type: ignore[arg-type]  # what tests say by name


def fire(ticks: Ticks, *firings: Firing) -> list[Shot]:
    return [one.shot for one in ticks.fire(firings)[1]]


class TestSchedules:
    @needs(Ticks)
    def test_none_at_first(self, harness: Harness) -> None:
        table = ticks_of(harness).timetable()
        assert (table.entries, table.revision, table.stamp) == ([], 0, "")
        assert table.now >= harness.broker().ping() - 60_000

    @needs(Ticks)
    def test_one_that_was_added(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        before = ticks.timetable().now
        assert ticks.add_schedule(Planned("ünit\x7f", "a rule", b"\x00any bytes\xff"))
        table = ticks_of(harness).timetable()
        [one] = table.entries
        assert (one.name, one.rule, one.definition, one.origin) == ("ünit\x7f", "a rule", b"\x00any bytes\xff", Origin.RUNTIME)
        assert (one.paused, one.fired, one.overlapped, one.missed, one.last_tick, one.last_fired, one.last_id) == (False, 0, 0, 0, 0, 0, "")
        assert before <= one.done <= table.now
        assert 0 < one.revision <= table.revision

    @needs(Ticks)
    def test_by_name(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        for name in ("b", "ä", "a", "{c}", "c:d"):
            ticks.add_schedule(plan(name))
        assert names(ticks.timetable()) == sorted(["b", "ä", "a", "{c}", "c:d"])

    @needs(Ticks)
    def test_adding_does_not_replace_unless_told_to(self, harness: Harness) -> None:
        ticks, one = added(harness)
        assert not ticks.add_schedule(plan("s", "another"))
        assert entry(ticks) == one
        assert ticks.add_schedule(plan("s", one.rule, "new words"), replace=True)
        changed = entry(ticks)
        assert (changed.done, changed.definition) == (one.done, b"new words")
        assert changed.revision > one.revision
        assert ticks.add_schedule(plan("s", "another rule"), replace=True)
        assert entry(ticks).done > one.done, "a new rule has no ticks in the past"

    @needs(Ticks)
    def test_replacing_by_the_same_changes_nothing(self, harness: Harness) -> None:
        ticks, one = added(harness)
        assert ticks.add_schedule(plan("s"), replace=True)
        assert entry(ticks) == one

    @needs(Ticks)
    def test_removing(self, harness: Harness) -> None:
        ticks, one = added(harness)
        before = ticks.timetable().revision
        assert ticks.remove_schedule("s")
        assert not ticks.remove_schedule("s")
        table = ticks.timetable()
        assert (table.entries, table.revision > before) == ([], True)
        assert fire(ticks, shoot(ticks, one)) == [Shot.CHANGED]
        assert ticks.add_schedule(plan("s"))
        assert entry(ticks).fired == 0
        assert fire(ticks, shoot(ticks, one)) == [Shot.CHANGED], "of another schedule of that name"

    @needs(Ticks)
    def test_pausing_and_resuming(self, harness: Harness) -> None:
        ticks, one = added(harness)
        assert not ticks.pause_schedule("unknown", True)
        assert ticks.pause_schedule("s", True)
        paused = entry(ticks)
        assert (paused.paused, paused.done) == (True, one.done)
        assert ticks.pause_schedule("s", True)
        assert entry(ticks) == paused
        assert fire(ticks, shoot(ticks, paused)) == [Shot.CHANGED]
        assert ticks.pause_schedule("s", False)
        resumed = entry(ticks)
        assert not resumed.paused
        assert resumed.done > one.done, "what fell into the pause is not made up for"
        assert fire(ticks, shoot(ticks, paused)) == [Shot.CHANGED]

    @needs(Ticks)
    def test_the_heartbeat_tells_of_changes(self, harness: Harness) -> None:
        broker, ticks = harness.broker(), ticks_of(harness)
        assert broker.renew("w1", TTL).ticks == 0
        seen = [0]
        changes: tuple[Callable[[], bool], ...] = (
            lambda: ticks.add_schedule(plan("s")),
            lambda: ticks.add_schedule(plan("s", "other"), replace=True),
            lambda: ticks.pause_schedule("s", True),
            lambda: ticks.pause_schedule("s", False),
            lambda: ticks.declare_schedules("one", TTL, 0, [plan("t")]),
            lambda: ticks.remove_schedule("s"),
        )
        for change in changes:
            assert change()
            seen.append(broker.renew("w1", TTL).ticks)
            assert seen[-1] == ticks.timetable().revision
        assert seen == sorted(set(seen)), "it rises with each change"
        harness.advance(10)
        fire(ticks, shoot(ticks, entry(ticks, "t")))
        assert broker.renew("w1", TTL).ticks == seen[-1], "a tick changes no definition"


class TestFiring:
    @needs(Ticks)
    def test_a_tick_is_a_message(self, harness: Harness) -> None:
        ticks, one = added(harness)
        sent = envelope("the tick", queue="reports", priority=7)
        now, [fired] = ticks.fire([shoot(ticks, one, 5, envelope=sent, missed=3)])
        assert (fired.shot, fired.done) == (Shot.FIRED, one.done + 5)
        after = entry(ticks)
        assert (after.done, after.fired, after.missed, after.overlapped) == (one.done + 5, 1, 3, 0)
        assert (after.last_tick, after.last_fired, after.last_id) == (one.done + 5, now, "the tick")
        assert after.revision == one.revision
        delivery = Hand(harness.broker()).claim_one("reports")
        assert (delivery.envelope.id, delivery.envelope.body, delivery.envelope.priority) == ("the tick", sent.body, 7)

    @needs(Ticks)
    def test_once(self, harness: Harness) -> None:
        ticks, one = added(harness)
        other = ticks_of(harness)
        assert fire(ticks, shoot(ticks, one, 5)) == [Shot.FIRED]
        _, [second] = other.fire([shoot(ticks, one, 5)])
        assert (second.shot, second.done) == (Shot.TAKEN, one.done + 5)
        assert fire(other, shoot(ticks, one, 4)) == [Shot.TAKEN], "it is not later than the last one"
        assert fire(other, shoot(ticks, one, 6)) == [Shot.FIRED]
        assert counts(harness.broker())[0] == 2

    @needs(Ticks)
    def test_twice_in_one_call_is_once(self, harness: Harness) -> None:
        ticks, one = added(harness)
        assert fire(ticks, shoot(ticks, one), shoot(ticks, one), shoot(ticks, one, 2)) == [Shot.FIRED, Shot.TAKEN, Shot.FIRED]
        assert counts(harness.broker())[0] == 2

    @needs(Ticks)
    def test_not_before_its_time(self, harness: Harness) -> None:
        ticks, one = added(harness)
        now, [fired] = ticks.fire([shoot(ticks, one, 3_600_000)])
        assert (fired.shot, fired.done) == (Shot.FUTURE, one.done)
        assert one.done < now < one.done + 3_600_000
        assert entry(ticks) == one
        assert counts(harness.broker()) == (0, 0, 0, 0)
        assert fire(ticks, Firing("s", one.revision, now, envelope())) == [Shot.FIRED], "at its time it is"

    @needs(Ticks)
    def test_not_by_an_older_definition(self, harness: Harness) -> None:
        ticks, one = added(harness)
        ticks.add_schedule(plan("s", one.rule, "newer"), replace=True)
        assert fire(ticks, shoot(ticks, one)) == [Shot.CHANGED]
        assert fire(ticks, shoot(ticks, entry(ticks))) == [Shot.FIRED]

    @needs(Ticks)
    def test_unknown(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        _, [fired] = ticks.fire([Firing("nobody's", 1, 1, envelope())])
        assert (fired.shot, fired.done) == (Shot.CHANGED, 0)
        assert counts(harness.broker()) == (0, 0, 0, 0)

    @needs(Ticks)
    def test_nothing_to_send(self, harness: Harness) -> None:
        """What is given up moves the plan, and sends nothing."""
        ticks, one = added(harness)
        assert fire(ticks, shoot(ticks, one, 7, envelope=None, missed=2)) == [Shot.FIRED]
        after = entry(ticks)
        assert (after.done, after.fired, after.missed, after.last_id) == (one.done + 7, 0, 2, "")
        assert counts(harness.broker()) == (0, 0, 0, 0)

    @needs(Ticks)
    def test_each_firing_stands_for_itself(self, harness: Harness) -> None:
        ticks, one = added(harness)
        ticks.add_schedule(plan("t"))
        harness.advance(50)
        shots = fire(
            ticks, shoot(ticks, one, 99_999_999), Firing("u", 1, 1, envelope()), shoot(ticks, entry(ticks, "t")), shoot(ticks, one)
        )
        assert shots == [Shot.FUTURE, Shot.CHANGED, Shot.FIRED, Shot.FIRED]
        assert counts(harness.broker())[0] == 2

    @needs(Ticks)
    def test_none_and_too_many(self, harness: Harness) -> None:
        ticks, one = added(harness)
        assert ticks.fire([])[1] == []
        with pytest.raises(ValueError):
            ticks.fire([shoot(ticks, one)] * (MAX_FIRINGS + 1))
        assert fire(ticks, *[shoot(ticks, one, n + 1, envelope=None) for n in range(MAX_FIRINGS)]) == [Shot.FIRED] * MAX_FIRINGS

    @needs(Ticks, name="live_harness")
    def test_it_wakes_who_waits(self, live_harness: Harness) -> None:
        ticks, one = added(live_harness)
        broker = live_harness.broker()
        assert not broker.wait(["q"], 0.01)
        fire(ticks, shoot(ticks, one))
        assert broker.wait(["q"], 5)


class TestOverlap:
    @needs(Ticks, Remembers)
    @pytest.mark.parametrize("state", ["waits", "runs", "is retried", "is put off", "is given back"])
    def test_not_while_the_last_one_goes_on(self, harness: Harness, state: str) -> None:
        ticks, one = added(harness)
        hand = Hand(harness.broker())
        assert fire(ticks, shoot(ticks, one, 1, envelope=envelope("first", flags=TRACKED), alone=True)) == [Shot.FIRED]
        if state != "waits":
            delivery = hand.claim_one()
            if state == "is retried":
                hand.settle(delivery, Retry(60_000))
            elif state == "is put off":
                hand.settle(delivery, Released(60_000, parked=True))
            elif state == "is given back":
                harness.broker().give_back(hand.name, [delivery.receipt])
        _, [fired] = ticks.fire([shoot(ticks, one, 2, envelope=envelope(flags=TRACKED), alone=True)])
        assert (fired.shot, fired.done) == (Shot.OVERLAPS, one.done + 2)
        after = entry(ticks)
        assert (after.fired, after.overlapped, after.last_id, after.last_tick) == (1, 1, "first", one.done + 1)
        assert sum(counts(harness.broker())) == 1

    @needs(Ticks, Remembers)
    @pytest.mark.parametrize("end", ["done", "dead", "cancelled", "purged"])
    def test_but_after_its_end(self, harness: Harness, end: str) -> None:
        ticks, one = added(harness)
        broker, hand = harness.broker(), Hand(harness.broker())
        fire(ticks, shoot(ticks, one, 1, envelope=envelope("first", flags=TRACKED), alone=True))
        if end == "cancelled":
            require(broker, Inspects).cancel("first")
        elif end == "purged":
            broker.purge("q")
        else:
            hand.settle(hand.claim_one(), Done() if end == "done" else Dead("failed"))
        assert fire(ticks, shoot(ticks, one, 2, envelope=envelope("second", flags=TRACKED), alone=True)) == [Shot.FIRED]
        assert (entry(ticks).fired, entry(ticks).last_id) == (2, "second")

    @needs(Ticks, Remembers)
    def test_one_that_was_redriven_goes_on_again(self, harness: Harness) -> None:
        ticks, one = added(harness)
        broker, hand = harness.broker(), Hand(harness.broker())
        fire(ticks, shoot(ticks, one, 1, envelope=envelope("first", flags=TRACKED), alone=True))
        hand.settle(hand.claim_one(), Dead("failed"))
        require(broker, Inspects).redrive(["first"])
        record = require(broker, Remembers).record("first")
        assert record is not None and record.state == State.PENDING
        assert fire(ticks, shoot(ticks, one, 2, envelope=envelope(flags=TRACKED), alone=True)) == [Shot.OVERLAPS]

    @needs(Ticks, Remembers)
    def test_others_may_overlap(self, harness: Harness) -> None:
        ticks, one = added(harness)
        fire(ticks, shoot(ticks, one, 1, envelope=envelope(flags=TRACKED)))
        assert fire(ticks, shoot(ticks, one, 2, envelope=envelope(flags=TRACKED))) == [Shot.FIRED]
        assert len(ids(Hand(harness.broker()).claim())) == 2

    @needs(Ticks)
    def test_a_whole_call_of_messages(self, harness: Harness) -> None:
        ticks, one = added(harness)
        sent = several(50)
        assert fire(ticks, *[shoot(ticks, one, n + 1, envelope=e) for n, e in enumerate(sent)]) == [Shot.FIRED] * 50
        assert Hand(harness.broker()).ids() == ids(sent), "in their order"
