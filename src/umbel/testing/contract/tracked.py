"""The random walk once more, with messages that are tracked: their records, and where they are found, say what the model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from ...envelope import TRACKED, Envelope
from ...facets import Cancelled, Inspects, Place, Remembers, State, require
from .chance import CHANCE, Chance, when
from .harness import Harness, has
from .machine import Walk
from .model import Known
from .profile import PROFILE, THOROUGH

STATES = {
    "waiting": {State.PENDING, State.SCHEDULED, State.RETRY},
    "leased": {State.STARTED},
    "dead": {State.FAILURE},
    "ended": {State.FAILURE, State.REVOKED},
    "gone": {State.SUCCESS, State.REVOKED},
}
PLACES: dict[str, set[Place | None]] = {
    "waiting": {Place.READY, Place.SCHEDULED},
    "leased": {Place.LEASED},
    "dead": {Place.DEAD},
    "ended": {Place.DEAD, None},
    "gone": {None},
}


class TrackedWalk(Walk):
    """Two of three messages are tracked, if the broker keeps records."""

    def __init__(self, fresh: Callable[[], Harness]) -> None:
        super().__init__(fresh)
        self.tracked: list[str] = []

    def message(self, queue: str, priority: int = 5, after: int = 0, lost_dead: bool = False) -> Envelope:
        made = super().message(queue, priority, after, lost_dead)
        if has(self.harness, Remembers) and self.names % 3:
            made.flags |= TRACKED
            self.tracked.append(made.id)
        return made

    def teardown(self) -> None:
        try:
            for id in self.tracked:
                self.agrees(id)
        finally:
            super().teardown()

    @invariant()
    def the_newest_agree(self) -> None:
        for id in self.tracked[-2:]:
            self.agrees(id)

    @rule(chance=CHANCE)
    @when(lambda self: self.tracked)
    def any_other_agrees(self, chance: Chance) -> None:
        self.agrees(chance.pick(self.tracked))

    @rule(chance=CHANCE, terminate=st.booleans())
    @when(lambda self: has(self.harness, Inspects) and self.tracked)
    def cancel_a_tracked_one(self, chance: Chance, terminate: bool) -> None:
        one = self.known[chance.pick(self.tracked)]
        answer = require(self.broker, Inspects).cancel(one.id, terminate)
        assert answer == {"waiting": Cancelled.WAITING, "leased": Cancelled.RUNNING}.get(one.place, Cancelled.UNKNOWN)
        if one.place == "waiting":
            one.place = "gone"
        one.cancelled = one.cancelled or one.place == "leased"

    def agrees(self, id: str) -> None:
        """What the store remembers of it, and where it finds it."""
        one: Known = self.known[id]
        record = require(self.broker, Remembers).record(id)
        assert record is not None and record.state in STATES[one.place], f"{id} is {one.place}, and its record: {record}"
        if record.state in (State.STARTED, State.RETRY):
            assert record.attempt == one.attempt
        if has(self.harness, Inspects):
            found = require(self.broker, Inspects).find(id)
            assert (found.place if found else None) in PLACES[one.place], f"{id} is {one.place}, and found: {found}"
            assert found is None or (found.envelope.id, found.holder or "") == (id, one.holder if one.place == "leased" else "")


class TestTrackedMachine:
    @pytest.mark.timeout(3600 if THOROUGH else 120)
    def test_records_hold_on_any_walk(self, make_harness: Callable[[], Harness]) -> None:
        walk: Any = lambda: TrackedWalk(make_harness)  # noqa: E731 - hypothesis wants a factory, and calls it by no name
        run_state_machine_as_test(walk, settings=PROFILE)
