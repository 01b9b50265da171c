"""The wire format, held still: files that were written once must be read for ever, and be written the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.envelope import ALONE, CANCELLED, EXPLICIT, HEAD_SIZE, LOST_DEAD, TRACKED, Envelope, Extra, pack, unpack

GOLDEN = Path(__file__).parents[1] / "golden"
UUID = "0190b5a2-7c1e-7d30-8a44-0123456789ab"

EXAMPLES = {
    "plain": Envelope(UUID, "q", b'{"t":"mail.send","a":[7]}', enqueued=1_700_000_000_000),
    "text_id": Envelope("résumé:7", "q", b"body"),
    "upper_case_uuid": Envelope(UUID.upper(), "q", b"body"),
    "empty_body": Envelope(UUID, "q", b""),
    "nul_body": Envelope(UUID, "q", b"\x00\x01\x00"),
    "longest_id": Envelope("x" * 255, "q", b"body"),
    "every_field": Envelope(
        UUID,
        "q",
        b"body",
        priority=9,
        expires=1_700_000_600_000,
        enqueued=1_700_000_000_123,
        attempt=4,
        delivery=6,
        crashes=1,
        losses=2,
        crash_limit=5,
        loss_limit=11,
        parked=1_700_000_300_000,
        flags=TRACKED | EXPLICIT | LOST_DEAD | ALONE | CANCELLED,
        extras={Extra.LANE: b"lane", Extra.FLOW: b"", Extra.RECORD_TTL: b"60"},
    ),
    "largest": Envelope(
        UUID,
        "q",
        b"body",
        priority=0,
        expires=2**64 - 1,
        enqueued=2**64 - 1,
        attempt=2**32 - 1,
        delivery=2**32 - 1,
        crashes=255,
        losses=255,
        crash_limit=255,
        loss_limit=255,
        parked=2**64 - 1,
    ),
    "longer_head": Envelope(UUID, "q", b"body", flags=TRACKED | 0x0200, extras={200: b"\x00new"}, surplus=b"newer\x00head"),
}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_packing_yields_these_bytes(name: str) -> None:
    assert pack(EXAMPLES[name]) == (GOLDEN / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_reading_yields_these_envelopes(name: str) -> None:
    assert unpack((GOLDEN / f"{name}.bin").read_bytes(), "q") == EXAMPLES[name]


def test_every_file_is_read() -> None:
    assert {path.stem for path in GOLDEN.glob("*.bin")} == set(EXAMPLES)


def test_the_table_in_the_docstring_is_the_format() -> None:
    """Offsets that Lua and SQL rely on, read from the bytes without ``unpack``."""
    data = (GOLDEN / "every_field.bin").read_bytes()
    assert HEAD_SIZE == 41
    assert list(data[:2]) == [1, 41]
    assert list(data[4:9]) == [9, 5, 11, 1, 2]
    assert [int.from_bytes(data[a:b], "big") for a, b in ((9, 13), (13, 17))] == [4, 6]
    times = [int.from_bytes(data[a : a + 8], "big") for a in (17, 25, 33)]
    assert times == [1_700_000_000_123, 1_700_000_600_000, 1_700_000_300_000]
    assert data[41] == 16 and data[42:58] == bytes.fromhex(UUID.replace("-", ""))
    assert int.from_bytes(data[2:4], "big") == 0x1F | 0x4000 | 0x8000
    longer = (GOLDEN / "longer_head.bin").read_bytes()
    assert longer[1] == 41 + 10 and longer[41:51] == b"newer\x00head" and longer[51] == 16
