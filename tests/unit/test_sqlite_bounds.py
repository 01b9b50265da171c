"""What the SQLite broker does in several steps, and what it keeps for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel.broker import BrokerSettings, Settle, Verdict
from umbel.brokers.sqlite import Address, SQLiteBroker, leases, maintenance
from umbel.envelope import EXPLICIT, TRACKED, Delivery, Envelope, Extra, pack
from umbel.errors import WireError
from umbel.facets import Cancelled, Place, State
from umbel.outcome import Dead, Done, Retry
from umbel.testing.clock import ManualClock

Make = Callable[..., SQLiteBroker]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Iterator[Make]:
    made: list[SQLiteBroker] = []

    def make(settings: BrokerSettings | None = None) -> SQLiteBroker:
        made.append(SQLiteBroker(Address(tmp_path / "store.db"), settings or BrokerSettings(), clock))
        made[-1].open()
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make: Make) -> SQLiteBroker:
    return make()


def several(count: int, prefix: str = "m", **fields: object) -> list[Envelope]:
    return [Envelope(f"{prefix}{i}", "q", b"", **fields) for i in range(count)]  # type: ignore[arg-type]  # fields of any type


def admitted(broker: SQLiteBroker, holder: str = "w.a", worker: str = "w") -> str:
    broker.renew(worker, 600)
    broker.admit(worker, holder)
    return holder


def claim(broker: SQLiteBroker, seq: int, limit: int = 1000, holder: str = "w.a") -> list[Delivery]:
    return broker.exchange(holder, seq, [], ["q"], limit).deliveries


def count(broker: SQLiteBroker, table: str) -> int:
    [(number,)] = broker.store.connection.execute(f"SELECT count(*) FROM {table}")
    return int(number)


class TestPurge:
    def test_more_than_one_step_takes(self, broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(maintenance, "_PURGE", 40)
        broker.enqueue(several(50, flags=TRACKED))
        broker.enqueue(several(50, "later", after=1000))
        assert broker.purge("q") == 100
        assert broker.stats() == []
        record = broker.record("m49")
        assert record is not None and (record.state, record.reason) == (State.REVOKED, "purged")


class TestMaintenance:
    def test_each_kind_is_bounded_and_says_that_there_is_more(self, broker: SQLiteBroker, clock: ManualClock) -> None:
        for part in range(3):
            broker.enqueue(several(500, f"{part}.", expires=clock.now() + 5, flags=EXPLICIT))
        clock.advance(86_400_001)
        first, second, third = broker.maintain(), broker.maintain(), broker.maintain()
        assert (len(first.expired), len(second.expired), len(third.expired)) == (1000, 500, 0)
        assert (first.pruned, second.pruned) == (1000, 500)
        assert (first.more, second.more, third.more) == (True, False, False)

    @pytest.mark.parametrize("flags", [0, EXPLICIT])
    def test_each_kind_alone_says_that_there_is_more(self, broker: SQLiteBroker, clock: ManualClock, flags: int) -> None:
        for part in range(3):
            broker.enqueue(several(500, f"{part}.", expires=0 if flags else clock.now() + 5, flags=flags))
        clock.advance(86_400_001)
        assert [broker.maintain().more for _ in range(2)] == [True, False]

    def test_a_rescue_ends_between_two_holders_and_goes_on(
        self, broker: SQLiteBroker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(maintenance, "_BOUND", 10)
        broker.enqueue(several(30))
        for name in ("w.a", "w.b", "w.c"):
            admitted(broker, name)
            claim(broker, 1, 8, name)
        clock.advance(600_001)
        rounds = [broker.maintain(rescue=True) for _ in range(3)]
        assert [r.rescued for r in rounds] == [[("w", 16)], [("w", 8)], []]
        assert [r.more for r in rounds] == [True, False, False]
        assert sorted(broker.renew("w", 600).lost) == ["w.a", "w.b", "w.c"]

    def test_names_that_were_used_up_are_forgotten_after_a_day(self, broker: SQLiteBroker, clock: ManualClock) -> None:
        broker.retire(admitted(broker))
        clock.advance(86_400_001)
        broker.maintain()
        assert count(broker, "gone") == 0

    def test_the_room_of_dead_letters_does_not_drift(self, make: Make) -> None:
        broker = make(BrokerSettings(dead_letter_bytes=5_000))
        admitted(broker)
        broker.enqueue([Envelope(f"d{i}", "q", b"x" * 900) for i in range(20)])
        broker.exchange("w.a", 1, [], ["q"], 20)
        held = broker.resume("w.a")
        broker.exchange("w.a", 2, [Settle(d.receipt, Dead("failed", b"error")) for d in held], [], 0)
        broker.redrive(["d3"])
        broker.forget_dead(["d4"])
        trimmed = broker.maintain().trimmed
        [(real,)] = broker.store.connection.execute("SELECT sum(length(data) + length(error)) FROM dead")
        assert broker.store.connection.execute("SELECT value FROM tally WHERE name = 'dead_bytes'").fetchall() == [(real,)]
        assert 4_000 < real <= 5_000 and trimmed == 18 - count(broker, "dead")
        assert broker.browse("q", Place.DEAD).messages[0].envelope.id == "d19", "the oldest go first"


class TestTraces:
    def test_of_what_was_given_back_are_forgotten_with_the_holder(self, broker: SQLiteBroker) -> None:
        broker.enqueue(several(3))
        admitted(broker)
        held = claim(broker, 1)
        broker.give_back("w.a", [d.receipt for d in held])
        assert broker.exchange("w.a", 2, [Settle(held[0].receipt, Done())], [], 0).verdicts == [Verdict.SUPERSEDED]
        assert count(broker, "taken") == 3
        broker.leave("w")
        assert count(broker, "taken") == 0

    def test_and_after_a_while(self, broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "_TRACES_KEPT", 5)
        broker.enqueue(several(1))
        admitted(broker)
        for seq in range(1, 12):
            broker.give_back("w.a", [d.receipt for d in claim(broker, seq)])
        assert count(broker, "taken") == 6


class TestPlainMessages:
    """Messages without a record have no index over their ids: they are searched for."""

    @pytest.mark.parametrize("id", ["0190b5a2-7c1e-7d30-8a44-0123456789ab", "plain", "x" * 255, "é\x00'%"])
    def test_found_and_cancelled(self, broker: SQLiteBroker, id: str) -> None:
        broker.enqueue([*several(50), Envelope(id, "q", b"that one"), Envelope("decoy", "q", id.encode())])
        found = broker.find(id)
        assert found is not None and (found.envelope.id, found.envelope.body) == (id, b"that one")
        assert broker.cancel(id) == Cancelled.WAITING
        assert broker.find(id) is None
        assert broker.stats()[0].ready == 51

    def test_one_that_is_promoted_meanwhile_is_found_again(self, broker: SQLiteBroker, clock: ManualClock, make: Make) -> None:
        other = make()
        broker.enqueue([Envelope("a", "q", b"", after=5)])
        search = broker._places

        def search_while_it_moves(id: str) -> object:
            found = list(search(id))
            if count(broker, "message") and clock.now() == start:
                clock.advance(10)
                other.maintain()
            return found

        start = clock.now()
        broker._places = search_while_it_moves  # type: ignore[assignment,method-assign]  # to act between the search and the step
        assert broker.cancel("a") == Cancelled.WAITING
        assert count(broker, "message") == 0

    def test_leased_ones_are_marked_and_the_worker_is_told_once(self, broker: SQLiteBroker) -> None:
        broker.enqueue(several(1))
        admitted(broker)
        [held] = claim(broker, 1)
        assert broker.cancel("m0", terminate=True) == Cancelled.RUNNING
        assert [c.id for c in broker.renew("w", 600).commands] == ["m0"]
        assert broker.renew("w", 600).commands == []
        assert broker.exchange("w.a", 2, [Settle(held.receipt, Retry(0))], ["q"], 1).deliveries == []
        assert broker.find("m0") is None


class TestDeadLetters:
    def test_more_than_one_step_takes(self, broker: SQLiteBroker) -> None:
        admitted(broker)
        for seq, part in enumerate((0, 1, 2)):
            broker.enqueue(several(600, f"{part}."))
            held = claim(broker, 2 * seq + 1)
            broker.exchange("w.a", 2 * seq + 2, [Settle(d.receipt, Dead("failed")) for d in held], [], 0)
        assert broker.redrive([f"{part}.{i}" for part in (0, 1, 0) for i in range(600)]) == 1200
        assert broker.redrive() == 600
        assert broker.redrive() == broker.forget_dead() == 0
        assert broker.stats()[0].ready == 1800

    def test_what_cannot_be_read_is_not_redriven_and_stops_nobody(self, broker: SQLiteBroker) -> None:
        broker.enqueue(several(1, "dies"))
        admitted(broker)
        [held] = claim(broker, 1)
        execute = broker.store.connection.execute
        for data in (b"", b"\x01garbage"):
            execute("INSERT INTO message (queue, priority, state, data) VALUES (1, 5, 0, ?)", (data,))
        answer = broker.exchange("w.a", 2, [Settle(held.receipt, Dead("failed"))], ["q"], 5)
        assert [r.reason for r in answer.dropped] == ["unreadable", "unreadable"]
        assert broker.redrive() == 1
        assert broker.forget_dead(queue="q") == 2


class TestHostile:
    @pytest.mark.parametrize(
        "envelope",
        [
            Envelope("a", "q", b"", expires=-1),
            Envelope("a", "q", b"", enqueued=1 << 70),
            Envelope("\ud800", "q", b""),
        ],
        ids=["expires", "enqueued", "surrogate"],
    )
    def test_what_cannot_be_packed_is_refused_before_anything_is_stored(self, broker: SQLiteBroker, envelope: Envelope) -> None:
        with pytest.raises(WireError):
            broker.enqueue([*several(1), envelope])
        assert broker.stats() == []

    def test_times_beyond_reason_are_only_late(self, broker: SQLiteBroker) -> None:
        broker.enqueue([Envelope("a", "q", b"", due=1 << 80), Envelope("b", "q", b"", after=1 << 80, expires=(1 << 64) - 1)])
        assert broker.stats()[0].scheduled == 2

    def test_a_ttl_that_is_no_number_is_as_none(self, broker: SQLiteBroker) -> None:
        for i, ttl in enumerate((b"soon", b"nan", b"1e400", b"-5")):
            broker.enqueue([Envelope(f"t{i}", "q", b"", flags=TRACKED, extras={Extra.RECORD_TTL: ttl})])
            assert broker.record(f"t{i}") is not None

    def test_deep_garbage_is_put_aside_in_bounded_steps(self, broker: SQLiteBroker) -> None:
        broker.enqueue(several(1))
        good, execute = pack(Envelope("last", "q", b"")), broker.store.connection.execute
        execute("BEGIN")
        for i in range(1500):
            execute("INSERT INTO message (queue, priority, state, data) VALUES (1, 9, 0, ?)", (good[: i % 40],))
        execute("COMMIT")
        admitted(broker)
        first = broker.exchange("w.a", 1, [], ["q"], 10)
        assert (len(first.dropped), first.deliveries) == (1000, [])
        second = broker.exchange("w.a", 2, [], ["q"], 10)
        assert (len(second.dropped), [d.envelope.id for d in second.deliveries]) == (500, ["m0"])
