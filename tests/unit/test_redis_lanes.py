"""Lanes, limits and keys on a Redis server: they fit together after every step, and after everything that can befall one."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.proxy import Fault, Proxy
from tests.redis_lanes import unsound
from tests.servers import REDIS_SERVER, RedisServer
from tests.waiting import wait_for
from umbel.broker import Blame, Broker, BrokerSettings, Exchanged, Settle, Verdict
from umbel.brokers import make_broker
from umbel.brokers.redis import scripts
from umbel.brokers.redis.connection import Address, Line
from umbel.brokers.redis.keys import Keys
from umbel.envelope import LOST_DEAD, SKIPS, TRACKED, Delivery, Envelope
from umbel.errors import ReplyLost, StoreFull
from umbel.facets import Inspects, Limits, Place, Waits, require
from umbel.lane import Debounce, Mark, Rule, Throttle
from umbel.outcome import Dead, Done, Dropped, Outcome, Released, Retry

if REDIS_SERVER is None and os.environ.get("CI") != "true":
    pytest.skip("redis-server is not installed", allow_module_level=True)

HOUR = 3_600_000
ONE = Rule(concurrency=1)
LOCK_A, LOCK_B = Mark("lock:a", "lock", ONE).pack(), Mark("lock:b", "lock", ONE).pack()
KEY_X, KEY_Y = (Mark(f"key:{key}", "key", Rule(200, 1000, 2, 2)).pack() for key in "xy")
TASK, RATED = Mark("task:t", "task:t", Rule(concurrency=3)).pack(), Mark("task:r", "task:r", Rule(100, 1000, 3)).pack()
KINDS: list[dict[str, Any]] = [
    {},
    {"after": 20},
    {"extras": {1: LOCK_A}},
    {"extras": {1: LOCK_B, 2: TASK}},
    {"extras": {1: LOCK_B, 2: RATED}, "flags": TRACKED},
    {"extras": {1: KEY_X, 2: TASK}},
    {"extras": {1: KEY_Y, 2: TASK}, "after": 20},
    {"extras": {1: TASK}, "flags": LOST_DEAD},
    {"extras": {1: RATED}, "expires": 1},
    {"extras": {1: LOCK_A}, "flags": SKIPS | TRACKED},
    {"extras": {1: KEY_X, 5: b"one"}},
    {"extras": {5: b"over"}, "after": 20, "expires": 1},
    {"extras": {5: b"two", 6: b"start"}, "flags": TRACKED},
    {"extras": {1: LOCK_A, 7: Debounce("three", 20, 60).pack()}, "flags": TRACKED},
    {"extras": {1: TASK, 9: Throttle("four", 30).pack()}},
]
OUTCOMES: list[Outcome] = [
    Done(),
    Done(),
    Done(b"1"),
    Retry(0),
    Retry(20),
    Dead("failed"),
    Dropped("discarded"),
    Released(0, "unbegun"),
    Released(9),
]
LEFT = (b"l:", b"i:", b"x:", b"y:", b"g:", b"u:", b"e:", b"b:")
LEFT_OVER = {b"rates", b"laned", b"waits", b"changed", b"uniques", b"debounced", b"throttled", b"throttles"}


class Store:
    """One app on the server, looked at from both sides."""

    def __init__(self, server: RedisServer, app: str, url: str | None = None) -> None:
        self.keys, self.line = Keys(app), Line(Address(server.url, app))
        self.broker: Broker = make_broker(url or server.url, BrokerSettings(app=app))
        self.broker.open()
        self.broker.renew("w", 600)
        self.seqs = dict[str, int]()

    def close(self) -> None:
        self.broker.close()
        self.line.drop()

    def admit(self, holder: str) -> str:
        self.broker.admit("w", holder)
        self.seqs[holder] = 0
        return holder

    def exchange(self, holder: str, settles: list[Settle] | None = None, limit: int = 9, *queues: str) -> Exchanged:
        self.seqs[holder] += 1
        return self.broker.exchange(holder, self.seqs[holder], settles or [], queues or ("q",), limit)

    def claim(self, holder: str, limit: int = 9) -> list[Delivery]:
        return self.exchange(holder, None, limit).deliveries

    def done(self, holder: str, *deliveries: Delivery) -> list[Verdict]:
        return self.exchange(holder, [Settle(d.receipt, Done()) for d in deliveries], 0).verdicts

    def unsound(self) -> list[str]:
        return unsound(self.line, self.keys)

    def left(self) -> list[bytes]:
        """What there still is of lanes, limits and keys."""
        names = [name.removeprefix(self.keys.root) for name in self.line.call("KEYS", self.keys.root.replace(b"{", b"\\{") + b"*")]
        return sorted(name for name in names if name.startswith(LEFT) or name in LEFT_OVER)


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[Store]:
    with closing(Store(redis_server, f"lanes-{random.random()}")) as store:
        yield store


class Life:
    """Whatever can be done, in any order."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.random = store, random.Random(seed)
        self.limits, self.inspects = require(store.broker, Limits), require(store.broker, Inspects)
        self.hands = dict[str, list[Delivery]]()
        self.count = 0
        self.actions: list[Callable[[], Any]] = [
            *[self.enqueue] * 8,
            *[self.exchange] * 8,
            *[self.give_back, self.retire, self.cancel, self.maintain] * 2,
            *[self.purge, self.override, self.redrive, self.leave, self.forget],
        ]

    def hand(self) -> str:
        """One of two holders, perhaps a new one."""
        while len(self.hands) < 2:
            self.count += 1
            self.hands[self.store.admit(f"h{self.count}")] = []
        return self.random.choice(list(self.hands))

    def queue(self) -> str:
        return self.random.choice("qqp")

    def enqueue(self) -> None:
        several = []
        for _ in range(self.random.randint(1, 4)):
            self.count += 1
            options = {"body": b"%d" % self.count, "priority": self.random.choice((5, 5, 9))} | self.random.choice(KINDS)
            several.append(Envelope(f"m{self.count}", self.queue(), **options))
        self.store.broker.enqueue(several)

    def exchange(self) -> None:
        holder = self.hand()
        held = self.hands[holder]
        self.random.shuffle(held)
        settled = [held.pop() for _ in range(self.random.randint(0, len(held)))]
        settles = [Settle(d.receipt, self.random.choice(OUTCOMES)) for d in settled]
        answer = self.store.exchange(holder, settles, self.random.choice((0, 1, 2, 9)), *self.random.choice((("q", "p"), ("p",), ("q",))))
        assert answer.verdicts == [Verdict.WON] * len(settles)
        held += answer.deliveries

    def give_back(self) -> None:
        holder = self.hand()
        held = self.hands[holder]
        back = [held.pop() for _ in range(self.random.randint(0, len(held)))]
        assert self.store.broker.give_back(holder, [d.receipt for d in back]) == len(back)

    def retire(self) -> None:
        holder = self.hand()
        held = self.hands.pop(holder)
        blamed = [Blame(d.receipt, self.random.choice([None, *OUTCOMES])) for d in held if self.random.random() < 0.5]
        self.store.broker.retire(holder, self.random.choice((None, blamed)))

    def leave(self) -> None:
        self.store.broker.leave("w")
        self.store.broker.renew("w", 600)
        self.hands.clear()

    def cancel(self) -> None:
        self.inspects.cancel(f"m{self.random.randint(1, self.count + 1)}", True)

    def maintain(self) -> None:
        self.store.broker.maintain(rescue=True)

    def purge(self) -> None:
        self.store.broker.purge(self.queue())

    def override(self) -> None:
        rule = self.random.choice(("task:t", "key", "task:r"))
        if self.random.random() < 0.5:
            self.limits.clear(rule)
        else:
            self.limits.override(rule, self.random.choice((Rule(0), Rule(concurrency=0), Rule(50, 1000), Rule(-1, concurrency=2))))

    def redrive(self) -> None:
        self.inspects.redrive()

    def forget(self) -> None:
        self.inspects.forget_dead()

    def end(self) -> None:
        """Everything runs, or is gone; then nothing is left."""
        for rule in ("task:t", "key", "task:r"):
            self.limits.override(rule, Rule(-1, concurrency=-1))
        for _ in range(200):
            for holder in list(self.hands):
                self.hands[holder] = self.store.exchange(
                    holder, [Settle(d.receipt, Done()) for d in self.hands[holder]], 9, "q", "p"
                ).deliveries
            self.store.broker.maintain()
            if not any(self.hands.values()) and not any(self.limits.backlog(queue) for queue in "qp"):
                break
            self.hand()
        self.store.broker.maintain()


