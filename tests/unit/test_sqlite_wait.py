"""How whoever waits on the SQLite broker is woken."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel import ResultTimeout, Umbel
from umbel.broker import BrokerSettings
from umbel.brokers.sqlite import Address, SQLiteBroker
from umbel.brokers.sqlite import watch as watch_module
from umbel.brokers.sqlite.watch import Inotify, Polling
from umbel.clock import SYSTEM, Clock
from umbel.envelope import Envelope
from umbel.testing.clock import ManualClock

Make = Callable[..., SQLiteBroker]
PROMPT = 2.5
"""Seconds: half of the longest wait. A wake-up that is lost takes longer."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SQLiteBroker] = []

    def make(clock: Clock = SYSTEM, synchronous: str = "NORMAL") -> SQLiteBroker:
        made.append(SQLiteBroker(Address(tmp_path / "store.db", synchronous), BrokerSettings(), clock))
        made[-1].open()
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture(params=["inotify", "polling"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of watching; polling is what other systems have, and what is left when the user's inotify limit is reached."""
    if request.param == "polling":

        def refused(path: Path) -> None:
            raise OSError(24, "inotify_init1")

        monkeypatch.setattr(watch_module, "Inotify", refused)
    return str(request.param)


def feed(path: Path, count: int, synchronous: str) -> None:
    """Another process, which stores one message at a time."""
    broker = SQLiteBroker(Address(path, synchronous), BrokerSettings(), SYSTEM)
    broker.open()
    for i in range(count):
        time.sleep(0.003 * (i % 5))
        broker.enqueue([Envelope(f"m{i}", "q", b"")])
    broker.close()


class TestWoken:
    def test_the_way_of_watching(self, make: Make, kind: str) -> None:
        broker = make()
        broker.wait(["q"], 0.01)
        assert isinstance(broker.waiter._watch, Polling if kind == "polling" else Inotify)

    @pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
    def test_no_wake_up_is_lost_between_processes(self, make: Make, tmp_path: Path, kind: str, synchronous: str) -> None:
        broker, count, got = make(synchronous=synchronous), 60, list[str]()
        broker.renew("w", 600)
        broker.admit("w", "w.a")
        feeder = multiprocessing.get_context("spawn").Process(target=feed, args=(tmp_path / "store.db", count, synchronous))
        feeder.start()
        seq = 0
        while len(got) < count:
            seq += 1
            got += [d.envelope.id for d in broker.exchange("w.a", seq, [], ["q"], 1).deliveries]
            if len(got) < count:
                begin = SYSTEM.monotonic()
                woken = broker.wait(["q"], 5.0)
                assert not got or (woken and SYSTEM.monotonic() - begin < PROMPT), f"nobody woke it after {len(got)}"
        feeder.join()
        assert got == [f"m{i}" for i in range(count)]

    def test_others_traffic_does_not_end_a_wait(self, make: Make, kind: str) -> None:
        broker, other = make(), make()
        for i in range(20):
            other.enqueue([Envelope(f"m{i}", "other", b"")])
        stop = threading.Event()

        def traffic() -> None:
            mine = make()
            while not stop.wait(0.002):
                mine.enqueue([Envelope("n", "other", b"")])
            mine.close()

        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            begin = SYSTEM.monotonic()
            assert not broker.wait(["q"], 0.3)
            assert 0.29 <= SYSTEM.monotonic() - begin < PROMPT
        finally:
            stop.set()
            thread.join()

    def test_stop_ends_it_and_is_not_read(self, make: Make, kind: str) -> None:
        broker, (ear, mouth) = make(), os.pipe()
        later = threading.Timer(0.05, os.write, [mouth, b"stop"])
        begin = SYSTEM.monotonic()
        later.start()
        assert not broker.wait(["q"], 5.0, ear)
        assert SYSTEM.monotonic() - begin < PROMPT
        assert os.read(ear, 9) == b"stop"
        later.join()
        os.close(ear)
        os.close(mouth)

    def test_what_is_written_and_not_seen_yet_is_waited_for(self, make: Make, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A commit can be seen only a moment after its last byte, the last that a watch hears of, was written. The reads of this
        moment are stood in for; that somebody writes is real."""
        broker, writer = make(), make()
        writer.enqueue([Envelope("a", "q", b"")])
        monkeypatch.setattr(broker.store, "read", lambda step: (None, None))
        assert broker.wait(["q"], 1.0)
        held = threading.Event()

        def write_for_long() -> None:
            def step(_: int) -> None:
                held.set()
                time.sleep(0.1)

            mine = make()
            mine.store.write(step)
            mine.close()

        thread = threading.Thread(target=write_for_long)
        thread.start()
        held.wait(180)
        begin = SYSTEM.monotonic()
        assert broker.wait(["q"], 5.0)
        assert SYSTEM.monotonic() - begin < PROMPT
        thread.join()


class TestHandedInClock:
    def test_a_wait_ends_though_the_clock_stands_still(self, make: Make, kind: str) -> None:
        broker = make(ManualClock())
        begin = SYSTEM.monotonic()
        assert not broker.wait(["q"], 0.1)
        assert 0.09 <= SYSTEM.monotonic() - begin < PROMPT

    def test_what_is_due_is_decided_by_the_clock(self, make: Make) -> None:
        clock = ManualClock()
        broker = make(clock)
        broker.enqueue([Envelope("a", "q", b"", after=50)])
        assert not broker.wait(["q"], 0.1)
        clock.advance(50)
        assert broker.wait(["q"], 0.1)


def test_one_write_is_looked_at_a_few_times_and_then_forgotten(make: Make, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, other = make(), make()
    broker.wait(["q"], 0.01)
    other.enqueue([Envelope("a", "other", b"")])
    looks, read = list[int](), broker.store.read
    monkeypatch.setattr(broker.store, "read", lambda step: (looks.append(1), read(step))[1])  # type: ignore[func-returns-value]  # two in one expression
    broker.wait(["q"], 0.3)
    assert len(looks) <= 4


def test_waiting_costs_next_to_nothing(make: Make) -> None:
    broker = make()
    broker.wait(["q"], 0.05)
    before = time.process_time()  # a span of this process's own work, which no clock of ours can tell
    broker.wait(["q"], 1.0)
    assert time.process_time() - before < 0.05


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux has inotify")
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # Python 3.13 says so of what a thread leaves; it does close it
def test_a_thread_that_ends_leaves_no_watch(tmp_path: Path) -> None:
    """Threads come and go in a server, and a user has 128 inotify instances."""
    app = Umbel("threads", broker=f"sqlite:///{tmp_path / 'store.db'}")

    @app.task(track=True)
    def never() -> None: ...

    result = never.delay()

    def wait() -> None:
        with pytest.raises(ResultTimeout):
            result.get(timeout=0.01)

    before = _watches()
    for _ in range(3):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    gc.collect()
    assert _watches() == before
    app.close()


def _watches() -> int:
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]
    return links.count("anon_inode:inotify")
