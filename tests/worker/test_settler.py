"""One number, one exchange: repeated until it is answered, whatever the wire does."""

import pytest

from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.envelope import Envelope
from umbel.errors import BrokerUnreachable, Fenced, ReplyLost, StoreFull
from umbel.outcome import Done
from umbel.testing.clock import ManualClock
from umbel.worker.settler import LATEST, Settler


class Wire:
    """A broker whose calls of ``exchange`` fail as told: before they are done, or after."""

    def __init__(self, broker, *faults):
        self._broker = broker
        self.faults = list(faults)

    def __getattr__(self, name):
        return getattr(self._broker, name)

    def close(self):
        pass  # a memory store lives as long as its handle

    def exchange(self, *arguments):
        fault = self.faults.pop(0) if self.faults else None
        if fault == "before":
            raise BrokerUnreachable("cut before the call")
        if fault == "full":
            raise StoreFull("no room")
        answer = self._broker.exchange(*arguments)
        if fault == "after":
            raise ReplyLost("cut after the call")
        return answer


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def broker(clock):
    made = make_broker("memory://", BrokerSettings(), clock)
    made.open()
    made.renew("w", 20.0)
    made.admit("w", "h")
    yield made
    made.close()


def _settler(broker, clock, *faults):
    return Settler(Wire(broker, *faults), "h", clock, pause=lambda span: clock.advance(1))


def _enqueue(broker, count):
    broker.enqueue([Envelope(f"m{n}", "q", b"{}") for n in range(count)])


def test_it_is_due_after_ten_milliseconds(broker, clock):
    _enqueue(broker, 1)
    settler = _settler(broker, clock)
    (delivery,) = settler.exchange(["q"], 1).deliveries
    assert not settler.due(100.0)
    settler.add(delivery.receipt, Done(), 100.0)
    assert not settler.due(100.0 + LATEST / 2)
    assert settler.due(100.0 + LATEST + 0.001)


@pytest.mark.parametrize("faults", [["before"], ["after"], ["before", "after", "before", "after"]])
def test_a_broken_wire_loses_and_doubles_nothing(broker, clock, faults):
    _enqueue(broker, 6)
    settler = _settler(broker, clock, *faults)
    first = settler.exchange(["q"], 3).deliveries
    settler.broker.faults = list(faults)
    for delivery in first:
        settler.add(delivery.receipt, Done(), 0.0)
    second = settler.exchange(["q"], 10)
    assert [str(v) for v in second.verdicts] == ["won"] * 3
    assert [d.envelope.id for d in (*first, *second.deliveries)] == [f"m{n}" for n in range(6)]
    assert all(d.envelope.delivery == 1 for d in second.deliveries)


def test_a_retired_holder_is_told_at_once(broker, clock):
    settler = _settler(broker, clock)
    broker.retire("h")
    with pytest.raises(Fenced):
        settler.exchange(["q"], 1)


def test_a_lease_that_is_renewed_in_time_goes_on(broker, clock):
    _enqueue(broker, 1)
    settler = _settler(broker, clock)
    clock.advance(30_000)
    settler._pause = lambda span: broker.renew("w", 20.0)
    assert len(settler.exchange(["q"], 1).deliveries) == 1


def test_a_full_store_is_waited_for_with_the_results_in_hand(broker, clock):
    _enqueue(broker, 1)
    settler = _settler(broker, clock)
    (delivery,) = settler.exchange(["q"], 1).deliveries
    settler.add(delivery.receipt, Done(), 0.0)
    settler.broker.faults = ["full", "full"]
    assert [str(v) for v in settler.exchange([], 0).verdicts] == ["won"]


def test_after_a_long_outage_the_first_heartbeat_is_not_slept_through(broker, clock):
    """Tries had become rare. Now the store answers, that the lease is over; the supervisor will renew it in a moment."""
    _enqueue(broker, 1)
    settler = _settler(broker, clock, *["before"] * 10)
    pauses = []

    def pause(span):
        pauses.append(span)
        clock.advance(3_000)
        if len(pauses) == 12:
            broker.renew("w", 20.0)

    settler._pause = pause
    assert len(settler.exchange(["q"], 1).deliveries) == 1
    assert pauses[9] > 0.9
    assert max(pauses[10:]) < 0.2
