"""``Limits.backlog``: what waits in a queue, wherever in it."""

from __future__ import annotations

from ...envelope import TRACKED
from ...facets import Cancelled, Inspects, Limits, Remembers, require
from .harness import Hand, Harness, envelope, has, needs, several
from .lanes import limited


class TestBacklog:
    @needs(Limits)
    def test_ready_in_lanes_and_scheduled(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        assert limits.backlog("q") == 0
        broker.enqueue(
            [*several(3), envelope(priority=9), envelope(after=600_000), limited(), limited(), limited("x", "task:b", priority=0)]
        )
        broker.enqueue([envelope(queue="r")])
        assert (limits.backlog("q"), limits.backlog("r"), limits.backlog("s")) == (8, 1, 0)
        got = Hand(broker).claim(3)
        assert limits.backlog("q") == 5 and len(got) == 3
        broker.purge("q")
        assert limits.backlog("q") == 0

    @needs(Limits)
    def test_cancelled_ones_are_gone(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        flags = TRACKED if has(harness, Remembers) else 0
        broker.enqueue([limited("a", flags=flags), limited("b", flags=flags)])
        if flags:
            assert require(broker, Inspects).cancel("a") == Cancelled.WAITING
            assert require(broker, Limits).backlog("q") == 1
