"""What ``Joins`` promises of cancelling, retrying and forgetting."""

from __future__ import annotations

import pytest

from ...broker import Blame
from ...envelope import CANCELLED, TRACKED
from ...facets import Inspects, require
from ...joins import FlowState, Joins, NodeState, pack_value
from ...outcome import Done, Dropped, Outcome, Released, Retry
from .flows import CONTINUE, FAILED, KEEP, begun, chain_of, node, nodes_of, run, stand, states
from .harness import LONG, Hand, Harness, counts, envelope, maintain_all, needs

DONE, ABANDONED, BLOCKED, DROPPED = NodeState.DONE, NodeState.ABANDONED, NodeState.BLOCKED, NodeState.DROPPED


def failing(*failed: int) -> Outcomes:
    return Outcomes(set(failed))


class Outcomes:
    """What each node ends with."""

    def __init__(self, failed: set[int]) -> None:
        self.failed = failed

    def __call__(self, number: int) -> Outcome:
        return FAILED if number in self.failed else Done(b"%d" % number)


class TestCancelFlow:
    @needs(Joins)
    def test_nothing_of_it_starts_any_more(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(4, needs=1), node(3, 4, needs=2), node(2, 3, after=60_000), node(1, 3, queue="x"), node(5))
        hand = Hand(broker)
        running = hand.claim_one("x")
        answer = joins.cancel_flow("f")
        assert (answer.found, answer.running) == (True, ["f.1"])
        assert stand(joins).state is FlowState.REVOKED
        maintain_all(broker)
        assert hand.claim() == []
        assert counts(broker) == (0, 0, 0, 0)
        hand.done(running)
        assert hand.claim() == []
        seen = stand(joins)
        assert (seen.state, seen.done, seen.failed, seen.abandoned, seen.finished > 0) == (FlowState.REVOKED, 1, 2, 2, True)
        assert states(joins) == {1: DONE, 2: DROPPED, 3: ABANDONED, 4: ABANDONED, 5: DROPPED}
        assert nodes_of(joins)[5].reason == "cancelled"
        assert not joins.cancel_flow("f").found
        assert not joins.retry_flow("f").found

    @needs(Joins)
    def test_what_runs_does_not_run_again(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(1), node(2))
        hand = Hand(broker)
        first, _ = hand.claim()
        assert sorted(joins.cancel_flow("f").running) == ["f.1", "f.2"]
        hand.settle(first, Retry(0))
        broker.retire(hand.name)
        assert counts(broker) == (0, 0, 0, 0)
        assert states(joins) == {1: DROPPED, 2: DROPPED}
        assert stand(joins).finished > 0

    @needs(Joins)
    def test_what_runs_is_told_to_stop_if_asked(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(1))
        hand = Hand(broker)
        hand.claim_one()
        joins.cancel_flow("f")
        assert broker.renew("w1", LONG).commands == []
        joins.cancel_flow("f", terminate=True)
        assert [(c.do, c.id) for c in broker.renew("w1", LONG).commands] == [("cancel", "f.1")]
        assert all(d.envelope.flags & CANCELLED for d in broker.resume(hand.name))

    @needs(Joins)
    def test_whatever_way_what_waits_came_to_where_it_waits(self, harness: Harness) -> None:
        broker = harness.broker()
        ways = [
            "given back",
            "released",
            "released for later",
            "retried at once",
            "retried later",
            "promoted",
            "scheduled",
            "retired",
            "rescued",
        ]
        members = [node(n, queue=way, after={"promoted": 20, "scheduled": 60_000}.get(way, 0)) for n, way in enumerate(ways)]
        joins = begun(broker, *members)
        hand, lost = Hand(broker), Hand(broker, "w2.a", "w2")
        broker.give_back(hand.name, [hand.claim_one("given back").receipt])
        hand.settle(hand.claim_one("released"), Released(0))
        hand.settle(hand.claim_one("released for later"), Released(60_000))
        hand.settle(hand.claim_one("retried at once"), Retry(0))
        hand.settle(hand.claim_one("retried later"), Retry(60_000))
        harness.advance(21)
        maintain_all(broker)
        lost.claim_one("retired")
        broker.retire(lost.name, [])
        Hand(broker, "w2.b", "w2").claim_one("rescued")
        harness.lapse(broker, "w2")
        maintain_all(broker, rescue=True)
        answer = joins.cancel_flow("f")
        assert (answer.found, answer.running) == (True, [])
        maintain_all(broker)
        assert [each for each in broker.stats() if each.ready or each.scheduled or each.leased or each.dead] == []
        assert set(states(joins).values()) == {DROPPED}
        assert stand(joins).finished > 0
        assert hand.claim(10, *ways) == []

    @needs(Joins)
    def test_it_is_no_failure(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *chain_of(2), node(3), handler=envelope("handler", "errors"))
        hand = Hand(broker)
        running = hand.claim_one()
        joins.cancel_flow("f")
        hand.settle(running, FAILED)
        maintain_all(broker)
        assert hand.claim(10, "errors") == []
        seen = stand(joins)
        assert (seen.state, seen.failed_node, seen.reason, seen.finished > 0) == (FlowState.REVOKED, None, "", True)

    @needs(Joins)
    def test_an_open_flow(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(1), close=False)
        assert joins.cancel_flow("f").found
        assert not joins.add_nodes("f", [node(2)])
        assert not joins.close_flow("f")
        maintain_all(broker)
        assert (stand(joins).state, stand(joins).total, stand(joins).finished > 0) == (FlowState.REVOKED, 1, True)

    @needs(Joins)
    def test_thousands_in_portions(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *[node(n, after=60_000 * (n % 2)) for n in range(2_500)])
        rounds = 1
        while joins.cancel_flow("f").more:
            rounds += 1
            assert rounds < 20
        maintain_all(broker)
        assert counts(broker) == (0, 0, 0, 0)
        assert (stand(joins).failed, stand(joins).finished > 0) == (2_500, True)

    @needs(Joins)
    def test_what_is_not_swept_yet_does_not_start_either(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *[node(n) for n in range(1_500)])
        joins.cancel_flow("f")
        assert Hand(broker).claim(1_500) == []

    @needs(Joins)
    def test_other_flows_and_messages_are_not_concerned(self, harness: Harness) -> None:
        broker = harness.broker()
        begun(broker, *chain_of(2, flow="g"), flow="g")
        joins = begun(broker, *chain_of(2))
        broker.enqueue([envelope("plain")])
        joins.cancel_flow("f")
        hand = Hand(broker)
        got = hand.claim()
        assert [d.envelope.id for d in got] == ["g.1", "plain"]
        hand.done(*got)
        assert run(hand) == [2]