@pytest.mark.parametrize("seed", range(int(os.environ.get("UMBEL_EXAMPLES", "20"))))
def test_all_fits_together_after_every_step(store: Store, seed: int) -> None:
    life = Life(store, seed)
    life.hand()
    for _ in range(60):
        act = life.random.choice(life.actions)
        act()
        assert store.unsound() == [], act.__name__
        for limit in (b"lock:a", b"lock:b"):
            assert store.line.call("SCARD", store.keys.root + b"e:" + limit) <= 1
    life.end()
    assert store.unsound() == []

    def only_windows_are_left() -> bool:  # a rate is forgotten once its theoretical arrival time is over
        store.broker.maintain()
        return set(store.left()) <= {b"throttled", b"throttles"}

    wait_for(only_windows_are_left)


# -- faults


SCRIPTS = {script.sha(major): script.name for script in scripts.ALL for major in (6, 7)}


class TestLostReplies:
    """The step was done, and nobody knows it: it is asked for again."""

    @pytest.fixture
    def wired(self, redis_server: RedisServer) -> Iterator[tuple[Store, Proxy]]:
        app = f"lanes-{random.random()}"
        with Proxy(redis_server.port, SCRIPTS) as proxy, closing(Store(redis_server, app, proxy.url())) as store:
            yield store, proxy

    @pytest.mark.parametrize("fault", [Fault.LOSE_COMMAND, Fault.LOSE_REPLY])
    def test_of_an_exchange(self, wired: tuple[Store, Proxy], fault: Fault) -> None:
        store, proxy = wired
        hand = store.admit("h")
        store.broker.enqueue([Envelope(f"m{i}", "q", b"", extras={1: Mark("task:r", "task:r", Rule(2, HOUR, 2)).pack()}) for i in range(4)])
        store.broker.enqueue([Envelope(f"l{i}", "q", b"", extras={1: LOCK_A}) for i in range(3)])
        proxy.strike("exchange", fault)
        with pytest.raises(ReplyLost):
            store.claim(hand)
        again = store.broker.exchange(hand, 1, [], ["q"], 9)
        assert sorted(d.envelope.id for d in again.deliveries) == ["l0", "m0", "m1"]
        assert store.unsound() == []
        settles = [Settle(d.receipt, Done()) for d in again.deliveries]
        proxy.strike("exchange", fault)
        with pytest.raises(ReplyLost):
            store.exchange(hand, settles)
        after = store.broker.exchange(hand, 2, settles, ["q"], 9)
        assert after.verdicts == [Verdict.WON] * 3
        assert [d.envelope.id for d in after.deliveries] == ["l1"], "no token was taken twice, and none given back"
        assert after.next_due is not None and HOUR // 2 - 60_000 < after.next_due <= HOUR // 2
        assert store.unsound() == []

    @pytest.mark.parametrize("fault", [Fault.LOSE_COMMAND, Fault.LOSE_REPLY])
    @pytest.mark.parametrize("verb", ["give_back", "retire", "leave", "maintain", "purge", "override", "declare"])
    def test_of_what_makes_room(self, wired: tuple[Store, Proxy], verb: str, fault: Fault) -> None:
        store, proxy = wired
        broker, limits, hand = store.broker, require(store.broker, Limits), store.admit("h")
        broker.enqueue([Envelope(f"m{i}", "q", b"", extras={1: LOCK_A, 2: TASK}) for i in range(3)])
        [held] = store.claim(hand)

        def act() -> object:
            match verb:
                case "give_back":
                    return broker.give_back(hand, [held.receipt])
                case "retire":
                    return broker.retire(hand, [])
                case "leave":
                    return broker.leave("w")
                case "purge":
                    return broker.purge("q")
                case "override":
                    return limits.override("lock", Rule(concurrency=2))
                case "declare":
                    return limits.declare({"lock": Rule(concurrency=2)})
                case _:
                    return broker.maintain(rescue=True)

        proxy.strike(verb, fault)
        with pytest.raises(ReplyLost):
            act()
        act()
        assert store.unsound() == []
        broker.renew("w", 600)
        got = store.claim(store.admit("other"))
        assert [d.envelope.id for d in got] == {
            "purge": [], "maintain": [], "override": ["m1"], "declare": ["m1"]
        }.get(verb, ["m0"])  # fmt: skip
        assert store.unsound() == []

    @pytest.mark.parametrize("fault", [Fault.LOSE_COMMAND, Fault.LOSE_REPLY])
    def test_of_an_enqueue(self, wired: tuple[Store, Proxy], fault: Fault) -> None:
        """Asked again, a unique one is its own duplicate, or that of nobody."""
        store, proxy = wired
        proxy.strike("enqueue", fault)
        message = Envelope("m", "q", b"", extras={1: LOCK_A, 5: b"key"})
        with pytest.raises(ReplyLost):
            store.broker.enqueue([message])
        [again] = store.broker.enqueue([message])
        assert again.duplicate_of == ("m" if fault is Fault.LOSE_REPLY else None)
        assert [d.envelope.id for d in store.claim(store.admit("h"))] == ["m"]
        assert store.unsound() == []


