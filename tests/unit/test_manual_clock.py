"""The clock that tests move by hand."""

from __future__ import annotations

import pytest

from umbel.testing.clock import START, ManualClock


def readings(clock: ManualClock) -> tuple[int, float, float]:
    return clock.now() - START, clock.monotonic(), clock.boottime()


def test_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    assert readings(clock) == readings(clock) == (0, 0.0, 0.0)


def test_time_passes_on_all_of_them() -> None:
    clock = ManualClock()
    clock.advance(1_500)
    assert readings(clock) == (1_500, 1.5, 1.5)


def test_somebody_sets_the_wall_clock_back() -> None:
    clock = ManualClock()
    clock.step(-60_000)
    assert readings(clock) == (-60_000, 0.0, 0.0)


def test_a_suspended_machine() -> None:
    clock = ManualClock()
    clock.suspend(2_000)
    assert readings(clock) == (2_000, 0.0, 2.0)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="step"):
        ManualClock().advance(-1)
