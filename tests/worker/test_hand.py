"""Who begins what, and who gives it back: each delivery has one fate, whatever comes between."""

import random
import threading
import time
from types import SimpleNamespace

import pytest

from umbel.envelope import ALONE, Delivery, Envelope, Receipt
from umbel.message import Body
from umbel.outcome import Done
from umbel.worker.executor import Prepared
from umbel.worker.hand import Hand
from umbel.worker.permits import Permits
from umbel.worker.roster import Rosters, key_of


def prepared(seq, index, **fields):
    delivery = Delivery(Receipt("h", seq, index), Envelope(f"{seq}:{index}", "q", b"", **fields))
    return Prepared(delivery, SimpleNamespace(name="task"), Body("task"))


def batch(seq, count):
    return [prepared(seq, index) for index in range(count)]


class Parts:
    """A hand, and what its supervisor sees of it."""

    def __init__(self, capacity=4, limits=(0.0, 0.0)):
        self.roster = Rosters.create(1, capacity).of(0)
        self.roster.clear()
        self.permits = Permits.create()
        self.calls = 0
        self.hand = Hand(self.roster, self.permits, time.monotonic, lambda _: limits, self._called)

    def _called(self):
        self.calls += 1

    def take_back(self):
        """As the supervisor does it: all permits that are left, then the list that they belong to."""
        taken = self.permits.drain()
        return self.roster.unbegun(taken) if taken else []


@pytest.fixture
def parts():
    return Parts()


def keys(found):
    return [key_of(one.delivery.receipt) for one in found]


def test_what_is_added_is_begun_in_order_while_there_is_room(parts):
    assert parts.hand.add(batch(1, 3), 1.0)
    assert parts.hand.add(batch(2, 3), 2.0)
    begun = [parts.hand.begin() for _ in range(5)]
    assert [run.key for run in begun[:4]] == keys(batch(1, 3)) + keys(batch(2, 1))
    assert begun[4] is None
    assert parts.hand.free == 0
    assert sorted(row.key for row in parts.roster.rows()) == sorted(run.key for run in begun[:4])
    parts.hand.end(begun[1], Done())
    assert sorted(row.key for row in parts.roster.rows()) == sorted(run.key for run in begun[:4] if run is not begun[1])
    assert parts.hand.begin().key == keys(batch(2, 2))[1]
    assert [one.run for one in parts.hand.collect()] == [begun[1]]


def test_what_was_taken_back_is_not_begun_and_the_rest_is(parts):
    parts.hand.add(batch(1, 3), 1.0)
    first = parts.hand.begin()
    assert parts.take_back() == keys(batch(1, 3))[1:]
    assert parts.hand.begin() is None
    assert parts.hand.taken
    assert not parts.hand.add(batch(2, 2), 2.0), "the list is the supervisor's until he has said that he is done"
    assert not parts.hand.tidy(0)
    assert parts.hand.tidy(parts.roster.generation)
    assert parts.hand.add(batch(3, 1), 3.0)
    assert parts.hand.begin().key == keys(batch(3, 1))[0]
    assert first.key in parts.hand.runs


def test_a_missing_permit_is_noticed_when_something_is_added(parts):
    parts.hand.add(batch(1, 3), 1.0)
    parts.permits.take()  # the supervisor is in the middle of taking
    assert not parts.hand.add(batch(2, 1), 2.0)
    left = parts.take_back()
    assert len(left) == 2, "what the hand had taken to look is there again"
    generation = parts.roster.generation
    assert parts.hand.tidy(generation)
    assert parts.roster.generation != generation
    assert parts.hand.waiting == 0


def test_what_the_supervisor_left_stays(parts):
    """He took the last one only; the child takes the others while it looks, and keeps them."""
    parts.hand.add(batch(1, 3), 1.0)
    parts.permits.take()
    assert parts.roster.unbegun(1) == keys(batch(1, 3))[2:]
    assert not parts.hand.add(batch(2, 1), 2.0)
    assert parts.hand.tidy(parts.roster.generation)
    assert [parts.hand.begin().key for _ in range(2)] == keys(batch(1, 3))[:2]
    assert parts.hand.begin() is None


def test_closing_releases_what_is_not_begun_and_not_taken(parts):
    parts.hand.add(batch(1, 4), 1.0)
    parts.hand.begin()
    parts.permits.take()
    assert keys(parts.hand.close()) == keys(batch(1, 4))[1:3]
    assert parts.hand.close() == []
    assert parts.hand.begin() is None
    assert not parts.hand.add(batch(2, 1), 2.0)


def test_what_runs_alone_is_known_before_and_while_it_runs(parts):
    parts.hand.add([prepared(1, 0, flags=ALONE)], 1.0)
    assert parts.hand.alone
    run = parts.hand.begin()
    assert parts.hand.alone
    parts.hand.end(run, Done())
    assert not parts.hand.alone


def test_the_earliest_limits_are_known():
    parts = Parts(limits=(5.0, 9.0))
    woken = []
    parts.hand.roused = lambda: woken.append(True)
    parts.hand.add(batch(1, 2), 1.0)
    one, two = parts.hand.begin(), parts.hand.begin()
    assert parts.roster.hard == one.hard
    assert parts.hand.next_look == one.soft
    assert len(woken) == 1, "the second is later"
    parts.hand.end(one, Done())
    assert parts.hand.look(one.hard) == [two] or two.soft > one.hard
    assert parts.roster.hard == two.hard


def test_what_is_overdue_is_left_to_the_supervisor_once_all_else_is_settled():
    parts = Parts(limits=(0.0, 5.0))
    parts.hand.add(batch(1, 2), 1.0)
    one, two = parts.hand.begin(), parts.hand.begin()
    late = two.hard + 1.0
    assert not parts.hand.abandon(one.hard - 1.0)
    parts.hand.end(one, Done())
    assert not parts.hand.abandon(late), "one has ended and would run again"
    parts.hand.collect()
    assert parts.hand.abandon(late)
    parts.hand.end(two, Done())
    assert [row.key for row in parts.roster.rows()] == [two.key], "nobody would settle it, and nobody would be blamed"
    assert not parts.hand.collect()


def test_each_delivery_has_one_fate_whatever_comes_between():
    """Threads begin, the loop adds, a supervisor takes back, all as fast as they can: begun or given back, never both."""
    parts = Parts(capacity=8)
    begun, given_back, refused = [], [], []
    returned = [0]
    stop = threading.Event()

    def pool():
        while not stop.is_set():
            run = parts.hand.begin()
            if run is not None:
                begun.append(run.key)
                parts.hand.end(run, Done())

    def supervisor():
        rng = random.Random(7)
        owed = 0
        while not stop.is_set():
            if parts.roster.generation != owed and rng.random() < 0.3:
                back = parts.take_back()
                if back:
                    owed = parts.roster.generation
                    given_back.extend(back)
                    returned[0] = owed

    threads = [threading.Thread(target=pool) for _ in range(3)] + [threading.Thread(target=supervisor)]
    for thread in threads:
        thread.start()
    total = 0
    try:
        for seq in range(1, 3000):
            new = batch(seq, 5)
            total += 5
            parts.hand.tidy(returned[0])
            if not parts.hand.add(new, float(seq)):
                refused += keys(new)
            parts.hand.collect()
        deadline = time.monotonic() + 30
        while len(begun) + len(given_back) + len(refused) < total and time.monotonic() < deadline:
            parts.hand.tidy(returned[0])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    everything = begun + given_back + refused
    assert len(everything) == len(set(everything)) == total
    assert begun and given_back
