"""A fork while the worker is in the middle of a call of its store."""

from __future__ import annotations

import threading

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.testing.clock import ManualClock
from umbel.worker.forkgate import ForkGate


@pytest.fixture
def broker():
    broker = make_broker("memory://", BrokerSettings(), ManualClock())
    broker.open()
    return broker


def test_it_waits_for_calls_and_lets_none_in(broker, monkeypatch):
    gate, release, entered, done = ForkGate(), threading.Event(), threading.Event(), []

    def slow() -> int:
        entered.set()
        release.wait(180)
        return 1

    monkeypatch.setattr(type(broker), "ping", lambda self: slow())
    gate.guard(broker)
    calls = [threading.Thread(target=lambda: done.append(broker.ping())) for _ in range(2)]
    calls[0].start()
    assert entered.wait(180)
    assert gate.close(0.05) is False
    calls[1].start()
    closing = threading.Thread(target=lambda: done.append("closed" if gate.close(20) else "late"))
    closing.start()
    release.set()
    closing.join(180)
    assert done == [1, "closed"], "a call began while the gate was closed"
    gate.open()
    calls[1].join(180)
    assert done == [1, "closed", 1]


def test_a_wait_for_work_is_ended(broker):
    import os

    gate = ForkGate()
    gate.guard(broker)
    stop, write = os.pipe()
    gate.wake = lambda: os.write(write, b"\0")
    waiting = threading.Thread(target=lambda: broker.wait(["q"], 5, stop))
    waiting.start()
    wait_for(lambda: gate._inside == 1)
    assert gate.close(20) is True
    waiting.join(180)
    for fd in (stop, write):
        os.close(fd)


def test_errors_leave_it_too(broker):
    gate = ForkGate()
    gate.guard(broker)
    with pytest.raises(ValueError, match=r"1,?000"):
        broker.enqueue([None] * 1001)
    assert gate.close(1) is True