class TestRetryFlow:
    @needs(Joins)
    def test_only_what_is_missing_runs(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(5, needs=1, flags=KEEP), node(4, 5, needs=2), node(3, 4, needs=1), node(2, 3), node(1, 4, flags=KEEP))
        hand = Hand(broker)
        assert run(hand, failing(3)) == [2, 1, 3]
        assert states(joins) == {1: DONE, 2: DONE, 3: NodeState.FAILED, 4: ABANDONED, 5: ABANDONED}
        assert counts(broker) == (0, 0, 0, 1)
        answer = joins.retry_flow("f")
        assert (answer.found, answer.retried, answer.more) == (True, 1, False)
        seen = stand(joins)
        assert (seen.state, seen.failed, seen.abandoned, seen.failed_node, seen.finished) == (FlowState.RUNNING, 0, 0, None, 0)
        assert counts(broker) == (1, 0, 0, 0), "its dead letter is taken out"
        assert run(hand) == [3, 4, 5]
        assert (stand(joins).state, stand(joins).done) == (FlowState.SUCCESS, 5)
        assert joins.inputs("f", [1, 5]) == [pack_value(b"1"), pack_value(b"5")]
        assert joins.retry_flow("f").retried == 0

    @needs(Joins)
    def test_counters_begin_anew(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(1, crash_limit=1))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Retry(0))
        broker.retire(hand.name, [Blame(hand.claim_one().receipt)])
        assert nodes_of(joins)[1].reason == "poison"
        joins.retry_flow("f")
        e = Hand(broker, "w2.a", "w2").claim_one().envelope
        assert (e.attempt, e.crashes, e.losses, e.handed_alone) == (1, 0, 0, False)

    @needs(Joins)
    def test_it_may_fail_again(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *chain_of(3), handler=envelope("handler", "errors"))
        hand = Hand(broker)
        for _ in range(3):
            run(hand, failing(1))
            assert (stand(joins).state, stand(joins).abandoned, stand(joins).finished > 0) == (FlowState.FAILURE, 2, True)
            assert [d.envelope.id for d in hand.claim(10, "errors")] == ["handler"], "a new failure after a retry is told again"
            assert joins.retry_flow("f").retried == 1
        assert run(hand) == [1, 2, 3]

    @needs(Joins)
    def test_followers_are_not_released_twice(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(3, needs=2), node(2, 3, flags=CONTINUE | KEEP), node(1, 3))
        hand = Hand(broker)
        assert run(hand, failing(2)) == [2, 1, 3]
        assert joins.retry_flow("f").retried == 1
        assert run(hand) == [2]
        assert joins.inputs("f", [2]) == [pack_value(b"2")]
        seen = stand(joins)
        assert (seen.state, seen.done, seen.failed, seen.finished > 0) == (FlowState.SUCCESS, 3, 0, True)

    @needs(Joins)
    def test_what_a_failure_has_said_is_not_said_again(self, harness: Harness) -> None:
        """Its follower still waits for another: the retried one must not count for that."""
        broker = harness.broker()
        joins = begun(broker, node(3, needs=2), node(2, 3, flags=CONTINUE), node(1, 3, queue="x"))
        hand = Hand(broker)
        for failed in (2, 2, 0):
            assert run(hand, failing(failed)) == [2]
            assert nodes_of(joins)[3].needs == 1
            joins.retry_flow("f")
        hand.done(hand.claim_one("x"))
        assert run(hand) == [3]

    @needs(Joins)
    def test_two_parents_failed_and_one_is_redriven(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(4, needs=1), node(3, 4, needs=2), node(2, 3), node(1, 3))
        hand = Hand(broker)
        run(hand, failing(1, 2))
        assert require(broker, Inspects).redrive(["f.1"]) == 1
        assert (stand(joins).state, stand(joins).failed, stand(joins).finished) == (FlowState.FAILURE, 1, 0)
        assert run(hand) == [1]
        assert states(joins) == {1: DONE, 2: NodeState.FAILED, 3: ABANDONED, 4: ABANDONED}
        assert stand(joins).failed_node is not None
        assert require(broker, Inspects).redrive(["f.2"]) == 1
        assert states(joins)[3] == BLOCKED
        assert run(hand) == [2, 3, 4]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_a_dropped_one_is_retried_too(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), node(1, 2, body=b"whole"))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Dropped("discarded"))
        assert joins.retry_flow("f").retried == 1
        [delivery] = hand.claim()
        assert delivery.envelope.body == b"whole"
        hand.done(delivery)
        assert run(hand) == [2]

    @needs(Joins, Inspects)
    @pytest.mark.parametrize("flags", [0, TRACKED])
    def test_one_that_was_cancelled_where_it_waits(self, harness: Harness, flags: int) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        first = node(1, 2)
        assert first.envelope is not None
        first.envelope.flags |= flags
        joins = begun(broker, node(2, needs=1), first)
        for _ in range(3):
            assert inspects.cancel("f.1") == "waiting"
            assert (states(joins), counts(broker)) == ({1: DROPPED, 2: ABANDONED}, (0, 0, 0, 0))
            assert joins.retry_flow("f").retried == 1
            assert (states(joins), counts(broker)) == ({1: NodeState.READY, 2: BLOCKED}, (1, 0, 0, 0))
        assert run(Hand(broker)) == [1, 2]

    @needs(Joins, Inspects)
    def test_a_dead_letter_that_was_forgotten_hinders_no_retry(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *chain_of(2))
        hand = Hand(broker)
        run(hand, failing(1))
        assert require(broker, Inspects).forget_dead() == 1
        assert states(joins)[1] == NodeState.FAILED
        assert joins.retry_flow("f").retried == 1
        assert run(hand) == [1, 2]

    @needs(Joins)
    def test_while_what_was_said_before_is_still_on_its_way(self, harness: Harness) -> None:
        broker = harness.broker()
        followers = range(2, 3_003)
        joins = begun(broker, node(9_999, needs=len(followers)), *[node(n, 9_999, needs=1) for n in followers], node(1, (2, 3_002)))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), FAILED)
        for _ in range(20):
            if not joins.retry_flow("f").more:
                break
        ran = run(hand)
        maintain_all(broker)
        ran += run(hand)
        assert sorted(ran) == [1, *followers, 9_999]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_thousands_of_failed_ones(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(5_000, needs=2_200), *[node(n, 5_000) for n in range(2_200)])
        hand = Hand(broker)
        run(hand, lambda n: FAILED)
        maintain_all(broker)
        retried = 0
        for _ in range(20):
            answer = joins.retry_flow("f")
            retried += answer.retried
            if not answer.more:
                break
        assert retried == 2_200
        maintain_all(broker)
        assert len(run(hand)) == 2_201
        assert stand(joins).state is FlowState.SUCCESS


