"""A call of the broker that is never answered is broken off by the supervisor's signal, and by nothing else."""

import os
import signal
import socket
import threading

import pytest

from tests.waiting import wait_for
from umbel.clock import SYSTEM
from umbel.errors import BrokerError, BrokerUnreachable, ReplyLost, StoreFull
from umbel.worker.slots import Slots
from umbel.worker.tether import Tether

POKE = signal.SIGUSR2
_SOCKETS: list[socket.socket] = []


class Silent:
    """A broker whose server accepts and never answers; or whose calls do as told."""

    def __init__(self, answer=None):
        self.answer = answer
        self.ours, self.theirs = socket.socketpair()
        _SOCKETS.extend((self.ours, self.theirs))

    def exchange(self, *arguments):
        if self.answer is not None:
            return self.answer()
        return self.ours.recv(1)

    def wait(self, queues, timeout, stop):
        self.ours.recv(1)

    def open(self):
        pass

    def close(self):
        pass


@pytest.fixture
def slots():
    made = Slots.create(1)
    made.clear(0)
    yield made
    made.close()


def _tether(slots, broker, recovered=lambda away: None):
    child = slots.child(0)
    tether = Tether(broker, child, SYSTEM, recovered)
    signal.signal(POKE, lambda *_: tether.on_signal())
    return child, tether


@pytest.fixture(autouse=True)
def _handler():
    before = signal.getsignal(POKE)
    yield
    signal.signal(POKE, before)
    while _SOCKETS:
        _SOCKETS.pop().close()


def _order_while_it_hangs(slots, beat):
    """As the supervisor does: again and again, until the child has moved on."""
    stop = threading.Event()

    def order():
        while not stop.wait(0.01):
            slots.want_reconnect(0, beat)
            os.kill(os.getpid(), POKE)

    thread = threading.Thread(target=order)
    thread.start()
    return lambda: (stop.set(), thread.join())


@pytest.mark.parametrize("call", [lambda t: t.exchange("h", 1, (), ["q"], 1), lambda t: t.wait(["q"], 5.0, 0)])
def test_a_call_without_an_answer_is_broken_off(slots, call):
    child, tether = _tether(slots, Silent())
    child.beat(7.0)
    end = _order_while_it_hangs(slots, 7.0)
    try:
        with pytest.raises(ReplyLost):
            call(tether)
    finally:
        end()


def test_an_order_for_an_earlier_beat_does_nothing(slots):
    broker = Silent()
    child, tether = _tether(slots, broker)
    child.beat(8.0)
    slots.want_reconnect(0, 7.0)
    struck = threading.Event()

    def strike():
        for _ in range(20):
            os.kill(os.getpid(), POKE)
        struck.set()
        broker.theirs.send(b"x")

    thread = threading.Thread(target=strike)
    thread.start()
    assert tether.exchange("h", 1, (), ["q"], 1) == b"x"
    thread.join()
    assert struck.is_set()


def test_nothing_is_broken_off_outside_of_a_call(slots):
    child, _tethered = _tether(slots, Silent())
    child.beat(7.0)
    slots.want_reconnect(0, 7.0)
    os.kill(os.getpid(), POKE)


def _fails(error):
    def answer():
        raise error

    return answer


def test_the_slot_says_since_when_exchanges_fail(slots):
    spans = []
    broker = Silent(_fails(BrokerUnreachable("away")))
    _child, tether = _tether(slots, broker, spans.append)
    for _ in range(2):
        with pytest.raises(BrokerUnreachable):
            tether.exchange("h", 1, (), ["q"], 1)
    since = slots.pulse(0).failing
    assert 0 < since <= SYSTEM.monotonic()
    broker.answer = lambda: "answer"
    wait_for(lambda: SYSTEM.monotonic() > since)
    assert tether.exchange("h", 1, (), ["q"], 1) == "answer"
    assert slots.pulse(0).failing == 0
    assert len(spans) == 1 and spans[0] > 0


def test_a_full_store_has_answered(slots):
    _child, tether = _tether(slots, Silent(_fails(StoreFull("no room"))))
    with pytest.raises(StoreFull):
        tether.exchange("h", 1, (), ["q"], 1)
    assert slots.pulse(0).failing == 0


def test_a_broker_that_does_not_open_fails(slots):
    broker = Silent()
    broker.open = _fails(BrokerError("no"))
    _child, tether = _tether(slots, broker)
    tether.reopen()
    assert slots.pulse(0).failing > 0
