"""What ``Joins`` promises of arrivals: what an end of a member does to those that wait for it."""

from __future__ import annotations

import pytest

from ...broker import Blame, Settle
from ...envelope import LOST_DEAD, TRACKED, Extra
from ...facets import Inspects, Remembers, State, require
from ...joins import FlowState, Joins, NodeState, pack_error, unpack_failed
from ...outcome import Dead, Done, Dropped, Outcome, Released, Retry
from .flows import (
    CONTINUE,
    FAILED,
    HELD,
    KEEP,
    begun,
    chain_of,
    gate,
    node,
    nodes_of,
    number_of,
    numbers,
    run,
    stand,
    states,
)
from .harness import Hand, Harness, counts, envelope, maintain_all, needs

DONE, ABANDONED, BLOCKED = NodeState.DONE, NodeState.ABANDONED, NodeState.BLOCKED


class TestArrivals:
    @needs(Joins)
    def test_the_next_step_is_claimed_by_the_exchange_that_settles_the_one_before(self, harness: Harness) -> None:
        broker = harness.broker()
        begun(broker, *chain_of(3))
        hand = Hand(broker)
        delivery = hand.claim_one()
        for n in (1, 2):
            assert number_of(delivery) == n
            [delivery] = hand.exchange([Settle(delivery.receipt, Done())], ["q"], 10).deliveries
        assert number_of(delivery) == 3

    @needs(Joins)
    def test_a_join_waits_for_all_and_is_released_once(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(9, needs=3), *[node(n, 9) for n in (1, 2, 3)])
        hand = Hand(broker)
        first, second, third = hand.claim()
        hand.done(third, first)
        assert hand.claim() == []
        hand.done(second)
        assert numbers(hand.claim()) == [9]
        assert hand.claim() == []
        assert stand(joins).done == 3

    @needs(Joins)
    def test_a_diamond(self, harness: Harness) -> None:
        broker = harness.broker()
        begun(broker, node(4, needs=2), node(2, 4, needs=1), node(3, 4, needs=1), node(1, (2, 3)))
        assert run(Hand(broker)) == [1, 2, 3, 4]

    @needs(Joins)
    def test_a_repeated_exchange_counts_once(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(9, needs=2), node(1, 9), node(2, 9))
        hand = Hand(broker)
        first, second = hand.claim()
        settles = [Settle(first.receipt, Done())]
        hand.exchange(settles)
        hand.repeat(settles)
        assert nodes_of(joins)[9].needs == 1
        hand.done(second)
        assert numbers(hand.claim()) == [9]

    @needs(Joins)
    def test_what_comes_back_counts_when_it_ends(self, harness: Harness) -> None:
        """Retried, released, given back, rescued, crashed: none of that is an end."""
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), node(1, 2))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), Retry(0, b"again"))
        hand.settle(hand.claim_one(), Released(0, "snoozed"))
        broker.give_back(hand.name, [hand.claim_one().receipt])
        broker.retire(hand.name, [Blame(hand.claim_one().receipt)])
        hand = Hand(broker, "w2.a", "w2")
        hand.claim_one()
        harness.lapse(broker, "w2")
        broker.maintain(rescue=True)
        assert states(joins) == {1: NodeState.READY, 2: BLOCKED}
        hand = Hand(broker, "w3.a", "w3")
        assert run(hand) == [1, 2]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_a_settle_that_was_superseded_is_no_arrival(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), node(1, 2))
        hand = Hand(broker)
        delivery = hand.claim_one()
        broker.give_back(hand.name, [delivery.receipt])
        assert hand.done(delivery) == ["superseded"]
        assert states(joins)[2] == BLOCKED
        assert run(hand) == [1, 2]

    @needs(Joins)
    def test_made_ready_is_as_enqueued_at_that_moment(self, harness: Harness) -> None:
        broker = harness.broker()
        later = node(3, needs=1, after=60_000)
        joins = begun(broker, later, node(2, 3, needs=1, expires_after=50_000, queue="q", priority=7, enqueued=5), node(1, 2))
        hand = Hand(broker)
        harness.advance(5)
        before = broker.ping()
        [second] = hand.exchange([Settle(hand.claim_one().receipt, Done())], ["q"], 1).deliveries
        e = second.envelope
        assert before <= e.enqueued <= broker.ping()
        assert e.expires == e.enqueued + 50_000
        assert (e.priority, e.attempt, e.delivery) == (7, 1, 1)
        hand.done(second)
        assert counts(broker) == (0, 1, 0, 0)
        assert states(joins)[3] == NodeState.READY

    @needs(Joins, Remembers)
    def test_the_record_of_a_member_begins_when_it_is_ready(self, harness: Harness) -> None:
        broker = harness.broker()
        remembers = require(broker, Remembers)
        tracked = node(2, needs=1, id="t2", flow="g")
        assert tracked.envelope is not None
        tracked.envelope.flags |= TRACKED
        begun(broker, tracked, node(1, 2, id="t1", flow="g", queue="other"), flow="g")
        assert remembers.record("t2") is None
        hand = Hand(broker)
        [first] = hand.claim(1, "other")
        hand.done(first)
        record = remembers.record("t2")
        assert record is not None
        assert record.state is State.PENDING
        hand.settle(hand.claim_one(), Done(b"7"))
        record = remembers.record("t2")
        assert record is not None
        assert (record.state, record.result) == (State.SUCCESS, b"7")

    @needs(Joins)
    def test_gates_pass_on_at_once(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(9, needs=1), gate(8, 9, needs=1), gate(7, 8, needs=2), node(1, 7), node(2, 7))
        assert run(Hand(broker)) == [1, 2, 9]
        seen = stand(joins)
        assert (seen.state, seen.total, seen.done) == (FlowState.SUCCESS, 3, 3)

    @needs(Joins)
    def test_a_gate_that_waits_for_nobody(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=1), gate(1, 2))
        assert run(Hand(broker)) == [2]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_more_followers_than_one_step_wakes(self, harness: Harness) -> None:
        broker = harness.broker()
        many = [node(n, 9_999, needs=1) for n in range(2, 2_503)]
        joins = begun(broker, node(9_999, needs=len(many)), *many, node(1, (2, 2_502)))
        hand = Hand(broker)
        hand.done(hand.claim_one())
        ready = counts(broker)[0]
        assert 0 < ready <= 1_001
        maintain_all(broker)
        assert counts(broker)[0] == len(many)
        ran = run(hand)
        assert sorted(ran) == [*range(2, 2_503), 9_999]
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_members_that_end_go_on_with_what_was_left_over(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *[node(n, needs=1) for n in range(2, 2_503)], node(1, (2, 2_502)))
        assert len(run(Hand(broker))) == 2_502
        assert stand(joins).state is FlowState.SUCCESS

    @needs(Joins)
    def test_a_flow_that_waits_is_touched_by_no_timer(self, harness: Harness) -> None:
        broker = harness.broker(record_ttl=0.05, dedupe_ttl=0.05, dead_letter_ttl=0.05, flow_grace=0.05, dead_letter_bytes=1)
        nodes = [node(3, needs=2), node(2, 3, flags=CONTINUE), node(1, 3)]
        joins = begun(broker, *nodes)
        hand = Hand(broker)
        first, second = hand.claim()
        hand.settle(first, FAILED)
        for _ in range(3):
            harness.advance(60)
            maintain_all(broker)
        assert counts(broker) == (0, 0, 1, 1), "a dead letter of a flow that still goes on was trimmed"
        assert stand(joins).finished == 0
        hand.done(second)
        assert numbers(hand.claim()) == [3]


