"""Packing and reading envelopes, whatever they are."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from umbel.envelope import ALONE, HEAD_SIZE, LOST_DEAD, TRACKED, Envelope, Receipt, id_bytes, id_text, pack, unpack
from umbel.errors import WireError

BYTE, WIDE, LONG = st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
IDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda u: str(u).upper()),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=36),
).filter(lambda id: len(id.encode()) <= 255)
ENVELOPES = st.builds(
    Envelope,
    id=IDS,
    queue=st.just("q"),
    body=st.binary(max_size=200),
    priority=st.integers(0, 9),
    expires=LONG,
    enqueued=LONG,
    attempt=WIDE,
    delivery=WIDE,
    crashes=BYTE,
    losses=BYTE,
    crash_limit=BYTE,
    loss_limit=BYTE,
    parked=LONG,
    flags=st.integers(0, 0x3FFF),
    extras=st.none() | st.dictionaries(BYTE, st.binary(max_size=50), min_size=1, max_size=5),
    surplus=st.binary(max_size=20),
)
GOOD = pack(Envelope("0190b5a2-7c1e-7d30-8a44-0123456789ab", "q", b"body", extras={1: b"lane", 200: b"x"}))


@given(ENVELOPES)
def test_what_is_packed_is_read_back(envelope: Envelope) -> None:
    assert unpack(pack(envelope), "q") == envelope


@given(ENVELOPES)
def test_reading_and_packing_changes_no_byte(envelope: Envelope) -> None:
    data = pack(envelope)
    assert pack(unpack(data, "q")) == data


@given(ENVELOPES, st.integers(1, 5))
def test_what_is_not_known_survives_a_change_of_a_counter(envelope: Envelope, more: int) -> None:
    read = unpack(pack(envelope), "q")
    read.delivery = more
    again = unpack(pack(read), "q")
    assert again == msgspec.structs.replace(envelope, delivery=more)


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x01")
@example(b"\x01\xff" + b"\xff" * 60)
def test_any_bytes_are_an_envelope_or_a_wire_error(data: bytes) -> None:
    reads_or_refuses(data)


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_good_beginning_too(data: bytes) -> None:
    reads_or_refuses(bytes((1, HEAD_SIZE)) + data)


@given(st.data())
def test_a_damaged_message_too(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), BYTE), min_size=1, max_size=6)):
        damaged[at] = value
    reads_or_refuses(bytes(damaged))


def reads_or_refuses(data: bytes) -> None:
    try:
        envelope = unpack(data, "q")
    except WireError:
        return
    assert envelope.id and len(envelope.body) < len(data)


@pytest.mark.parametrize("size", range(len(GOOD) - len(b"body")))
def test_a_message_cut_off_before_its_body_is_refused(size: int) -> None:
    with pytest.raises(WireError):
        unpack(GOOD[:size], "q")


def test_a_text_id_that_is_cut_off_is_refused() -> None:
    data = pack(Envelope("a text id", "q", b""))
    with pytest.raises(WireError, match="cut off"):
        unpack(data[:-1], "q")


def test_an_extra_that_reaches_into_the_body_is_refused() -> None:
    data = bytearray(pack(Envelope("a", "q", b"body", extras={200: b"xy"})))
    at = data.index(b"\x00\x02xy")
    data[at + 1] = 3
    with pytest.raises(WireError, match="cut off"):
        unpack(bytes(data), "q")


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"abc", "3 bytes are too few"), (b"\x02" + GOOD[1:], "format 2"), (b"\x01\x05" + GOOD[2:], "head of 5 bytes")],
)
def test_the_error_says_what_is_wrong(data: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        unpack(data, "q")


def test_counters_saturate() -> None:
    big = Envelope("a", "q", b"", crashes=999, losses=999, crash_limit=999, loss_limit=999, attempt=2**40, delivery=2**40)
    read = unpack(pack(big), "q")
    assert (read.crashes, read.losses, read.crash_limit, read.loss_limit) == (255, 255, 255, 255)
    assert (read.attempt, read.delivery) == (2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize("id", ["", "x" * 256, "é" * 128])
def test_an_id_must_have_1_to_255_bytes(id: str) -> None:
    with pytest.raises(WireError, match="1 to 255 bytes"):
        pack(Envelope(id, "q", b""))


@pytest.mark.parametrize("id", ["0190b5a2-7c1e-7d30-8a44-0123456789ab", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_a_uuid_takes_16_bytes(id: str) -> None:
    packed, raw = id_bytes(id)
    assert raw and len(packed) == 16 and id_text(packed) == id


@pytest.mark.parametrize("id", ["0190B5A2-7C1E-7D30-8A44-0123456789AB", "0190b5a27c1e7d308a440123456789ab0000", "-" * 36, "g" * 36])
def test_what_only_looks_like_one_stays_text(id: str) -> None:
    assert id_bytes(id) == (id.encode(), False)


@pytest.mark.parametrize(
    ("due", "after", "expected"),
    [(0, 0, 0), (99, 0, 0), (100, 0, 0), (101, 0, 101), (0, 1, 101), (150, 20, 150), (110, 20, 120), (0, -5, 0), (-1, 0, 0)],
)
def test_due_at(due: int, after: int, expected: int) -> None:
    assert Envelope("a", "q", b"", due=due, after=after).due_at(100) == expected


def test_what_is_handed_out_alone() -> None:
    assert [Envelope("a", "q", b"", flags=f).handed_alone for f in (0, TRACKED, ALONE, LOST_DEAD, ALONE | TRACKED)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_receipts_are_ordered_by_exchange_and_place() -> None:
    receipts = [Receipt("h", 10, 0), Receipt("h", 2, 11), Receipt("h", 2, 3)]
    assert [str(r) for r in sorted(receipts)] == ["h:2:3", "h:2:11", "h:10:0"]
