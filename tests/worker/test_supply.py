"""When to claim, when to wait, and how much to hold."""

import pytest

from umbel.envelope import Delivery, Envelope, Receipt
from umbel.worker.claimer import MOST, Claimer
from umbel.worker.room import Room
from umbel.worker.roster import WAITING_MAX
from umbel.worker.supply import Supply


class Lookout:
    """Waits until a test says that it has ended."""

    def __init__(self):
        self.waits, self.alone, self.woken, self.asked = False, True, 0, []

    def wait(self, queues, timeout, *, alone):
        assert not self.waits
        self.waits, self.alone = True, alone
        self.asked.append((alone, timeout))

    def wake(self):
        self.woken += 1


@pytest.fixture
def lookout():
    return Lookout()


@pytest.fixture
def supply(lookout):
    return Supply(lookout)


def test_at_first_there_may_be_something(supply):
    assert supply.more(1.0, ["q"], empty=True)


def test_with_empty_hands_it_is_waited_at_once_and_asked_when_that_ends(supply, lookout):
    supply.ran_out(1.0, None, empty=True)
    assert not supply.more(1.0, ["q"], empty=True)
    assert lookout.asked == [(True, 5.0)]
    assert supply.look_again() > 5.0
    lookout.waits = False
    assert supply.more(1.1, ["q"], empty=True)


def test_while_something_runs_it_is_waited_a_little_later(supply, lookout):
    supply.ran_out(1.0, 2000, empty=False)
    assert not supply.more(1.0, ["q"], empty=False)
    assert lookout.asked == []
    assert 1.0 < supply.look_again() < 1.01
    assert not supply.more(1.01, ["q"], empty=False)
    [(alone, timeout)] = lookout.asked
    assert not alone
    assert timeout == pytest.approx(1.99)


def test_when_nothing_is_held_any_more_it_is_waited_for_what_runs_alone_too(supply, lookout):
    supply.ran_out(1.0, None, empty=False)
    supply.more(1.01, ["q"], empty=False)
    supply.ran_out(2.0, None, empty=True)
    assert lookout.woken == 1
    assert not supply.more(2.0, ["q"], empty=True)
    assert supply.look_again() > 3.0, "the end of the wait is told; to ask before is to spin"
    lookout.waits = False
    assert not supply.more(2.001, ["q"], empty=True)
    assert lookout.asked[-1][0] is True


def test_a_wait_for_more_than_could_be_had_is_no_reason_to_spin(supply, lookout):
    supply.ran_out(1.0, None, empty=True)
    supply.more(1.0, ["q"], empty=True)
    supply.ran_out(1.5, None, empty=False)
    assert supply.look_again() > 3.0
    assert lookout.woken == 0


def test_a_lookout_that_never_answers_costs_a_few_seconds(supply, lookout):
    supply.ran_out(1.0, None, empty=True)
    supply.more(1.0, ["q"], empty=True)
    assert not supply.more(6.0, ["q"], empty=True)
    assert supply.more(8.5, ["q"], empty=True)


@pytest.fixture
def room():
    return Room(Claimer(), 100)


def _means(room, seconds):
    for _ in range(200):
        room._claimer.ran("task", seconds)


def test_of_what_is_unknown_no_more_is_claimed_than_can_begin(room):
    assert room.wanted(100, 0) == 100
    assert room.wanted(0, 0) == 0


def test_of_short_tasks_20_ms_of_work_are_held(room):
    _means(room, 0.010)
    assert room.spare == pytest.approx(200, abs=2)
    assert room.wanted(0, 0) == room.spare
    assert room.wanted(0, room.spare // 2 + 1) == 0, "a round trip brings many"
    assert room.wanted(100, 0) == 100 + room.spare


def test_a_pool_that_is_behind_is_given_no_more_than_a_roster_holds():
    """One with room for 10,000 that begins nothing, since its loop hangs."""
    room = Room(Claimer(), 10_000)
    _means(room, 0.1)
    waiting = 0
    while wanted := room.wanted(10_000, waiting):
        waiting += wanted
    assert waiting <= WAITING_MAX


def test_of_long_tasks_none_is_hoarded(room):
    _means(room, 60.0)
    assert room.spare == 0
    assert room.wanted(3, 0) == 3


def test_after_something_was_taken_back_nothing_is_hoarded_until_a_run_has_ended(room):
    _means(room, 0.010)
    room.stingy = True
    assert room.wanted(0, 0) == 0
    assert room.wanted(5, 0) == 5


def test_claims_are_bounded(room):
    _means(room, 0.00001)
    assert room.wanted(100, 0) == MOST
    room._claimer.claimed([Delivery(Receipt("h", 1, 0), Envelope("x", "q", bytes(1 << 20)))])
    assert room.wanted(100, 0) == 4
