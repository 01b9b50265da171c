"""The random walk once more, with most messages in lanes and some with keys: no limit is ever exceeded, a full one blocks nobody, and in
the end nothing is left over.

Limits are concurrencies and rates so slow or so fast that no clock matters: what a walk sees is places and keys, on a store whose time
goes on by itself too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from ...broker import Exchanged
from ...envelope import Envelope, Extra
from ...facets import Inspects as InspectsFacet
from ...facets import Limits, Place, Remembers, Waits, require
from ...lane import Mark, Rule
from .chance import CHANCE, Chance, when
from .harness import Harness, counts, has, maintain_all, refuses
from .model import Consumer
from .profile import PROFILE, THOROUGH
from .tracked import TrackedWalk

MOST = {"lock:a": 1, "lock:b": 1, "task:t": 3, "task:u": 2}
"""The limits of the walk, and their concurrency."""
SHAPES: list[tuple[str, str]] = [("lock:a", ""), ("lock:b", ""), ("lock:a", "task:t"), ("lock:b", "task:t"), ("task:t", ""), ("task:u", "")]
"""Lanes and groups of messages."""


class LaneWalk(TrackedWalk):
    """Three of four messages stand in lanes; one of five is unique."""

    def __init__(self, fresh: Callable[[], Harness]) -> None:
        super().__init__(fresh)
        self.shapes: dict[str, tuple[str, ...]] = {}
        """Id to the limits that it stands on."""
        self.owners: dict[str, str] = {}
        """Unique key to the id that has it, as far as the model knows."""
        self.most = dict(MOST)
        self.until_start: set[str] = set()

    def message(self, queue: str, priority: int = 5, after: int = 0, lost_dead: bool = False) -> Envelope:
        made = super().message(queue, priority, after, lost_dead)
        if self.names % 4:
            lane, group = SHAPES[(self.names * 7 + priority) % len(SHAPES)]
            self.shapes[made.id] = (lane, group) if group else (lane,)
            marks = [Mark(limit, f"rule of {limit}", Rule(concurrency=MOST[limit])) for limit in self.shapes[made.id]]
            made.extras = dict(zip((int(Extra.LANE), int(Extra.GROUP)), [mark.pack() for mark in marks], strict=False))
        return made

    # -- limits

    def held(self) -> dict[str, int]:
        """Limit to the deliveries that stand on it."""
        found = dict.fromkeys(MOST, 0)
        for consumer in self.consumers.values():
            for delivery in consumer.held:
                for limit in self.shapes.get(delivery.envelope.id, ()):
                    found[limit] += 1
        return found

    def hand_out(self, consumer: Consumer, answer: Exchanged, queues: list[str], limit: int) -> None:
        before = self.held()
        super().hand_out(consumer, answer, queues, limit)
        after = self.held()
        for name, most in self.most.items():
            assert after[name] <= max(most, before[name]), f"{name}: {after[name]} in hands, {most} may be"

    @rule(chance=CHANCE, most=st.sampled_from([0, 1, 2, 5, None]))
    def change_a_limit(self, chance: Chance, most: int | None) -> None:
        name = chance.pick(sorted(MOST))
        limits = require(self.broker, Limits)
        if most is None:
            limits.clear(f"rule of {name}")
        else:
            limits.override(f"rule of {name}", Rule(concurrency=most))
        self.most[name] = MOST[name] if most is None else most
        limits.declare({f"rule of {name}": Rule(concurrency=MOST[name])})

    # -- keys

    @rule(chance=CHANCE, key=st.sampled_from(["k1", "k2"]), until_start=st.booleans())
    def send_a_unique_one(self, chance: Chance, key: str, until_start: bool) -> None:
        made = self.message("qa")
        made.extras = {**(made.extras or {}), int(Extra.UNIQUE): key.encode()}
        if until_start:
            made.extras[int(Extra.UNIQUE_UNTIL)] = b"start"
        before = self.brokers[0].ping()
        [answer] = self.broker.enqueue([made])
        owner = self.owner(key)
        if answer.duplicate_of is None:
            assert owner is None, f"{made.id} has {key!r}, and so has {owner}"
            self.note([made], before)
            self.owners[key] = made.id
        else:
            assert answer.duplicate_of == self.owners.get(key), f"{made.id}: {key!r} is that of {answer.duplicate_of}"
            assert owner is not None, f"{key!r} was not freed by the end of {answer.duplicate_of}"
            if made.id in self.tracked:
                self.tracked.remove(made.id)

    def owner(self, key: str) -> str | None:
        """The message that has a key: one that waits, or is held and not unique until its start only."""
        one = self.known.get(self.owners.get(key, ""))
        if one is None or one.place not in ("waiting", "leased"):
            return None
        started = one.delivery > 0 and one.id in self.until_start
        return None if started else one.id

    def note(self, messages: list[Envelope], before: int) -> None:
        super().note(messages, before)
        self.until_start |= {e.id for e in messages if e.extras and Extra.UNIQUE_UNTIL in e.extras}

    # -- what is seen

    @rule()
    def lanes_say_what_waits(self) -> None:
        seen = require(self.brokers[0], Limits).lanes(limit=100).lanes
        assert all(lane.waiting > 0 for lane in seen)
        held = self.held()
        for lane in seen:
            if lane.waits is Waits.CONCURRENCY:
                assert held[lane.limit] >= self.most[lane.limit]
            elif lane.waits is Waits.NOTHING:
                assert held[lane.limit] < self.most[lane.limit]

    @rule()
    @when(lambda self: has(self.harness, InspectsFacet))
    def all_that_is_ready_is_listed(self) -> None:
        inspects = require(self.broker, InspectsFacet)
        for queue in ("qa", "qb"):
            page = inspects.browse(queue, Place.READY, 1000)
            assert len({m.envelope.id for m in page.messages}) == len(page.messages) == counts(self.brokers[0], queue)[0]

    # -- the end

    def everything_is_still_there(self) -> None:
        """Limits are lifted: then the walk ends as any other."""
        limits = require(self.broker, Limits)
        for name in MOST:
            limits.override(f"rule of {name}", Rule(concurrency=-1))
        super().everything_is_still_there()
        maintain_all(self.broker)
        assert list(self.harness.remains()) == []


class TestLaneMachine:
    @pytest.mark.timeout(3600 if THOROUGH else 300)
    def test_limits_hold_on_any_walk(self, make_harness: Callable[[], Harness]) -> None:
        harness = make_harness()
        lacking = [facet for facet in (Limits, Remembers) if not has(harness, facet)]
        if lacking:
            refuses(harness, lacking[0])
            return
        walk: Any = lambda: LaneWalk(make_harness)  # noqa: E731 - hypothesis wants a factory, and calls it by no name
        run_state_machine_as_test(walk, settings=PROFILE)
