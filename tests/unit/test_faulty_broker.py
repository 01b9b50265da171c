"""Faults on order come when they were ordered, once, and to whom."""

from __future__ import annotations

import pytest

from umbel.broker import Broker, BrokerSettings
from umbel.brokers import make_broker
from umbel.envelope import Envelope
from umbel.errors import BrokerUnreachable, ReplyLost
from umbel.testing.clock import ManualClock
from umbel.testing.faults import Fault, FaultyBroker, insist


@pytest.fixture
def broker() -> FaultyBroker:
    return FaultyBroker(make_broker("memory://", BrokerSettings(), ManualClock()))


def test_without_orders_it_is_the_broker_inside(broker: FaultyBroker) -> None:
    broker.enqueue([Envelope("a", "q", b"")])
    assert [s.queue for s in broker.stats()] == ["q"]
    assert broker.calls == {"enqueue": 1, "stats": 1}


def test_every_verb_can_fail() -> None:
    for verb in Broker.__abstractmethods__:
        assert verb in FaultyBroker.__dict__, f"{verb} goes past the faults"


def test_the_numbers_count_failed_calls_too(broker: FaultyBroker) -> None:
    broker.fail("ping", 1, Fault.BEFORE)
    broker.fail("ping", 2, Fault.AFTER)
    with pytest.raises(BrokerUnreachable, match="call 1 of ping"):
        broker.ping()
    with pytest.raises(ReplyLost, match="call 2 of ping"):
        broker.ping()
    assert broker.ping() > 0


def test_halves_of_the_exchange_are_exchanges(broker: FaultyBroker) -> None:
    broker.renew("w", 60)
    broker.admit("w", "h")
    broker.fail_next("exchange", Fault.AFTER)
    with pytest.raises(ReplyLost):
        broker.claim("h", 1, ["q"], 1)
    assert broker.claim("h", 1, ["q"], 1).deliveries == []


@pytest.mark.parametrize("verb", ["claim", "settle", "exchagne", "capabilities"])
def test_an_order_that_could_never_come_is_refused(broker: FaultyBroker, verb: str) -> None:
    with pytest.raises(ValueError, match="no verb that can fail"):
        broker.fail(verb, 1, Fault.BEFORE)


def test_nor_one_for_a_call_already_made(broker: FaultyBroker) -> None:
    broker.ping()
    with pytest.raises(ValueError, match="made already"):
        broker.fail("ping", 1, Fault.BEFORE)


def test_insisting_ends(broker: FaultyBroker) -> None:
    for call in (1, 2, 3):
        broker.fail("ping", call, Fault.BEFORE)
    with pytest.raises(BrokerUnreachable):
        insist(broker.ping, times=3)
    assert insist(broker.ping, times=1) > 0