class TestFailures:
    @needs(Joins)
    @pytest.mark.parametrize("outcome", [FAILED, Dropped("discarded", b"no"), Dropped("expired"), Dead("unknown_task")])
    def test_stop_abandons_what_follows_and_nothing_else(self, harness: Harness, outcome: Dead | Dropped) -> None:
        broker = harness.broker()
        joins = begun(
            broker, node(6, needs=1), node(5, 6, needs=2), node(4, 5, needs=1), node(3, needs=1), node(2, 5), node(1, (3, 4))
        )  # fmt: skip
        assert run(Hand(broker), lambda n: outcome if n == 2 else Done()) == [2, 1, 3, 4]
        stopped = NodeState.FAILED if isinstance(outcome, Dead) else NodeState.DROPPED
        assert states(joins) == {1: DONE, 2: stopped, 3: DONE, 4: DONE, 5: ABANDONED, 6: ABANDONED}
        seen = stand(joins)
        assert (seen.state, seen.done, seen.failed, seen.abandoned, seen.ready) == (FlowState.FAILURE, 3, 1, 2, 0)
        assert (seen.failed_node, seen.failed_id, seen.reason, seen.error) == (2, "f.2", outcome.reason, outcome.error)
        assert seen.finished > 0
        assert nodes_of(joins)[2].reason == outcome.reason

    @needs(Joins)
    def test_failed_at_once_and_finished_when_nothing_moves(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2), node(1))
        hand = Hand(broker)
        other, failing = hand.claim()
        hand.settle(failing, FAILED)
        assert (stand(joins).state, stand(joins).finished) == (FlowState.FAILURE, 0)
        hand.done(other)
        assert (stand(joins).state, stand(joins).finished > 0) == (FlowState.FAILURE, True)

    @needs(Joins)
    def test_continue_makes_a_failure_a_value(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(3, needs=2), node(2, 3, flags=CONTINUE | KEEP), node(1, 3, flags=CONTINUE | KEEP))
        ends: dict[int, Outcome] = {1: FAILED, 2: Dropped("discarded"), 3: Done()}
        assert run(Hand(broker), lambda n: ends[n]) == [2, 1, 3]
        seen = stand(joins)
        assert (seen.state, seen.done, seen.failed, seen.failed_node) == (FlowState.SUCCESS, 1, 2, None)
        assert joins.inputs("f", [1, 2]) == [pack_error("failed", b"boom"), pack_error("discarded", b"")]

    @needs(Joins)
    def test_every_way_out_is_an_arrival(self, harness: Harness) -> None:
        """Poison, a lost worker, an outcome by blame, expiry while it waits and in the schedule, purge."""
        broker = harness.broker()
        ends = [
            node(1, 9, flags=CONTINUE, crash_limit=1),
            node(2, 9, flags=CONTINUE, loss_limit=1, queue="lost"),
            node(3, 9, flags=CONTINUE),
            node(4, 9, flags=CONTINUE, expires=1, queue="expired"),
            node(5, 9, flags=CONTINUE, expires=1, after=1, queue="expired"),
            node(6, 9, flags=CONTINUE, queue="purged"),
            node(7, 9, flags=CONTINUE, queue="dead"),
        ]
        assert ends[6].envelope is not None
        ends[6].envelope.flags |= LOST_DEAD
        joins = begun(broker, node(9, needs=7), *ends)
        hand = Hand(broker)
        first, third = hand.claim()
        broker.retire(hand.name, [Blame(first.receipt), Blame(third.receipt, Dead("time_limit"))])
        Hand(broker, "w2.a", "w2").claim_one("lost")
        harness.lapse(broker, "w2")
        broker.maintain(rescue=True)
        Hand(broker, "w3.a", "w3").claim_one("dead")
        broker.retire("w3.a")
        harness.advance(2)
        maintain_all(broker)
        assert broker.purge("purged") == 1
        assert {n: one.reason for n, one in nodes_of(joins).items() if n != 9} == {
            1: "poison", 2: "worker_lost", 3: "time_limit", 4: "expired", 5: "expired", 6: "purged", 7: "worker_lost",
        }  # fmt: skip
        assert numbers(Hand(broker, "w4.a", "w4").claim()) == [9]

    @needs(Joins, Inspects)
    @pytest.mark.parametrize("after", [0, 60_000])
    def test_a_cancelled_member_is_an_arrival(self, harness: Harness, after: int) -> None:
        broker = harness.broker()
        inspects = require(broker, Inspects)
        joins = begun(broker, node(9, needs=2), node(1, 9, flags=CONTINUE, after=after), node(2, 9, flags=CONTINUE, queue="x"))
        hand = Hand(broker)
        running = hand.claim_one("x")
        assert inspects.cancel("f.2") == "running"
        hand.settle(running, Retry(0))
        if inspects.cancel("f.1") != "waiting":
            run(hand)  # a store may find an untracked one only when it is about to hand it out
        assert {n: one.reason for n, one in nodes_of(joins).items()} == {1: "cancelled", 2: "cancelled", 9: ""}
        assert states(joins)[9] in (NodeState.READY, DONE)

    @needs(Joins)
    def test_many_are_abandoned_in_portions(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *[node(n, needs=1) for n in range(2, 2_503)], node(1, (2, 2_502)))
        hand = Hand(broker)
        hand.settle(hand.claim_one(), FAILED)
        assert stand(joins).state is FlowState.FAILURE
        assert stand(joins).abandoned <= 1_000
        maintain_all(broker)
        seen = stand(joins)
        assert (seen.abandoned, seen.finished > 0) == (2_501, True)

    @needs(Joins)
    def test_a_long_chain_is_abandoned(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, *chain_of(2_500))
        run(Hand(broker), lambda n: FAILED)
        maintain_all(broker)
        seen = stand(joins)
        assert (seen.failed, seen.abandoned, seen.finished > 0) == (1, 2_499, True)

    @needs(Joins)
    def test_the_failure_handler_is_sent_once(self, harness: Harness) -> None:
        broker = harness.broker()
        handler = envelope("handler", "errors", body=b"handle")
        begun(broker, node(3, needs=2), node(2, 3), node(1, 3), handler=handler)
        hand = Hand(broker)
        run(hand, lambda n: Dead("failed", b"boom %d" % n))
        [sent] = hand.claim(10, "errors")
        assert (sent.envelope.id, sent.envelope.body, sent.envelope.attempt) == ("handler", b"handle", 1)
        assert unpack_failed((sent.envelope.extras or {})[Extra.FAILURE]) == (2, "f", "f.2", "failed", b"boom 2")

    @needs(Joins)
    def test_a_value_is_no_reason_for_the_handler(self, harness: Harness) -> None:
        broker = harness.broker()
        begun(broker, node(1, flags=CONTINUE), handler=envelope("handler", "errors"))
        hand = Hand(broker)
        run(hand, lambda n: FAILED)
        assert hand.claim(10, "errors") == []

    @needs(Joins)
    def test_a_flow_that_cannot_go_on_says_so(self, harness: Harness) -> None:
        broker = harness.broker()
        joins = begun(broker, node(2, needs=2), node(1, 2), handler=envelope("handler", "errors"))
        hand = Hand(broker)
        assert run(hand) == [1]
        seen = stand(joins)
        assert (seen.state, seen.reason, seen.failed_node, seen.finished > 0) == (FlowState.FAILURE, "stuck", None, True)
        assert len(hand.claim(10, "errors")) == 1

    @needs(Joins)
    def test_a_producer_that_died_fails_its_flow(self, harness: Harness) -> None:
        broker = harness.broker(flow_grace=0.1)
        waiting = node(3, 9, after=60_000)
        joins = begun(broker, node(9, flags=HELD), node(1, 9), node(2, 9), waiting, handler=envelope("handler", "errors"), close=False)
        hand = Hand(broker)
        first, _second = hand.claim()
        hand.done(first)
        for _ in range(4):
            harness.advance(40)
            assert joins.add_nodes("f", []), "somebody is still there"
            broker.maintain()
        assert stand(joins).state is FlowState.OPEN
        harness.advance(101)
        maintain_all(broker)
        seen = stand(joins)
        assert (seen.state, seen.reason, seen.failed_node) == (FlowState.FAILURE, "producer_lost", None)
        assert not joins.add_nodes("f", [node(4, 9)])
        assert not joins.close_flow("f", [node(9, needs=2)])
        assert len(hand.claim(10, "errors")) == 1
        assert states(joins) == {1: DONE, 2: NodeState.READY, 3: NodeState.DROPPED, 9: ABANDONED}
        hand.done(_second)
        assert stand(joins).finished > 0
        assert not joins.retry_flow("f").found
