"""Hostages go back once, whatever becomes of the answers."""

import os
import subprocess

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings
from umbel.brokers import make_broker
from umbel.clock import SYSTEM
from umbel.envelope import Envelope
from umbel.testing.clock import ManualClock
from umbel.testing.faults import Fault, FaultyBroker
from umbel.worker.clerk import Clerk
from umbel.worker.crew import Killed, Member
from umbel.worker.judge import STUCK_AGE
from umbel.worker.places import Places
from umbel.worker.watch import Watch


@pytest.fixture
def address(tmp_path):
    return f"sqlite:///{tmp_path}/umbel.db"


@pytest.fixture
def store(address):
    made = make_broker(address, BrokerSettings(), SYSTEM)
    made.open()
    made.renew("w", 60.0)
    for holder in ("w/1", "w/2"):
        made.admit("w", holder)
    yield made
    made.close()


@pytest.fixture
def faulty(address):
    return FaultyBroker(make_broker(address, BrokerSettings(), SYSTEM))


@pytest.fixture
def clerk(faulty):
    made = Clerk(faulty, lambda: None)
    made.start()
    yield made
    made.stop()


def first_of_four(store):
    """A child with four messages in hands for too long, that has begun the first."""
    store.enqueue([Envelope(f"m{n}", "q", b"{}") for n in range(4)])
    held = store.exchange("w/1", 1, (), ["q"], 4).deliveries
    places = Places(1)
    place = places.take()
    child, permits = places.slots.child(place), places.permits[place]
    now = SYSTEM.monotonic()
    child.batch(1, len(held), now - 1.0)
    permits.grant(len(held))
    assert permits.take()
    child.begin(0, now, 0.0, 0.0)
    member = Member(place, "w/1", None, {}, now, pid=os.getpid())
    return places, member, child, permits


@pytest.mark.parametrize("faults", [[], [Fault.AFTER], [Fault.BEFORE, Fault.AFTER]])
def test_a_lost_answer_to_giving_back_is_asked_for_again(store, faulty, clerk, faults):
    for n, fault in enumerate(faults):
        faulty.fail("give_back", n + 1, fault)
    places, member, child, permits = first_of_four(store)
    watch = Watch(clerk, places, SYSTEM, lambda: None)

    def given_back():
        watch.turn(member)
        clerk.deliver()
        return child.returned == 1

    wait_for(given_back)
    assert not permits.take(), "what goes back must not be begun"
    assert faulty.calls["give_back"] == len(faults) + 1
    again = store.exchange("w/2", 1, (), ["q"], 10).deliveries
    assert [d.envelope.id for d in again] == ["m1", "m2", "m3"]
    assert [d.envelope.id for d in store.resume("w/1")] == ["m0"]
    permits.close()
    places.slots.close()


def test_whose_permits_are_taken_while_it_writes_is_looked_at_again_later(store, faulty, clerk):
    """It may have been killed, or stopped, in the middle of that write: nobody waits for its end."""
    places, member, _, permits = first_of_four(store)
    watch = Watch(clerk, places, SYSTEM, lambda: None)
    real, reads = places.slots.running, []

    def torn_second(number):
        reads.append(number)
        assert len(reads) < 10, "the loop waits for a write that never ends"
        return real(number) if len(reads) == 1 else None

    places.slots.running = torn_second
    watch.turn(member)
    assert not permits.take()
    assert not member.owed
    places.slots.running = real
    watch.turn(member)
    assert [r.index for r in member.owed] == [1, 2, 3]
    permits.close()
    places.slots.close()


def test_a_child_that_hangs_before_its_first_beat_is_killed(clerk):
    places, clock = Places(1), ManualClock()
    clock.advance(10_000)
    with subprocess.Popen(["sleep", "60"]) as process:
        member = Member(places.take(), "w/1", None, {}, 0.0, pid=process.pid, seen=clock.monotonic())
        watch = Watch(clerk, places, clock, lambda: 1.0)
        try:
            clock.advance(int(STUCK_AGE * 1000) // 3)
            watch.turn(member)
            assert member.killed is Killed.NO
            clock.advance(int(STUCK_AGE * 1000))
            watch.turn(member)
            assert member.killed is Killed.STUCK
        finally:
            process.kill()
    places.slots.close()
