"""Lanes in the file: what a release that knows none leaves behind is put right, and no claim meets what could give it nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel.broker import BrokerSettings, Settle
from umbel.brokers.sqlite import Address, SQLiteBroker
from umbel.brokers.sqlite import lanes as lanes_module
from umbel.envelope import LOST_DEAD, Envelope, Extra
from umbel.facets import Place, Waits
from umbel.lane import LOCK, Mark, Rule
from umbel.outcome import Done
from umbel.testing.clock import ManualClock

OLDER_PUTS_BACK = "UPDATE message SET state = 0, holder = NULL, slot = NULL WHERE holder = (SELECT id FROM holder WHERE name = ?)"
OLDER_REMOVES = "DELETE FROM message WHERE holder = (SELECT id FROM holder WHERE name = ?)"
"""What the last release without lanes does with a delivery: see its statements ``put_back`` and ``remove``."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(tmp_path: Path, clock: ManualClock) -> Iterator[SQLiteBroker]:
    made = SQLiteBroker(Address(tmp_path / "store.db"), BrokerSettings(), clock)
    made.open()
    made.renew("w", 600)
    for holder in ("w.a", "w.b"):
        made.admit("w", holder)
    yield made
    made.close()


def locked(id: str, key: str = "k", **fields: object) -> Envelope:
    extras = {int(Extra.LANE): Mark(f"lock:{key}", LOCK, Rule(concurrency=1)).pack()}
    return Envelope(id, "q", b"", extras=extras, **fields)  # type: ignore[arg-type]  # fields of any type


def rated(id: str, name: str, rule: Rule) -> Envelope:
    return Envelope(id, "q", b"", extras={int(Extra.LANE): Mark(f"task:{name}", f"task:{name}", rule).pack()})


def unique(id: str) -> Envelope:
    return Envelope(id, "q", b"", extras={int(Extra.UNIQUE): b"k"})


class Claims:
    """Counts a holder's exchanges."""

    def __init__(self, broker: SQLiteBroker, holder: str = "w.a") -> None:
        self.broker, self.holder, self.seq, self.settles = broker, holder, 0, list[Settle]()

    def __call__(self, limit: int = 100, *, done: bool = False) -> list[str]:
        """The ids handed out; ``done``: what was handed out before is settled first."""
        self.seq += 1
        settles, self.settles = (self.settles, []) if done else ([], self.settles)
        answer = self.broker.exchange(self.holder, self.seq, settles, ["q"], limit)
        self.settles += [Settle(one.receipt, Done()) for one in answer.deliveries]
        return [one.envelope.id for one in answer.deliveries]