def test_a_killed_server_remembers_who_holds_what(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server, closing(Store(server, "lanes")) as store:
        limits, hand = require(store.broker, Limits), store.admit("h")
        store.broker.enqueue([Envelope(f"m{i}", "q", b"", extras={1: LOCK_A, 2: RATED, 5: b"%d" % i}) for i in range(3)])
        limits.override("task:r", Rule(1, HOUR))
        [held] = store.claim(hand)
        server.kill()
        server.start()
        store.line.drop()
        assert store.unsound() == []
        assert store.claim(hand) == []
        assert limits.rules()["task:r"].override == Rule(1, HOUR)
        [again] = store.broker.enqueue([Envelope("other", "q", b"", extras={5: b"0"})])
        assert again.duplicate_of == "m0"
        assert store.done(hand, held) == [Verdict.WON]
        [seen] = limits.lanes().lanes
        assert (seen.waits, seen.waiting) == (Waits.GROUP_RATE, 2)
        limits.override("task:r", Rule(-1))
        assert [d.envelope.id for d in store.claim(hand)] == ["m1"]
        assert store.unsound() == []


@pytest.mark.parametrize("version", [(6, 2), (7, 0)], ids=["without header", "with header"])
def test_a_full_server_lets_limits_go(tmp_path: Path, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 6.2 is imitated by leaving out the line that it does not know: this server then applies the older rules."""
    monkeypatch.setattr("umbel.brokers.redis.connection._version", lambda info: version)
    with RedisServer(tmp_path) as server, closing(Store(server, "lanes")) as store:
        limits, hand = require(store.broker, Limits), store.admit("h")
        several = [Envelope(f"m{i}", "q", b"x" * 100, extras={1: LOCK_A, 2: TASK, 5: b"%d" % i}) for i in range(9)]
        store.broker.enqueue(several)
        [held] = store.claim(hand)
        store.line.call("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(StoreFull):
            store.broker.enqueue([Envelope("new", "q", b"", extras={1: LOCK_B, 5: b"new"})])
        answer = store.exchange(hand, [Settle(held.receipt, Done())])
        assert answer.verdicts == [Verdict.WON]
        assert [d.envelope.id for d in answer.deliveries] == ["m1"]
        assert store.broker.give_back(hand, [answer.deliveries[0].receipt]) == 1
        limits.override("lock", Rule(concurrency=2))
        assert [d.envelope.id for d in store.claim(hand)] == ["m1", "m2"]
        assert store.broker.retire(hand).returned == 2
        store.broker.maintain(rescue=True)
        assert store.unsound() == []
        assert store.broker.purge("q") == 8
        assert store.left() == []


class TestBounds:
    COUNT = 2500

    def test_a_rule_of_many_is_changed_in_steps(self, store: Store) -> None:
        """What a process that ends between two of them has not done, the next maintenance does."""
        limits, hand = require(store.broker, Limits), store.admit("h")
        for i in range(0, self.COUNT, 500):
            several = [Mark(f"key:{n}", "key", ONE).pack() for n in range(i, i + 500)]
            store.broker.enqueue([Envelope(f"m{mark!r}{j}", "q", b"", extras={1: mark}) for mark in several for j in range(2)])
        assert len(store.claim(hand, self.COUNT)) == self.COUNT
        assert store.claim(hand, 9) == []
        said = (b"key", b"kept", b"2")
        changed, more = store.line.run(scripts.OVERRIDE, 1, store.keys.root, *said)
        assert (changed, more) == (1, 1)
        assert 0 < len(store.claim(hand, self.COUNT)) < self.COUNT
        assert store.line.run(scripts.REST, 1, store.keys.root) == 1
        while store.broker.maintain().more:
            pass
        while got := store.claim(hand, self.COUNT):
            assert got
        assert limits.backlog("q") == 0
        assert store.left() == sorted(name for name in store.left() if name.startswith(b"e:"))

    def test_a_purge_of_many_lanes(self, store: Store) -> None:
        for i in range(0, self.COUNT, 500):
            several = [Envelope(f"m{n}", "q", b"", extras={1: Mark(f"lock:{n}", "lock", ONE).pack()}) for n in range(i, i + 500)]
            store.broker.enqueue(several)
        count, left = store.line.run(scripts.PURGE, 1, store.keys.root, b"q", 1000)
        assert (count, left) == (1000, self.COUNT - 1000)
        assert store.unsound() == []
        assert store.broker.purge("q") == left
        assert store.left() == []

    def test_a_plain_message_is_found_in_any_lane(self, store: Store) -> None:
        inspects = require(store.broker, Inspects)
        several = [Envelope(f"m{n}", "q", b"", extras={1: Mark(f"lock:{n % 900}", "lock", ONE).pack()}) for n in range(1000)]
        store.broker.enqueue(several)
        for id in ("m0", "m899", "m999"):
            found = inspects.find(id)
            assert found is not None and found.envelope.id == id
        assert inspects.find("m1000") is None
        seen, cursor = set[str](), None
        while True:
            page = inspects.browse("q", Place.READY, 300, cursor)
            seen |= {one.envelope.id for one in page.messages}
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == {one.id for one in several}


class TestHealing:
    def test_a_place_that_nobody_holds_is_freed(self, store: Store) -> None:
        """Nothing is known that leaves one; if something does, a lock is not lost for ever."""
        store.broker.enqueue([Envelope("m", "q", b"", extras={1: LOCK_A})])
        store.line.call("SADD", store.keys.root + b"e:lock:a", "gone:1:0")
        hand = store.admit("h")
        assert store.claim(hand) == []
        store.broker.maintain()
        assert [d.envelope.id for d in store.claim(hand)] == ["m"]

    def test_after_the_servers_clock_went_back(self, store: Store) -> None:
        """What a clock that was an hour ahead has written is void: imitated, since a server's clock cannot be set from here."""
        hand, root = store.admit("h"), store.keys.root
        store.broker.enqueue([Envelope(f"m{i}", "q", b"", extras={1: Mark("task:r", "task:r", Rule(10, 1000)).pack()}) for i in range(50)])
        held = store.claim(hand, 50)
        store.done(hand, *held)
        assert 1 <= len(held) <= 3
        ahead = store.broker.ping() + HOUR
        store.line.call("ZADD", root + b"rates", ahead, "task:r")
        store.line.call("ZADD", root + b"u:q", ahead, "l5:0::task:r")
        store.line.call("HSET", root + b"laned", "q", struct.pack(">dd", ahead, ahead))
        answer = store.exchange(hand)
        while not answer.deliveries:
            assert answer.next_due is not None and answer.next_due <= 101
            store.broker.wait(["q"], answer.next_due / 1000)
            answer = store.exchange(hand)
        assert store.unsound() == []


def test_no_more_than_asked_for_where_a_list_ends_with_the_last(store: Store) -> None:
    hand = store.admit("h")
    store.broker.enqueue(
        [Envelope("first", "q", b"", priority=9), Envelope("plain", "q", b""), Envelope("lane", "q", b"", extras={1: LOCK_A})]
    )
    assert [d.envelope.id for d in store.claim(hand, 1)] == ["first"]
    assert len(store.claim(hand, 9)) == 2


def test_a_holder_without_limited_deliveries_is_plain_again(store: Store) -> None:
    """Else a child that once ran a limited task would pay for it all its life."""
    hand = store.admit("h")
    store.broker.enqueue([Envelope("m", "q", b"", extras={1: LOCK_A})])
    [held] = store.claim(hand)
    assert store.line.call("HGET", store.keys.held("h"), "l") == b"1"
    store.broker.enqueue([Envelope("plain", "q", b"")])
    assert len(store.claim(hand)) == 1
    store.done(hand, held)
    assert store.line.call("HGET", store.keys.held("h"), "l") is None
    store.broker.enqueue([Envelope("m", "q", b"", extras={1: LOCK_A})])
    store.broker.give_back(hand, [d.receipt for d in store.claim(hand)])
    assert store.line.call("HGET", store.keys.held("h"), "l") is None
