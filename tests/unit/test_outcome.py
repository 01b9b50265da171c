"""Outcomes are values: equal by what they say, not to be changed, and the same after a trip."""

from __future__ import annotations

import msgspec
import pytest

from umbel.outcome import Dead, Done, Dropped, Outcome, Released, Retry

ALL: list[Outcome] = [
    Done(),
    Done(b"\x00result"),
    Retry(0),
    Retry(5_000, b"error"),
    Dead("failed"),
    Dead("poison", b"\xff"),
    Dropped("expired"),
    Dropped("discarded", b"why"),
    Released(),
    Released(10, "parked", True),
]


@pytest.mark.parametrize("outcome", ALL, ids=repr)
def test_the_same_after_a_trip(outcome: Outcome) -> None:
    wire = msgspec.msgpack.encode(outcome)
    assert msgspec.msgpack.decode(wire, type=Outcome) == outcome


def test_the_tags_are_what_is_on_the_wire() -> None:
    tags = {type(o): msgspec.to_builtins(o)["type"] for o in ALL}
    assert tags == {Done: "done", Retry: "retry", Dead: "dead", Dropped: "dropped", Released: "released"}


@pytest.mark.parametrize("outcome", ALL, ids=repr)
def test_cannot_be_changed(outcome: Outcome) -> None:
    with pytest.raises(AttributeError):
        setattr(outcome, outcome.__struct_fields__[0], None)


def test_no_result_is_not_an_empty_one() -> None:
    assert Done() != Done(b"")
