"""Who follows whom, and who waits for nobody."""

import pytest

from umbel.worker.crew import Member
from umbel.worker.slots import IDLE, Slots, Wish
from umbel.worker.succession import Succession, stays_no_longer


class House:
    def __init__(self, count):
        self.slots = Slots.create(count)
        self.succession = Succession(self.slots)
        self.members = []

    def engage(self, pid=0):
        place = len(self.members)
        self.slots.clear(place)
        made = Member(place, f"h{place}", None, {}, 0.0, pid=pid)
        self.succession.born(made, self.members)
        self.members.append(made)
        return made

    def wishes(self, member, wish):
        self.slots.child(member.slot).wish(wish)
        self.succession.hear(member)


@pytest.fixture
def house():
    return House(6)


def test_an_heir_waits_for_one_predecessor_and_each_has_one(house):
    a, b = house.engage(1), house.engage(2)
    house.wishes(a, Wish.TASKS)
    house.wishes(b, Wish.MEMORY)
    c, d, e = house.engage(), house.engage(), house.engage()
    assert [house.succession.must_wait(m) for m in (c, d, e)] == [True, True, False]
    assert house.succession.ended(b) is d
    assert [house.succession.must_wait(m) for m in (c, d, e)] == [True, False, False]


def test_after_an_heirs_death_the_next_one_is_the_heir(house):
    a = house.engage(1)
    house.wishes(a, Wish.TASKS)
    b = house.engage(2)
    b.last = IDLE
    house.succession.free(b)
    c = house.engage(3)
    assert house.succession.must_wait(c)
    assert house.succession.ended(a) is c


def test_who_was_told_to_leave_or_has_ended_is_not_followed(house):
    a, b = house.engage(1), house.engage(2)
    a.leaving = True
    house.wishes(a, Wish.TASKS)
    house.wishes(b, Wish.TASKS)
    b.last = IDLE
    assert not house.succession.must_wait(house.engage())
    assert stays_no_longer(a) and stays_no_longer(b)


@pytest.mark.parametrize(("wish", "busy", "told"), [(Wish.TASKS, True, False), (Wish.TASKS, False, True), (Wish.MEMORY, True, True)])
def test_it_is_told_to_go_when_its_heir_is_there(house, wish, busy, told):
    a = house.engage(1)
    child = house.slots.child(a.slot)
    child.batch(1, 2, 0.0)
    if busy:
        child.begin(0, 0.0, 0.0, 0.0)
    house.wishes(a, wish)
    assert not house.succession.may_go(a)
    heir = house.engage()
    assert not house.succession.may_go(a), "it is not forked yet"
    heir.pid = 2
    assert house.succession.may_go(a) == told
    a.leaving = True
    assert not house.succession.may_go(a), "it was told"
