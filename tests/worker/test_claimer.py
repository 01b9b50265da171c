"""About 20 ms of work, whatever a task takes."""

from umbel.envelope import Delivery, Envelope, Receipt
from umbel.worker.claimer import BUDGET, HOARD, MOST, Claimer


def test_the_first_claim_is_one():
    assert Claimer().limit() == 1


def test_small_tasks_are_claimed_by_the_hundred_after_a_few_rounds():
    claimer = Claimer()
    sizes = []
    for _ in range(5):
        sizes.append(claimer.limit())
        claimer.ran("noop", 0.00001)
    assert sizes == [1, 8, 64, MOST, MOST]


def test_a_slow_run_shrinks_the_next_claim_at_once():
    claimer = Claimer()
    for _ in range(10):
        claimer.limit()
        claimer.ran("noop", 0.00001)
    claimer.ran("noop", 0.9)
    assert claimer.limit() == 1


def test_a_claim_holds_the_budget():
    claimer = Claimer()
    for _ in range(10):
        claimer.limit()
        claimer.ran("t", 0.001)
    assert claimer.limit() == int(BUDGET / 0.001)


def test_unknown_and_slow_tasks_are_told():
    claimer = Claimer()
    assert claimer.is_slow("new")
    claimer.ran("new", 0.0001)
    assert not claimer.is_slow("new")
    claimer.ran("long", 0.2)
    assert claimer.is_slow("long")


def _bodies(size, count=10):
    return [Delivery(Receipt("h", 1, n), Envelope(f"m{n}", "q", b"x" * size)) for n in range(count)]


def test_large_bodies_are_claimed_a_few_at_a_time():
    claimer = Claimer()
    for _ in range(10):
        claimer.ran("t", 0.00001)
        claimer.claimed(_bodies(100))
        claimer.limit()
    assert claimer.limit() == MOST
    claimer.claimed(_bodies(200_000))
    assert claimer.limit() == HOARD // 200_000
    claimer.claimed(_bodies(HOARD * 2, 1))
    assert claimer.limit() == 1
    for _ in range(200):
        claimer.claimed(_bodies(100))
        claimer.limit()
    assert claimer.limit() == MOST
