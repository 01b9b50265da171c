"""What the facet ``Limits`` shows an operator of lanes."""

from __future__ import annotations

from ...facets import Inspects, Limits, Waits, require
from ...lane import Mark, Rule
from .harness import Hand, Harness, envelope, has, needs
from .lanes import HOUR, few, limited


class TestLanesSeen:
    """What an operator sees of lanes."""

    @needs(Limits)
    def test_what_they_wait_for(self, harness: Harness) -> None:
        broker = harness.broker()
        limits, now = require(broker, Limits), broker.ping()
        slow, group = Rule(1, HOUR), Mark("task:g", "task:g", few(1))
        broker.enqueue([limited("a"), limited("b"), limited("r1", "task:r", slow), limited("r2", "task:r", slow)])
        broker.enqueue([limited("g1", "lock:1", few(5), group=group), limited("g2", "lock:2", few(5), group=group)])
        broker.enqueue([limited("free", "task:z", queue="r")])
        before = {s.limit: s for s in limits.lanes("q").lanes}
        assert {s.waits for s in before.values()} == {Waits.NOTHING}
        assert before["task:a"].waiting == 2 and abs(before["task:a"].since - now) < 60_000
        assert len(Hand(broker).claim(9)) == 3
        seen = {s.limit: s for s in limits.lanes().lanes}
        assert {limit: s.waits for limit, s in seen.items()} == {
            "task:a": Waits.CONCURRENCY,
            "task:r": Waits.RATE,
            "lock:2": Waits.GROUP_CONCURRENCY,
            "task:z": Waits.NOTHING,
        }
        assert (seen["task:a"].held, seen["task:a"].waiting, seen["task:a"].numbers) == (1, 1, few(1))
        assert (seen["lock:2"].group, seen["lock:2"].held, seen["lock:2"].numbers) == ("task:g", 1, few(1))
        until = seen["task:r"].until
        assert until is not None and now + HOUR - 60_000 < until <= broker.ping() + HOUR
        assert [s.limit for s in limits.lanes("r").lanes] == ["task:z"] and limits.lanes("none").lanes == []

    @needs(Limits)
    def test_the_lane_of_one_message(self, harness: Harness) -> None:
        broker = harness.broker()
        limits, message = require(broker, Limits), limited("b")
        assert limits.lane(message) is None and limits.lane(envelope()) is None
        broker.enqueue([limited("a"), message])
        Hand(broker).claim_one()
        seen = limits.lane(message)
        assert seen is not None and (seen.limit, seen.waits, seen.waiting) == ("task:a", Waits.CONCURRENCY, 1)

    @needs(Limits)
    def test_by_pages(self, harness: Harness) -> None:
        broker = harness.broker()
        limits = require(broker, Limits)
        broker.enqueue([limited(lane=f"task:{i:02}") for i in range(25)])
        seen, cursor = list[str](), None
        for _ in range(10):
            page = limits.lanes("q", 10, cursor)
            seen += [s.limit for s in page.lanes]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == [f"task:{i:02}" for i in range(25)]

    @needs(Limits)
    def test_of_a_paused_queue(self, harness: Harness) -> None:
        if not has(harness, Inspects):
            return
        broker = harness.broker()
        broker.enqueue([limited("a")])
        require(broker, Inspects).pause_queue("q")
        assert [s.waits for s in require(broker, Limits).lanes().lanes] == [Waits.PAUSED]