class TestForgetFlow:
    @needs(Joins)
    def test_retention_counts_from_the_end(self, harness: Harness) -> None:
        broker = harness.broker(record_ttl=0.05)
        joins = begun(broker, *chain_of(2, flags=KEEP))
        harness.advance(60)
        maintain_all(broker)
        run(Hand(broker))
        assert stand(joins).state is FlowState.SUCCESS
        assert joins.inputs("f", [2]) == [pack_value(b"2")]
        harness.advance(60)
        maintain_all(broker)
        assert joins.flow("f") is None
        assert joins.flows().flows == []
        assert joins.inputs("f", [2]) == [None]

    @needs(Joins)
    def test_a_flow_may_say_how_long(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(1), ttl=0.05)
        run(Hand(broker), failing(1))
        harness.advance(60)
        maintain_all(broker)
        assert joins.flow("f") is None
        assert counts(broker) == (0, 0, 0, 0), "its dead letter is gone with it"

    @needs(Joins)
    def test_a_failed_one_stays_as_long_as_a_dead_letter(self, harness: Harness) -> None:
        broker = harness.broker(record_ttl=0.05, dead_letter_ttl=LONG)
        joins = begun(broker, *chain_of(2))
        hand = Hand(broker)
        run(hand, failing(1))
        harness.advance(60)
        maintain_all(broker)
        assert joins.retry_flow("f").retried == 1
        assert run(hand) == [1, 2]

    @needs(Joins)
    def test_by_hand(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *chain_of(2))
        hand = Hand(broker)
        assert not joins.forget_flow("f"), "it runs"
        run(hand, failing(1))
        assert joins.forget_flow("f")
        assert not joins.forget_flow("f")
        assert joins.flow("f") is None
        assert counts(broker) == (0, 0, 0, 0)

    @needs(Joins)
    def test_a_member_that_outlives_its_flow_ends_quietly(self, harness: Harness) -> None:
        """As after a rescue whose reply was lost: the message is there, its flow is not."""
        broker = harness.broker()
        orphan = node(1, flow="gone").envelope
        assert orphan is not None
        broker.enqueue([orphan])
        assert run(Hand(broker)) == [1]
        assert counts(broker) == (0, 0, 0, 0)
