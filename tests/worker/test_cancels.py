"""An order to end a run is kept until nobody here holds its message."""

import signal
import subprocess

import pytest

from tests.waiting import wait_for
from umbel.broker import BrokerSettings, Settle
from umbel.brokers import make_broker
from umbel.clock import SYSTEM
from umbel.envelope import Envelope
from umbel.outcome import Done
from umbel.testing.faults import Fault, FaultyBroker
from umbel.worker.cancels import Cancels
from umbel.worker.clerk import Clerk
from umbel.worker.crew import Killed, Member
from umbel.worker.places import Places
from umbel.worker.watch import Watch


class Desk:
    """A child (a real process) that holds two messages, and the orders about them."""

    def __init__(self, address, process):
        self.store = make_broker(address, BrokerSettings(), SYSTEM)
        self.store.open()
        self.store.renew("w", 60.0)
        self.store.admit("w", "w/1")
        self.store.enqueue([Envelope(f"m{n}", "q", b"{}") for n in range(2)])
        self.held = self.store.exchange("w/1", 1, (), ["q"], 2).deliveries
        self.faulty = FaultyBroker(make_broker(address, BrokerSettings(), SYSTEM))
        self.clerk = Clerk(self.faulty, lambda: None)
        self.clerk.start()
        places = Places(1)
        place = places.take()
        self.child = places.slots.child(place)
        self.child.batch(1, 2, SYSTEM.monotonic())
        self.member = Member(place, "w/1", None, {}, SYSTEM.monotonic(), pid=process.pid)
        self.slots = places.slots
        watch = Watch(self.clerk, places, SYSTEM, lambda: None)
        self.cancels = Cancels(self.clerk, SYSTEM, watch.end_run)
        self.rounds = 0

    def begin(self, index):
        self.child.begin(index, SYSTEM.monotonic(), 0.0, 0.0)

    def turn(self):
        self.cancels.turn([self.member])
        self.clerk.deliver()
        return self.member.killed

    def turns(self, questions):
        """Until the store was asked so often more, and its last answer was heard."""
        enough = self.faulty.calls["resume"] + questions
        wait_for(lambda: self.turn() is not Killed.NO or (self.faulty.calls["resume"] >= enough and not self.cancels._asked))
        return self.member.killed

    def close(self):
        self.clerk.stop()
        self.store.close()


@pytest.fixture
def desk(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as process:
        made = Desk(f"sqlite:///{tmp_path}/umbel.db", process)
        yield made
        made.close()
        process.kill()


def test_who_runs_it_is_killed(desk):
    desk.begin(1)
    desk.cancels.add("m1")
    wait_for(lambda: desk.turn() is Killed.CANCEL)
    assert desk.member.killed_version == desk.child.version


def test_who_has_not_begun_it_is_looked_at_again(desk):
    desk.begin(0)
    desk.cancels.add("m1")
    assert desk.turns(3) is Killed.NO
    desk.child.end()
    desk.begin(1)
    wait_for(lambda: desk.turn() is Killed.CANCEL)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_a_broker_that_fails_is_asked_again(desk, fault):
    desk.begin(1)
    for call in (1, 2):
        desk.faulty.fail("resume", call, fault)
    desk.cancels.add("m1")
    wait_for(lambda: desk.turn() is Killed.CANCEL)


def test_the_order_ends_when_nobody_holds_it(desk):
    desk.begin(0)
    desk.cancels.add("m1")
    desk.turns(1)
    desk.store.exchange("w/1", 2, [Settle(desk.held[1].receipt, Done())], [], 0)
    wait_for(lambda: not (desk.turn() is Killed.CANCEL or desk.cancels._wanted))
    assert desk.member.killed is Killed.NO


def test_what_is_held_elsewhere_is_nobodys_business(desk):
    desk.begin(0)
    desk.cancels.add("foreign")
    wait_for(lambda: desk.turn() and not desk.cancels._wanted)
    assert desk.member.killed is Killed.NO


def test_a_process_that_is_gone_is_not_asked_about(desk):
    desk.begin(1)
    desk.member.signal(signal.SIGKILL)
    desk.member.last = desk.slots.last_words(desk.member.slot)
    desk.cancels.add("m1")
    wait_for(lambda: desk.turn() and not desk.cancels._wanted)
    assert desk.member.killed is Killed.NO