def sql(broker: SQLiteBroker, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    return broker.store.connection.execute(statement, parameters).fetchall()


def left(broker: SQLiteBroker) -> list[tuple[object, ...]]:
    tables = ("lane", "lane_group", "lane_limit", "lane_hold", "message_key", "throttle_key")
    return [row for table in tables for row in sql(broker, f"SELECT '{table}', * FROM {table}")]


class TestBesideAReleaseWithoutLanes:
    def test_what_it_put_back_finds_its_lane_again(self, broker: SQLiteBroker) -> None:
        first, second = Claims(broker), Claims(broker, "w.b")
        broker.enqueue([locked("a"), locked("b")])
        assert first() == ["a"]
        sql(broker, OLDER_PUTS_BACK, "w.a")
        assert second() == [], "the place is still that of the delivery which is no more, and a goes back into its lane"
        broker.maintain()
        assert second() == ["a"]
        assert second(done=True) == ["b"]
        assert second(done=True) == [] and left(broker) == []

    def test_what_it_removed_gives_its_place_back(self, broker: SQLiteBroker) -> None:
        first = Claims(broker)
        broker.enqueue([locked("a"), locked("b")])
        assert first() == ["a"]
        sql(broker, OLDER_REMOVES, "w.a")
        broker.maintain()
        assert Claims(broker, "w.b")() == ["b"]

    def test_a_key_whose_message_it_removed_is_free(self, broker: SQLiteBroker) -> None:
        broker.enqueue([unique("a")])
        assert broker.enqueue([unique("b")])[0].duplicate_of == "a"
        assert Claims(broker)() == ["a"]
        sql(broker, OLDER_REMOVES, "w.a")
        assert broker.enqueue([unique("c")])[0].duplicate_of is None
        assert broker.enqueue([unique("d")])[0].duplicate_of == "c"

    def test_it_sees_no_message_that_waits_in_a_lane(self, broker: SQLiteBroker) -> None:
        broker.enqueue([locked("a"), Envelope("plain", "q", b"")])
        assert sql(broker, "SELECT count(*) FROM message WHERE state = 0") == [(1,)]

    def test_a_lane_that_it_emptied_is_forgotten(self, broker: SQLiteBroker) -> None:
        broker.enqueue([locked("a")])
        sql(broker, "DELETE FROM message")  # its sweep of what expired, its cancel
        assert Claims(broker)() == [] and left(broker) == []


def test_lanes_in_which_all_expired_are_gone_with_their_groups(broker: SQLiteBroker, clock: ManualClock) -> None:
    broker.enqueue([locked(f"m{i}", f"k{i}", expires=clock.now() + 5) for i in range(3)] + [locked("stays", "k2")])
    clock.advance(10)
    claim = Claims(broker)
    assert claim() == ["stays"]
    assert claim(done=True) == [] and left(broker) == []


@pytest.mark.parametrize("back", [0, 3_600_000])
def test_a_rate_far_ahead_is_brought_near_once_and_not_at_each_look(broker: SQLiteBroker, clock: ManualClock, back: int) -> None:
    """Far ahead since the rate was slow before, or since the clock went back; nobody renews in between."""
    rule = Rule(10, 1000, 1)
    broker.declare({"task:t": rule})
    if not back:
        broker.override("task:t", Rule(1, 3_600_000, 1))
    broker.enqueue([rated(str(i), "t", rule) for i in range(9)])
    claim = Claims(broker)
    assert len(claim()) >= 1 and claim() == []
    broker.clear("task:t")
    clock.step(-back)
    assert claim() == []
    clock.advance(100)
    assert len(claim()) == 1


class TestLooking:
    """How much a claim looks at."""

    def count(self, broker: SQLiteBroker, job: Callable[[], object]) -> int:
        seen = list[str]()
        broker.store.connection.set_trace_callback(seen.append)
        job()
        broker.store.connection.set_trace_callback(None)
        return len(seen)

    def test_lanes_that_wait_are_looked_at_once(self, broker: SQLiteBroker, clock: ManualClock) -> None:
        seldom = Rule(1, 3_600_000)
        for round in range(2):
            broker.enqueue([rated(f"{round}.{i}", f"t{i}", seldom) for i in range(200)])
        claim = Claims(broker)
        assert len(claim(300)) == 200
        plain = self.count(broker, lambda: claim(10))
        broker.enqueue([Envelope("plain", "q", b"")])
        assert self.count(broker, lambda: claim(10)) <= plain + 2
        assert claim.broker.exchange("w.a", claim.seq + 1, [], ["q"], 10).next_due == 3_600_000 - 100

    def test_a_full_group_hides_all_of_its_lanes(self, broker: SQLiteBroker) -> None:
        group = {int(Extra.GROUP): Mark("task:g", "task:g", Rule(concurrency=1)).pack()}
        made = [locked(f"m{i}", f"k{i}") for i in range(200)]
        for one in made:
            one.extras = {**(one.extras or {}), **group}
        broker.enqueue(made)
        claim = Claims(broker)
        assert claim(50) == ["m0"]
        assert self.count(broker, lambda: claim(50)) < 20
        assert claim(50, done=True) == ["m1"]

    def test_one_that_is_handed_alone_behind_many_full_lanes_keeps_nobody_waiting(
        self, broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who holds something asks whether there is anything for him: lanes without room do not count."""
        monkeypatch.setattr(lanes_module, "_LOOKED_AT", 5)
        broker.enqueue([locked(f"{i}.first", f"k{i}") for i in range(4)])
        claim = Claims(broker)
        assert len(claim()) == 4
        broker.enqueue([locked(f"{i}.alone", f"k{i}", flags=LOST_DEAD) for i in range(4)])
        broker.enqueue([locked("free", "other")])
        assert broker.wait(["q"], 0, alone=False)
        assert claim() == ["free"]
        assert not broker.wait(["q"], 0, alone=False)

    def test_a_lane_that_turns_out_full_hides_nothing_of_lower_priority(self, broker: SQLiteBroker) -> None:
        first = Claims(broker)
        broker.enqueue([locked("a", priority=9)])
        assert first() == ["a"]
        broker.enqueue([locked("b", priority=9), Envelope("plain", "q", b"")])
        assert broker.wait(["q"], 0, alone=False), "nobody has looked at the new lane yet"
        assert Claims(broker, "w.b")() == ["plain"]
        assert not broker.wait(["q"], 0, alone=False)


class TestSeen:
    def test_what_a_lane_waits_for(self, broker: SQLiteBroker, clock: ManualClock) -> None:
        broker.enqueue([rated(str(i), "t", Rule(1, 60_000)) for i in range(3)] + [locked("x"), locked("y")])
        assert sorted(Claims(broker)()) == ["0", "x"]
        rate, lock = sorted(broker.lanes().lanes, key=lambda one: one.waiting, reverse=True)
        assert (rate.limit, rate.waiting, rate.waits, rate.until) == ("task:t", 2, Waits.RATE, clock.now() + 60_000 - 100)
        assert (lock.limit, lock.waiting, lock.waits, lock.until, lock.held) == ("lock:k", 1, Waits.CONCURRENCY, None, 1)

    def test_pages(self, broker: SQLiteBroker) -> None:
        broker.enqueue([locked(str(i), f"k{i % 10:02}") for i in range(30)])
        found, cursor = list[str](), None
        for _ in range(20):
            page = broker.lanes(limit=3, cursor=cursor)
            found += [one.limit for one in page.lanes]
            if (cursor := page.cursor) is None:
                break
        assert found == [f"lock:k{i:02}" for i in range(10)]
        shown = broker.browse("q", Place.READY, 100).messages
        assert [m.envelope.id for m in shown] == [str(i) for key in range(10) for i in range(key, 30, 10)]
