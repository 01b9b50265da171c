"""Heartbeat, upkeep and leave-taking: none of them ends by surprise, and no ghost stays in the store."""

import threading

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.clock import SYSTEM
from umbel.envelope import Envelope
from umbel.errors import BrokerUnreachable
from umbel.testing.faults import FaultyBroker
from umbel.worker import supervisor as supervisor_module
from umbel.worker.clerk import Clerk
from umbel.worker.lease import Lease
from umbel.worker.options import WorkerOptions
from umbel.worker.supervisor import Supervisor
from umbel.worker.upkeep import Upkeep


class Recording(FaultyBroker):
    """Writes down which verbs were carried out, in all objects of one store; ``before`` may do something first."""

    def __init__(self, inner, done, before):
        super().__init__(inner)
        self._done = done
        self._before = before

    def _call(self, verb, call):
        self._before(verb)
        answer = super()._call(verb, call)
        self._done.append(verb)
        return answer


@pytest.fixture
def parts(tmp_path):
    """A function that makes a lease and a clerk; what is carried out; and what to do before a verb."""
    done, before, made = [], {}, []

    def broker():
        inner = make_broker(f"sqlite:///{tmp_path}/umbel.db", BrokerSettings(), SYSTEM)
        return Recording(inner, done, lambda verb: before.get(verb, lambda: None)())

    def make(heartbeat=0.01):
        lease = Lease(broker(), "w", 60.0, heartbeat, b"", SYSTEM, lambda: None)
        clerk = Clerk(broker(), lambda: None)
        lease.start()
        clerk.start()
        made.extend([lambda: lease.stop(10), clerk.stop])
        return lease, clerk

    yield make, done, before
    for stop in made:
        stop()


def _supervisor(lease, clerk):
    made = Supervisor(WorkerOptions(app="none:app"))
    made.worker, made.lease, made.clerk = "w", lease, clerk
    return made


def test_no_heartbeat_comes_after_the_leave(parts):
    make, done, _ = parts
    lease, clerk = make()
    wait_for(lambda: done.count("renew") > 5)
    _supervisor(lease, clerk)._take_leave()
    assert not lease._thread.is_alive()
    assert [verb for verb in done if verb != "close"][-1] == "leave"


def test_a_heartbeat_that_was_carried_out_late_leaves_no_ghost(parts, monkeypatch, tmp_path):
    """It hangs when the worker leaves, and makes it known again afterwards."""
    monkeypatch.setattr(supervisor_module, "_FAREWELL", 0.3)
    make, done, before = parts
    lease, clerk = make(heartbeat=1.0)
    wait_for(lambda: done.count("renew") == 1)
    hung, late = threading.Event(), threading.Event()
    before["renew"] = lambda: (hung.set(), late.wait(180))
    assert hung.wait(180)
    before["leave"] = lambda: done.count("leave") or threading.Timer(0.1, late.set).start()
    _supervisor(lease, clerk)._take_leave()
    assert [verb for verb in done if verb in ("renew", "leave")] == ["renew", "leave", "renew", "leave"]


def test_a_heartbeat_survives_what_nobody_expected(parts, caplog):
    make, done, before = parts
    faults = [RuntimeError("a bug"), BrokerUnreachable("away"), ValueError("another bug")]

    def fails():
        if faults:
            raise faults.pop(0)

    before["renew"] = fails
    lease, _ = make()
    wait_for(lambda: done.count("renew") > 3)
    assert not faults
    assert lease.answering_since() is not None
    assert len(lease.away) == 1
    assert "a bug" in caplog.text


def test_upkeep_survives_what_nobody_expected(parts, caplog):
    make, done, before = parts
    lease, clerk = make()
    faults = [RuntimeError("a message of the next release"), BrokerUnreachable("away")]

    def fails():
        if faults:
            raise faults.pop(0)

    before["maintain"] = fails
    upkeep = Upkeep(clerk, lease, 0.04, SYSTEM, lambda event: None)

    def turned():
        upkeep.turn()
        clerk.deliver()
        return done.count("maintain") > 2

    wait_for(turned)
    assert not faults
    assert "next release" in caplog.text


def test_what_a_heartbeat_heard_counts_though_the_rest_of_it_failed(tmp_path):
    """The store says an order once. Who serves which queue is said after it, and may fail."""
    address, seen = f"sqlite:///{tmp_path}/umbel.db", BrokerSettings()
    store = make_broker(address, seen, SYSTEM)
    store.open()
    broker = make_broker(address, seen, SYSTEM)
    serve, ordered, failed = broker.serve, [], []

    def serves(worker, queues):
        if ordered and not failed:
            failed.append(1)
            raise BrokerUnreachable("as ordered")
        return serve(worker, queues)

    renew = broker.renew

    def renews(worker, ttl, about):
        answer = renew(worker, ttl, about)
        ordered.extend(answer.commands)
        return answer

    broker.serve, broker.renew = serves, renews
    lease = Lease(broker, "w", 60.0, 0.01, b"", SYSTEM, lambda: None)
    lease.serves = ("q",)
    lease.start()
    try:
        wait_for(lambda: lease.began)
        store.admit("w", "w/1")
        store.enqueue([Envelope("m", "q", b"{}")])
        assert store.exchange("w/1", 1, (), ["q"], 1).deliveries
        store.cancel("m", terminate=True)
        wait_for(lambda: failed)
        wait_for(lambda: lease.answering_since() is not None)
        assert [(one.do, one.id) for one in lease.commands] == [("cancel", "m")]
    finally:
        lease.stop(10)
        store.close()
