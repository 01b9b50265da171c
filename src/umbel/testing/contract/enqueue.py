"""What ``open``, ``ping`` and ``enqueue`` promise."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ...broker import MAX_ENQUEUE, MAX_THEN, Receipted, Settle, Verdict
from ...envelope import EXPLICIT, Envelope, Extra
from ...errors import NotSupported, WireError
from ...outcome import Done
from .harness import Hand, Harness, counts, envelope, ids, several


class TestOpen:
    def test_open_and_close_twice_is_once(self, harness: Harness) -> None:
        broker = harness.unopened()
        broker.open()
        broker.open()
        assert broker.ping() > 0
        broker.close()
        broker.close()
        broker.open()
        assert broker.ping() > 0
        broker.close()

    def test_ping_answers_with_the_clock_of_the_store(self, harness: Harness) -> None:
        broker = harness.broker()
        before = broker.ping()
        harness.advance(20)
        assert broker.ping() - before >= 20

    def test_what_one_handle_stores_another_one_finds_even_after_the_first_is_closed(self, harness: Harness) -> None:
        reader, writer = harness.broker(), harness.unopened()
        writer.open()
        writer.enqueue([envelope("a")])
        writer.close()
        assert Hand(reader).ids() == ["a"]


class TestEnqueue:
    def test_nothing_is_a_call_like_any_other(self, harness: Harness) -> None:
        assert harness.broker().enqueue([]) == []

    def test_answers_in_order_and_stores_in_order(self, harness: Harness) -> None:
        broker, sent = harness.broker(), several(20)
        assert broker.enqueue(sent) == [Receipted(e.id) for e in sent]
        assert Hand(broker).ids() == ids(sent)

    def test_order_holds_over_calls_and_handles(self, harness: Harness) -> None:
        first, second, sent = harness.broker(), harness.broker(), several(6)
        for i, item in enumerate(sent):
            (first, second)[i % 2].enqueue([item])
        assert Hand(first).ids() == ids(sent)

    def test_a_thousand_fit_into_one_call_and_one_more_does_not(self, harness: Harness) -> None:
        broker, sent = harness.broker(), several(MAX_ENQUEUE + 1)
        with pytest.raises(ValueError):
            broker.enqueue(sent)
        assert counts(broker) == (0, 0, 0, 0)
        broker.enqueue(sent[:MAX_ENQUEUE])
        assert counts(broker) == (MAX_ENQUEUE, 0, 0, 0)

    def test_all_or_none_when_one_cannot_be_packed(self, harness: Harness) -> None:
        broker = harness.broker()
        with pytest.raises(WireError):
            broker.enqueue([envelope("a"), envelope("x" * 256), envelope("b")])
        assert counts(broker) == (0, 0, 0, 0)

    def test_everything_but_the_order_comes_back_as_it_was(self, harness: Harness) -> None:
        broker = harness.broker()
        sent = Envelope(
            "0190b5a2-7c1e-7d30-8a44-0123456789ab",
            "q",
            b"\x00body\xff",
            priority=7,
            expires=4_000_000_000_000,
            enqueued=1_700_000_000_123,
            attempt=4,
            delivery=9,
            crashes=1,
            losses=2,
            crash_limit=5,
            loss_limit=6,
            parked=1_700_000_000_456,
            flags=0x0800,
            extras={200: b"\x00unknown", 8: b"60"},
        )
        broker.enqueue([sent])
        got = Hand(broker).claim_one().envelope
        sent.delivery += 1
        assert got == sent

    def test_ready_scheduled_and_long_past(self, harness: Harness) -> None:
        broker = harness.broker()
        now = broker.ping()
        broker.enqueue(
            [envelope("now"), envelope("later", due=now + 600_000), envelope("after", after=600_000), envelope("past", due=now - 5)]
        )
        assert counts(broker) == (2, 2, 0, 0)
        assert Hand(broker).ids() == ["now", "past"]

    def test_the_later_of_due_and_after_wins(self, harness: Harness) -> None:
        broker = harness.broker()
        now = broker.ping()
        broker.enqueue([envelope(due=now + 10, after=500_000), envelope(due=now + 600_000, after=10)])
        next_due = Hand(broker).exchange((), ["q"], 0).next_due
        assert next_due is not None and 400_000 < next_due <= 500_000


UNFIT: dict[str, dict[str, Any]] = {
    "priority below": {"priority": -1},
    "priority above": {"priority": 10},
    "a queue without a name": {"queue": ""},
    "too long a name": {"queue": "é" * 128},
    "a name that is no text": {"queue": "\ud800"},
    "a negative time": {"expires": -1},
    "a time beyond all": {"enqueued": 1 << 64},
    "an id that is no text": {"id": "\ud800"},
    "an empty id": {"id": ""},
}


class TestUnfit:
    """What no broker takes, it refuses before it does anything."""

    @pytest.mark.parametrize("fields", list(UNFIT.values()), ids=list(UNFIT))
    def test_refused_alike(self, harness: Harness, fields: dict[str, Any]) -> None:
        broker = harness.broker()
        unfit = msgspec.structs.replace(envelope("unfit"), **fields)
        with pytest.raises(ValueError if {"priority", "queue"} & fields.keys() else WireError):
            broker.enqueue([envelope("a"), unfit])
        assert counts(broker) == (0, 0, 0, 0)
        broker.enqueue([envelope("a")])
        hand = Hand(broker)
        held = hand.claim_one()
        with pytest.raises((ValueError, WireError)):
            hand.exchange([Settle(held.receipt, Done(), (envelope("b"), unfit))])
        assert counts(broker) == (0, 0, 1, 0)
        assert hand.done(held) == [Verdict.WON]

    def test_a_settle_carries_so_many_and_not_one_more(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope()])
        hand = Hand(broker)
        held, sent = hand.claim_one(), several(MAX_THEN + 1)
        with pytest.raises(ValueError):
            hand.exchange([Settle(held.receipt, Done(), tuple(sent))])
        assert hand.settle(held, Done(), *sent[:MAX_THEN]) == Verdict.WON
        assert counts(broker) == (MAX_THEN, 0, 0, 0)


class TestExplicitIds:
    def test_a_second_one_is_a_duplicate_and_not_stored(self, harness: Harness) -> None:
        broker, other = harness.broker(), harness.broker()
        assert broker.enqueue([envelope("a", flags=EXPLICIT)]) == [Receipted("a")]
        assert other.enqueue([envelope("a", flags=EXPLICIT, body=b"second")]) == [Receipted("a", "a")]
        [delivery] = Hand(broker).claim()
        assert delivery.envelope.body == b"body of a"

    def test_within_one_call_too_and_the_rest_is_stored(self, harness: Harness) -> None:
        broker = harness.broker()
        sent = [envelope("a", flags=EXPLICIT), envelope("b"), envelope("a", flags=EXPLICIT), envelope("c", flags=EXPLICIT)]
        assert broker.enqueue(sent) == [Receipted("a"), Receipted("b"), Receipted("a", "a"), Receipted("c")]
        assert Hand(broker).ids() == ["a", "b", "c"]

    def test_the_queue_makes_no_difference(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", flags=EXPLICIT)])
        assert broker.enqueue([envelope("a", "other", flags=EXPLICIT)]) == [Receipted("a", "a")]

    def test_still_a_duplicate_once_it_is_done(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", flags=EXPLICIT)])
        hand = Hand(broker)
        hand.done(hand.claim_one())
        assert broker.enqueue([envelope("a", flags=EXPLICIT)]) == [Receipted("a", "a")]
        assert hand.claim() == []

    def test_forgotten_after_its_time(self, harness: Harness) -> None:
        broker = harness.broker(dedupe_ttl=1.0)
        broker.enqueue([envelope("a", flags=EXPLICIT)])
        harness.advance(1_100)
        assert broker.enqueue([envelope("a", flags=EXPLICIT)]) == [Receipted("a")]

    def test_a_refused_call_remembers_nothing(self, harness: Harness) -> None:
        broker = harness.broker()
        with pytest.raises(WireError):
            broker.enqueue([envelope("a", flags=EXPLICIT), envelope("x" * 256)])
        assert broker.enqueue([envelope("a", flags=EXPLICIT)]) == [Receipted("a")]

    def test_without_the_flag_nobody_looks(self, harness: Harness) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        assert broker.enqueue([envelope("a")]) == [Receipted("a")]
        assert Hand(broker).ids() == ["a", "a"]


NEEDS = {
    Extra.LANE: "limits",
    Extra.GROUP: "limits",
    Extra.UNIQUE: "limits",
    Extra.UNIQUE_UNTIL: "limits",
    Extra.DEBOUNCE: "limits",
    Extra.THROTTLE: "limits",
    Extra.FLOW: "joins",
    Extra.NODE: "joins",
}


MARK = b",,,1\0\0one"
VALUES = {
    Extra.LANE: {Extra.LANE: MARK},
    Extra.GROUP: {Extra.LANE: MARK, Extra.GROUP: b",,,1\0\0all"},
    Extra.UNIQUE_UNTIL: {Extra.UNIQUE: b"x", Extra.UNIQUE_UNTIL: b"start"},
    Extra.DEBOUNCE: {Extra.DEBOUNCE: b"5,50\0x"},
    Extra.THROTTLE: {Extra.THROTTLE: b"5\0x"},
}


class TestWhatTheBrokerLacks:
    @pytest.mark.parametrize("tag", list(NEEDS))
    def test_refused_before_anything_is_stored(self, harness: Harness, tag: Extra) -> None:
        broker = harness.broker()
        if NEEDS[tag] in harness.capabilities.facets:
            assert broker.enqueue([envelope("a", extras=VALUES.get(tag, {tag: b"x"}))]) == [Receipted("a")]
            return
        with pytest.raises(NotSupported):
            broker.enqueue([envelope("a"), envelope("b", extras=VALUES.get(tag, {tag: b"x"}))])
        assert counts(broker) == (0, 0, 0, 0)

    def test_in_a_settle_too_and_the_exchange_did_not_happen(self, harness: Harness) -> None:
        if "joins" in harness.capabilities.facets:
            return  # nothing is lacking; what it does with flows is asserted where flows are
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        hand = Hand(broker)
        held = hand.claim_one()
        bad = Settle(held.receipt, Done(), (envelope("b"), envelope("c", extras={Extra.FLOW: b"x"})))
        with pytest.raises(NotSupported):
            hand.exchange([bad])
        assert counts(broker) == (0, 0, 1, 0)
        assert hand.done(held) == [Verdict.WON]


HOSTILE_QUEUES = [
    "{q}",
    "a b",
    "../../etc/passwd",
    "a:b::c",
    "q\x00r",
    "*?[",
    "%s%d",
    "'; DROP TABLE x; --",
    "очередь",
    "q" * 200,
    "\n",
    "{{}}",
]
HOSTILE_IDS = ["x" * 255, "é" * 127, "{id}", "a:b:c", "../x", "a b", "\x00", "🌱", "0190B5A2-7C1E-7D30-8A44-0123456789AB", "*", "'\""]
BODIES = {"empty": b"", "nul": b"\x00\x00a\x00", "all bytes": bytes(range(256)), "1 MiB": b"\xff\x00" * (512 * 1024)}


class TestHostile:
    @pytest.mark.parametrize("queue", HOSTILE_QUEUES, ids=ascii)
    def test_names_of_queues_are_inert(self, harness: Harness, queue: str) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", queue), envelope("b", queue, after=600_000), envelope("c", "q" if queue != "q" else "r")])
        assert counts(broker, queue) == (1, 1, 0, 0)
        hand = Hand(broker)
        held = hand.claim_one(queue)
        assert (held.envelope.id, held.envelope.queue) == ("a", queue)
        assert hand.claim(9, queue) == []
        assert broker.give_back(hand.name, [held.receipt]) == 1
        assert broker.purge(queue) == 2
        assert counts(broker) == (1, 0, 0, 0), "another queue was touched"

    @pytest.mark.parametrize("id", HOSTILE_IDS, ids=ascii)
    def test_ids_are_inert(self, harness: Harness, id: str) -> None:
        broker = harness.broker()
        broker.enqueue([envelope(id, flags=EXPLICIT)])
        assert broker.enqueue([envelope(id, flags=EXPLICIT)]) == [Receipted(id, id)]
        hand = Hand(broker)
        held = hand.claim_one()
        assert held.envelope.id == id
        assert broker.resume(hand.name) == [held]
        assert hand.done(held) == ["won"]

    @pytest.mark.parametrize("body", list(BODIES.values()), ids=list(BODIES))
    def test_bodies_are_never_read(self, harness: Harness, body: bytes) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a", body=body)])
        hand = Hand(broker)
        held = hand.claim_one()
        assert held.envelope.body == body
        broker.give_back(hand.name, [held.receipt])
        assert hand.claim_one().envelope.body == body

    @pytest.mark.parametrize("name", ["{w}:1", "w w", "../w", "w\x00", "ж"], ids=ascii)
    def test_names_of_workers_and_holders_are_inert(self, harness: Harness, name: str) -> None:
        broker = harness.broker()
        broker.enqueue([envelope("a")])
        hand = Hand(broker, f"{name}.a", name)
        held = hand.claim_one()
        assert held.receipt.holder == hand.name
        assert broker.retire(hand.name).returned == 1
