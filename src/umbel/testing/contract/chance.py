"""What a walk leaves to chance, drawn in one piece of always the same form.

A store with a clock of its own does not answer the same twice: what is due now may not be due in the next run. Hypothesis takes
draws whose form depends on such answers for a fault of the test. So each rule draws one number, and what is chosen from what
happens to be there follows from it; a rule that has nothing to act on does nothing.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Chance:
    """Choices that follow from one number."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._random = random.Random(number)

    def __repr__(self) -> str:
        return f"Chance({self._number})"

    def pick(self, among: Sequence[T]) -> T:
        """One of them."""
        return self._random.choice(among)

    def some(self, among: Sequence[T]) -> list[T]:
        """At least one of them, in any order."""
        return self._random.sample(among, self._random.randint(1, len(among)))

    def flip(self) -> bool:
        """Yes or no."""
        return self._random.random() < 0.5


CHANCE = st.integers(0, 2**32).map(Chance)


def when(holds: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Under ``@rule``: do nothing unless ``holds(machine)``."""

    def only(step: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(step)
        def checked(machine: Any, **drawn: Any) -> None:
            if holds(machine):
                step(machine, **drawn)

        return checked

    return only
