"""The soft limit hits the run it was meant for, once, or nothing."""

import logging
import os
import signal
import sys
import threading

import pytest

from umbel.errors import SoftTimeLimitExceeded, TaskInterrupted
from umbel.events import Emitter, Event
from umbel.worker.slots import Command, Slots
from umbel.worker.softlimit import SoftLimit

POKE = signal.SIGUSR2


@pytest.fixture
def parts():
    slots = Slots.create(1)
    slots.clear(0)
    child = slots.child(0)
    child.batch(1, 1, 0.0)
    soft = SoftLimit(child)
    before = signal.signal(POKE, soft.on_signal)
    yield slots, child, soft
    signal.signal(POKE, before)
    slots.close()


def _begin(child):
    child.begin(0, 0.0, 1.0, 2.0)
    return child.version


def _aim(slots, version):
    slots.want_soft(0, version)
    os.kill(os.getpid(), POKE)


def test_it_is_raised_in_the_run_it_was_meant_for(parts):
    slots, child, soft = parts
    version = _begin(child)
    with pytest.raises(SoftTimeLimitExceeded):
        soft.call(version, lambda: _aim(slots, version))
    assert slots.soft_done(0) == version


def test_it_is_not_raised_in_another_run(parts):
    slots, child, soft = parts
    old = _begin(child)
    version = _begin(child)
    assert soft.call(version, lambda: [_aim(slots, old), "done"][1]) == "done"
    assert slots.soft_done(0) == 0


def test_it_is_raised_once(parts):
    slots, child, soft = parts
    version = _begin(child)

    def cleans_up():
        try:
            _aim(slots, version)
        except SoftTimeLimitExceeded:
            _aim(slots, version)
            return "cleaned"

    assert soft.call(version, cleans_up) == "cleaned"


class _Finalized:
    """Ends its life in the middle of a strike."""

    def __init__(self, strike):
        self.strike = strike

    def __del__(self):
        self.strike()


class _Handler(logging.Handler):
    def __init__(self, strike):
        super().__init__()
        self.strike = strike

    def emit(self, record):
        try:
            self.strike()
        except Exception:
            self.handleError(record)


def _finalize(strike):
    _Finalized(strike)  # nobody keeps it


def _log(strike):
    logger, handler = logging.getLogger("tests.softlimit"), _Handler(strike)
    logger.addHandler(handler)
    try:
        logger.warning("struck")
    finally:
        logger.removeHandler(handler)


def _emit(strike):
    emitter = Emitter()
    emitter.subscribe(Event, lambda _: strike())
    emitter.emit(Event())


@pytest.mark.parametrize("where", [_finalize, _log, _emit])
def test_where_it_would_be_swallowed_it_is_not_raised_yet(parts, where):
    slots, child, soft = parts
    version = _begin(child)
    went_on = []

    def task():
        where(lambda: _aim(slots, version))
        went_on.append(slots.soft_done(0))
        _aim(slots, version)  # as the supervisor does in its next round

    with pytest.raises(SoftTimeLimitExceeded):
        soft.call(version, task)
    assert went_on == [0], "it was confirmed though nobody heard of it"
    assert slots.soft_done(0) == version


def test_nothing_is_raised_between_runs(parts):
    slots, child, _soft = parts
    _aim(slots, _begin(child))


def test_a_shutdown_makes_it_an_interruption(parts):
    slots, child, soft = parts
    version = _begin(child)
    slots.command(0, Command.INTERRUPT)
    with pytest.raises(TaskInterrupted):
        soft.call(version, lambda: _aim(slots, version))


def test_a_coroutine_is_cancelled_and_the_next_one_is_not(parts):
    import asyncio

    slots, child, soft = parts
    version = _begin(child)

    async def hangs():
        _aim(slots, version)
        await asyncio.Event().wait()

    with pytest.raises(SoftTimeLimitExceeded):
        soft.call(version, lambda: soft.wait_for(hangs()))

    async def ends():
        await asyncio.sleep(0)
        return 7

    version = _begin(child)
    assert soft.call(version, lambda: soft.wait_for(ends())) == 7


def test_ten_thousand_rounds_never_hit_the_next_run(parts):
    """Another thread aims at whatever runs, as fast as it can, while short runs begin and end."""
    slots, child, soft = parts
    stop = threading.Event()
    main = threading.main_thread().ident

    def sniper():
        while not stop.is_set():
            running = slots.running(0)
            if running is not None and running.busy:
                slots.want_soft(0, running.version)
                signal.pthread_kill(main, POKE)

    hits = 0
    inside = 0

    def run(version):
        nonlocal inside
        inside = version
        sum(range(200))
        return version

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that the sniper comes in everywhere
    thread = threading.Thread(target=sniper)
    thread.start()
    try:
        rounds = 0
        while rounds < 10_000 or not hits:  # the sniper may be slow to begin
            rounds += 1
            version = _begin(child)
            try:
                assert soft.call(version, lambda v=version: run(v)) == version
            except SoftTimeLimitExceeded:
                hits += 1
                assert slots.soft_done(0) == version, "it was meant for another run"
            child.end()
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
