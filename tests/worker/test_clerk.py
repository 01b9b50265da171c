"""The clerk calls in order, on its own thread, hands over on the loop's, and survives whatever a call does."""

import threading

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.errors import BrokerUnreachable
from umbel.testing.clock import ManualClock
from umbel.testing.faults import Fault, FaultyBroker
from umbel.worker.clerk import Clerk


@pytest.fixture
def notified():
    return threading.Event()


@pytest.fixture
def broker(tmp_path):
    return FaultyBroker(make_broker(f"sqlite:///{tmp_path}/umbel.db", BrokerSettings(), ManualClock()))


@pytest.fixture
def clerk(broker, notified):
    made = Clerk(broker, notified.set)
    made.start()
    yield made
    made.stop()


def _deliver(clerk, heard, count):
    def all_there():
        clerk.deliver()
        return len(heard) >= count

    wait_for(all_there)


def test_calls_are_made_in_order_and_handed_over_to_who_delivers(clerk, notified):
    made_by, heard = [], []
    for n in range(50):
        clerk.ask(lambda broker, n=n: (made_by.append(threading.get_ident()), n)[1], heard.append, heard.append)
    assert notified.wait(180)
    _deliver(clerk, heard, 50)
    assert heard == list(range(50))
    assert set(made_by) == {clerk._thread.ident}


def test_nothing_is_handed_over_before_somebody_delivers(clerk, notified):
    heard = []
    clerk.ask(lambda broker: 1, heard.append, heard.append)
    assert notified.wait(180)
    assert not heard
    clerk.deliver()
    assert heard == [1]


def test_a_broker_that_failed_is_opened_anew_for_the_next_call(clerk, broker):
    broker.fail("ping", 1, Fault.BEFORE)
    heard = []
    for _ in range(2):
        clerk.ask(lambda broker: broker.ping(), heard.append, heard.append)
    _deliver(clerk, heard, 2)
    assert isinstance(heard[0], BrokerUnreachable)
    assert isinstance(heard[1], int)
    assert broker.calls["open"] == 2


def test_a_broker_that_does_not_open_is_an_answer_too(clerk, broker):
    broker.fail("open", 1, Fault.BEFORE)
    heard = []
    for _ in range(2):
        clerk.ask(lambda broker: broker.ping(), heard.append, heard.append)
    _deliver(clerk, heard, 2)
    assert [type(answer) for answer in heard] == [BrokerUnreachable, int]


def test_it_survives_what_nobody_expected(clerk, caplog):
    heard = []
    clerk.ask(lambda broker: 1 / 0, heard.append, heard.append)
    clerk.ask(lambda broker: broker.ping(), heard.append, heard.append)
    _deliver(clerk, heard, 2)
    assert [type(answer) for answer in heard] == [ZeroDivisionError, int]
    assert "unexpected" in caplog.text


def test_a_last_call_comes_after_all_others(clerk):
    made = []
    clerk.ask(lambda broker: made.append("first"), lambda _: None, lambda _: None)
    assert clerk.last(lambda broker: made.append("last"), 10)
    assert made == ["first", "last"]


def test_a_call_that_hangs_keeps_nobody(clerk):
    hangs = threading.Event()
    clerk.ask(lambda broker: hangs.wait(180), lambda _: None, lambda _: None)
    assert not clerk.last(lambda broker: None, 0.05)
    clerk.stop(0.05)
    hangs.set()
    assert not clerk.last(lambda broker: None, 10), "after its end"


def test_a_last_call_that_fails_says_so(clerk, broker):
    broker.fail("open", 1, Fault.BEFORE)
    assert not clerk.last(lambda broker: None, 10)
