"""When a child wishes to be replaced, and when it begins nothing more."""

import random

import pytest

from umbel.worker import lifespan
from umbel.worker.lifespan import Lifespan
from umbel.worker.memory import MIB
from umbel.worker.slots import Slots, Wish


class Life:
    """A lifespan, its slot, and what the process weighs by the test's word."""

    def __init__(self, monkeypatch, tasks=0, memory=0, born=40, seed=1):
        self.weight = born
        monkeypatch.setattr(lifespan, "anonymous", lambda pid: self.weight * MIB)
        self.slots = Slots.create(1)
        self.slots.clear(0)
        self.span = Lifespan(self.slots.child(0), tasks, memory * MIB, random.Random(seed))

    @property
    def wish(self):
        return self.slots.wish(0)


@pytest.fixture
def life(monkeypatch):
    return lambda **given: Life(monkeypatch, **given)


def test_without_limits_it_lives_for_ever(life):
    one = life()
    for _ in range(1000):
        one.span.claimed(500)
    assert one.span.share(500) == 500
    assert not one.span.batch_ended() and one.wish is Wish.NONE and one.span.look_at == float("inf")


@pytest.mark.parametrize("tasks", [1, 2, 10, 1000])
def test_it_never_runs_more_tasks_than_it_may_and_few_less(life, tasks):
    runs = []
    for seed in range(50):
        one, done = life(tasks=tasks, seed=seed), 0
        while not one.span.over:
            assert one.wish is Wish.NONE
            share = one.span.share(7)
            one.span.claimed(share)
            done += share
            one.span.batch_ended()
        assert one.wish is Wish.TASKS
        runs.append(done)
    assert tasks * 0.9 <= min(runs) <= max(runs) <= tasks
    assert tasks < 20 or len(set(runs)) > 20, "they would all leave at once"


def test_the_wish_comes_with_the_last_batch_and_the_end_after_it(life):
    one = life(tasks=1)
    one.span.claimed(1)
    assert one.wish is Wish.TASKS and not one.span.over
    assert one.span.batch_ended()


def test_it_wishes_to_go_while_there_is_room_and_must_go_before_there_is_none(life):
    asked, stopped = [], []
    for seed in range(50):
        one = life(memory=140, seed=seed)
        for weight in range(40, 141):
            one.weight = weight
            over = one.span.look(float(weight))
            if one.wish is Wish.MEMORY and len(asked) == seed:
                asked.append(weight)
            if over:
                stopped.append(weight)
                break
    assert min(asked) >= 110 and max(asked) <= 126 and len(set(asked)) > 8
    assert set(stopped) == {136}


def test_who_grows_fast_or_has_wished_to_go_is_looked_at_after_every_task(life):
    one = life(memory=140)
    one.span.look(1.0)
    assert one.span.look_at > 1.0
    one.weight += 10
    one.span.look(2.0)
    assert one.span.look_at == 2.0
    one.span.look(3.0)
    assert one.span.look_at > 3.0
    one.weight = 130
    one.span.look(4.0)
    one.span.look(5.0)
    assert one.span.look_at == 5.0
