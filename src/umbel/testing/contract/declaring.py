"""What ``Ticks`` promises of two releases that declare their schedules in one store."""

from __future__ import annotations

from ...ticks import STAMPS_KEPT, Firing, Origin, Shot, Ticks
from .harness import Harness, envelope, needs
from .ticks import LAPSE, TTL, added, entry, fire, names, plan, shoot, ticks_of


class TestDeclaring:
    @needs(Ticks)
    def test_a_set_of_code(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        now = ticks.timetable().now
        assert not ticks.declare_schedules("1", TTL, now, None), "it is not in force yet"
        assert ticks.declare_schedules("1", TTL, now - 5_000, [plan("a"), plan("b")])
        table = ticks.timetable()
        assert (names(table, Origin.CODE), table.stamp) == (["a", "b"], "1")
        assert [one.done for one in table.entries] == [now - 5_000] * 2, "it counts from when the caller says"
        assert ticks.declare_schedules("1", TTL, now, None)

    @needs(Ticks)
    def test_not_from_the_future(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, ticks.timetable().now + 1_000_000, [plan("a")])
        table = ticks.timetable()
        assert table.entries[0].done <= table.now

    @needs(Ticks)
    def test_repeating_changes_nothing(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a")])
        before = ticks.timetable()
        harness.advance(5)
        assert ticks.declare_schedules("1", TTL, 7, [plan("a", "whatever")])
        after = ticks.timetable()
        assert (after.entries, after.revision) == (before.entries, before.revision)

    @needs(Ticks)
    def test_the_newer_release_is_in_force(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("gone"), plan("same"), plan("words", definition="old"), plan("rule", "old")])
        old = {one.name: one for one in ticks.timetable().entries}
        assert ticks.declare_schedules("2", TTL, 1_000, [plan("same"), plan("words", definition="new"), plan("rule", "new"), plan("fresh")])
        new = {one.name: one for one in ticks.timetable().entries}
        assert sorted(new) == ["fresh", "rule", "same", "words"]
        assert new["same"] == old["same"]
        assert (new["words"].done, new["words"].definition) == (5, b"new"), "the same rule goes on where it was"
        assert (new["rule"].done, new["fresh"].done) == (1_000, 1_000)
        assert new["words"].revision > old["words"].revision
        assert new["rule"].revision > old["rule"].revision

    @needs(Ticks)
    def test_what_a_changed_rule_has_fired_stays_fired(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a", "old")])
        fire(ticks, shoot(ticks, entry(ticks, "a"), 5_000))
        ticks.declare_schedules("2", TTL, 1_000, [plan("a", "new")])
        assert entry(ticks, "a").done == 5_005, "not back to the moment that the newcomer knew"
        assert entry(ticks, "a").fired == 1

    @needs(Ticks)
    def test_an_older_one_changes_nothing(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a")])
        ticks.declare_schedules("2", TTL, 5, [plan("b")])
        before = ticks.timetable()
        assert not ticks.declare_schedules("1", TTL, 9, [plan("a")])
        assert not ticks.declare_schedules("1", TTL, 9, None)
        after = ticks.timetable()
        assert (after.entries, after.revision, after.stamp) == (before.entries, before.revision, "2")
        assert ticks.declare_schedules("3", TTL, 9, [plan("c")])
        assert not ticks.declare_schedules("2", TTL, 9, [plan("b")])
        assert names(ticks.timetable()) == ["c"]

    @needs(Ticks)
    def test_one_without_any_removes_those_of_code(self, harness: Harness) -> None:
        ticks, _ = added(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a")])
        assert ticks.declare_schedules("2", TTL, 5, [])
        table = ticks.timetable()
        assert (names(table), table.stamp) == (["s"], "2")

    @needs(Ticks)
    def test_a_rollback_once_nobody_upholds_the_newer(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a")])
        ticks.declare_schedules("2", LAPSE, 5, [plan("b")])
        harness.advance(int(LAPSE * 1000) + 1)
        assert ticks.declare_schedules("1", TTL, 9, [plan("a")])
        assert names(ticks.timetable()) == ["a"]
        assert ticks.declare_schedules("2", TTL, 9, [plan("b")]), "it is still the newer one"
        assert not ticks.declare_schedules("1", TTL, 9, [plan("a")])

    @needs(Ticks)
    def test_upholding(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a")])
        ticks.declare_schedules("2", LAPSE, 5, [plan("b")])
        assert ticks.declare_schedules("2", TTL, 5, None)
        harness.advance(int(LAPSE * 1000) + 1)
        assert not ticks.declare_schedules("1", TTL, 9, [plan("a")])

    @needs(Ticks)
    def test_what_was_made_at_run_time_stays(self, harness: Harness) -> None:
        ticks, one = added(harness)
        assert ticks.declare_schedules("1", TTL, 5, [plan("s", "of code"), plan("a")])
        assert entry(ticks) == one, "under a name of the set, too"
        assert names(ticks.timetable(), Origin.CODE) == ["a"]
        ticks.declare_schedules("2", TTL, 5, [plan("a")])
        assert entry(ticks) == one

    @needs(Ticks)
    def test_what_code_declares_is_not_replaced_at_run_time(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a")])
        before = entry(ticks, "a")
        assert not ticks.add_schedule(plan("a", "other"))
        assert not ticks.add_schedule(plan("a", "other"), replace=True)
        assert entry(ticks, "a") == before

    @needs(Ticks)
    def test_a_pause_outlives_a_release(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a", "old"), plan("b")])
        ticks.pause_schedule("a", True)
        ticks.pause_schedule("b", True)
        ticks.declare_schedules("2", TTL, 5, [plan("a", "new"), plan("b")])
        assert entry(ticks, "a").paused
        assert entry(ticks, "b").paused

    @needs(Ticks)
    def test_a_tick_of_an_older_release(self, harness: Harness) -> None:
        """A supervisor of it has computed it from what is not in force any more."""
        ticks = ticks_of(harness)
        ticks.declare_schedules("1", TTL, 5, [plan("a", "old")])
        old = entry(ticks, "a")
        ticks.declare_schedules("2", TTL, 6, [plan("a", "new")])
        assert fire(ticks, Firing("a", old.revision, 1_000, envelope())) == [Shot.CHANGED]
        assert fire(ticks, Firing("a", entry(ticks, "a").revision, 1_000, envelope())) == [Shot.FIRED]

    @needs(Ticks)
    def test_stamps_are_kept_within_reason(self, harness: Harness) -> None:
        ticks = ticks_of(harness)
        for n in range(STAMPS_KEPT + 5):
            assert ticks.declare_schedules(f"release {n}", TTL, 5, [])
        assert not ticks.declare_schedules(f"release {STAMPS_KEPT}", TTL, 5, [])
        assert ticks.declare_schedules("release 0", TTL, 5, []), "so old that it counts as new"
