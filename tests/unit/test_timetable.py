"""What is to be fired when, and how a schedule's definition travels."""

from __future__ import annotations

import msgspec
import pytest

from umbel import every
from umbel.envelope import EXPLICIT, TRACKED
from umbel.message import decode_body
from umbel.schedule import When
from umbel.ticks import Entry, Origin
from umbel.timetable import LATE, Definition, Item, definition_of, firing_of, item_of

MINUTE = 60_000
DONE = 1_000 * MINUTE


def item(when: When, done: int = DONE) -> Item:
    definition = Definition(
        when=when, task="t", queue="q", args="[1]", headers={"h": 2}, expires=5_000, flags=EXPLICIT, extras={1: b"\xff"}
    )
    planned = definition.planned("s")
    entry = Entry("s", planned.rule, planned.definition, Origin.CODE, 4, False, done)
    assert definition_of(planned.definition) == definition
    return item_of(entry, definition)


def test_nothing_is_due_before_its_time() -> None:
    one = item(every(60))
    assert (one.tick, one.due) == (DONE + MINUTE, DONE + MINUTE)
    assert firing_of(one, DONE + MINUTE - 1) is None


def test_a_tick_at_its_time() -> None:
    firing = firing_of(item(every(60, overlap=False)), DONE + MINUTE + 7)
    assert firing is not None
    assert (firing.name, firing.revision, firing.tick, firing.missed, firing.alone) == ("s", 4, DONE + MINUTE, 0, True)
    sent = firing.envelope
    assert sent is not None
    assert (sent.queue, sent.enqueued, sent.expires, sent.flags) == ("q", DONE + MINUTE + 7, DONE + MINUTE + 5_007, TRACKED)
    assert sent.extras == {1: b"\xff"}
    body = decode_body(sent.body)
    assert (body.t, bytes(body.a), body.h) == ("t", b"[1]", {"h": 2, "u-schedule": "s", "u-tick": DONE + MINUTE})


@pytest.mark.parametrize(
    ("missed", "late", "expected"),
    [
        ("one", 3 * MINUTE, (3, True, 2)),
        ("one", 3 * MINUTE + 59_999, (3, True, 2)),
        ("all", 3 * MINUTE, (1, True, 0)),
        ("skip", MINUTE, (1, True, 0)),
        ("skip", MINUTE + 59_999, (1, True, 0)),
        ("skip", 3 * MINUTE, (3, True, 2)),
    ],
)
def test_after_an_outage(missed: str, late: int, expected: tuple[int, bool, int]) -> None:
    """Minutes after the last one; is there a call; how many it stands for."""
    firing = firing_of(item(msgspec.structs.replace(every(60), missed=missed)), DONE + late)
    assert firing is not None
    assert ((firing.tick - DONE) // MINUTE, firing.envelope is not None, firing.missed) == expected


def test_what_is_late_is_given_up_where_it_is_to_be_skipped() -> None:
    one = item(every(3600, missed="skip"), 0)
    late = firing_of(one, 3 * 60 * MINUTE + LATE + 1)
    assert late is not None and (late.tick, late.envelope, late.missed) == (3 * 60 * MINUTE, None, 3)
    on_time = firing_of(one, 3 * 60 * MINUTE + LATE)
    assert on_time is not None and on_time.envelope is not None and on_time.missed == 2


def test_jitter_holds_a_tick_back_and_the_one_before_it_is_fired() -> None:
    when = every(60, jitter=59)
    one = item(when)
    assert one.due == one.tick + when.delay("s", one.tick)
    for now in range(DONE, DONE + 30 * MINUTE, 7_777):
        firing = firing_of(one, now)
        if one.due is not None and now < one.due:
            assert firing is None
        else:
            assert firing is not None
            due = [tick for tick in when.ticks(DONE, 31) if tick + when.delay("s", tick) <= now]
            assert firing.tick == max(due)


def test_after_its_end() -> None:
    one = item(msgspec.structs.replace(every(60), end=DONE + MINUTE), DONE + MINUTE)
    assert (one.due, firing_of(one, DONE * 2)) == (None, None)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"when":{"rule":{"type":"moon"}},"task":"t","queue":"q"}', b"[" * 5000])
def test_what_cannot_be_read(data: bytes) -> None:
    assert definition_of(data) is None


def test_what_a_newer_release_adds_is_read_over() -> None:
    one = Definition(when=every(60), task="t", queue="q")
    assert definition_of(msgspec.json.encode(one)[:-1] + b',"colour":"red"}') == one
