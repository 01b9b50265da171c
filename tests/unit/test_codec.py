from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.codec import BadArguments, CallSignature, UnknownParameters
from umbel.errors import ArgumentError, ResultUnreadable
from umbel.failure import decode_failure, decode_result, encode_failure, encode_result

if TYPE_CHECKING:
    from nowhere_at_all import OnlyForCheckers  # type: ignore[import-not-found]  # it is never there: that is the case


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Line:
    price: Decimal
    due: date | None = None


@dataclasses.dataclass(eq=False)
class Unequal:
    x: int


class Order(msgspec.Struct):
    id: UUID
    lines: list[Line] = []


class Model(pydantic.BaseModel):
    when: datetime
    tags: set[str] = set()


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    when: datetime


class Keys(TypedDict):
    a: int


def trip(fn: Any, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    signature = CallSignature(fn)
    return signature.decode(*signature.check_and_encode(args, kwargs))


def typed(value: Any, annotation: Any) -> Any:
    def fn(x: Any) -> None: ...

    fn.__annotations__ = {"x": annotation}
    by_place, by_name = trip(fn, value), trip(fn, x=value)
    assert type(by_place[0][0]) is type(by_name[1]["x"])
    return by_place[0][0]


NOON = datetime(2026, 3, 1, 12, 0, 0, 123456)  # noqa: DTZ001 - naive ones travel too, and stay naive
TYPED: list[tuple[Any, Any]] = [
    (NOON, datetime),
    (NOON.replace(tzinfo=UTC), datetime),
    (NOON.replace(tzinfo=timezone(timedelta(hours=3))), datetime),
    (date(2026, 3, 1), date),
    (time(1, 2, 3), time),
    (timedelta(days=-3, microseconds=1), timedelta),
    (Decimal("1.10"), Decimal),
    (UUID(int=7), UUID),
    (Colour.RED, Colour),
    (Word.A, Word),
    (Level.LOW, Level),
    (Line(Decimal("2.50"), date(2026, 1, 1)), Line),
    (Order(UUID(int=1), [Line(Decimal(1))]), Order),
    (Model(when=NOON, tags={"a"}), Model),
    (Strict(when=NOON), Strict),
    ([Model(when=NOON)], list[Model]),
    ({1, 2}, set[int]),
    (frozenset("ab"), frozenset[str]),
    (b"\x00\xff", bytes),
    ((1, "a"), tuple[int, str]),
    ({1: "a"}, dict[int, str]),
    ({UUID(int=1): NOON}, dict[UUID, datetime]),
    (None, datetime | None),
    (NOON, datetime | None),
    ("x", Literal["x", "y"]),
    (3, Annotated[int, msgspec.Meta(gt=0)]),
    (2**63, int),
    (10**30, int),
    (-(10**30), int),
    (1, float),
    (1e300, float),
    ({"a": 1}, Keys),
    ([1, "a", None], list),
    ("naïve\x00", str),
]


@pytest.mark.parametrize(
    ("value", "annotation"), TYPED, ids=[f"{i}-{getattr(kind, '__name__', kind)}" for i, (_, kind) in enumerate(TYPED)]
)
def test_typed_values_arrive_as_they_were(value: Any, annotation: Any) -> None:
    arrived = typed(value, annotation)
    assert arrived == value
    assert type(arrived) is type(value) or annotation is float


def test_objects_that_know_no_equality_arrive_too() -> None:
    arrived = typed(Unequal(3), Unequal)
    assert isinstance(arrived, Unequal)
    assert arrived.x == 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def free(a: Any = None, *args: Any, **kwargs: Any) -> None: ...


@given(st.lists(json_values, max_size=3), st.dictionaries(st.text(min_size=1).filter(lambda name: name != "a"), json_values, max_size=3))
def test_plain_json_arrives_as_it_was(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert trip(free, *args, **kwargs) == (tuple(args), kwargs)


def test_a_tuple_without_annotation_arrives_as_a_list() -> None:
    assert trip(free, (1, (2, 3))) == (([1, [2, 3]],), {})


def test_subclasses_of_text_and_numbers_travel_as_what_they_are() -> None:
    class Safe(str):
        def __str__(self) -> str:
            return "another text"

    class Count(int):
        pass

    class Ratio(float):
        pass

    (arrived,), _ = trip(free, [Safe("<b>"), Count(3), Ratio(0.5), Word.A, Level.LOW])
    assert arrived == ["<b>", 3, 0.5, "a", 1]
    assert [type(value) for value in arrived] == [str, int, float, str, int]


class FakeModel:
    class _meta:
        pk = "id"

    pk = 3


class FakeQuery:
    model = FakeModel

    def values_list(self) -> None: ...


class Row:
    __table__ = "users"


class Opaque:
    pass


def looped() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


REFUSED: list[tuple[Any, str]] = [
    (FakeModel(), r"refuse\(user\): a Django model \(FakeModel\); pass its primary key \(user\.pk\) and load it in the task"),
    ({"deep": [1, FakeModel()]}, r"refuse\(user\['deep'\]\[1\]\): a Django model"),
    (FakeQuery(), r"a Django queryset; .*values_list\('pk', flat=True\)"),
    (Row(), "a database row .Row.; pass its primary key"),
    (lambda: 1, "a lambda"),
    (looped, "a function"),
    (Opaque, "a class; pass its name"),
    (Opaque(), "an object .*Opaque.; pass plain data"),
    (b"x", r"bytes.*annotate the parameter \(user: bytes\)"),
    (bytearray(b"x"), "bytearray"),
    ({1, 2}, r"a set.*annotate the parameter \(user: set"),
    (math.nan, "nan, which JSON does not have"),
    ([1, -math.inf], r"user\[1\]\): -inf"),
    ({1: 2}, "keys are int"),
    ({None: 2}, "keys are NoneType"),
    ({(1, 2): 2}, "keys are tuple"),
    ({"\ud800": 2}, "key with a lone surrogate"),
    ("\ud800", "lone surrogate"),
    (NOON, r"a datetime, .*annotate the parameter \(user: datetime\)"),
    (date(2026, 1, 1), "a date"),
    (timedelta(1), "a timedelta"),
    (Decimal(1), "a Decimal"),
    (UUID(int=1), "a UUID"),
    (Colour.RED, r"an enum member \(Colour\)"),
    (Line(Decimal(1)), r"an object \(Line\).*annotate the parameter \(user: Line\)"),
    (Order(UUID(int=1)), r"an object \(Order\)"),
    (Model(when=NOON), r"an object \(Model\)"),
    (ValueError("x"), "an exception"),
    ((i for i in [1]), "an iterator .generator.; pass list"),
    (range(3), r"a range; pass list\(user\)"),
    (looped(), "nested too deeply, or it contains itself"),
    (nested(100_000), "nested too deeply"),
    (3 + 4j, "an object .complex."),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_would_not_arrive_is_refused_with_the_remedy(value: Any, words: str) -> None:
    def refuse(user: Any, other: int = 1) -> None: ...

    signature = CallSignature(refuse)
    for args, kwargs in (((value,), {}), ((), {"user": value}), ((value, 2), {})):
        with pytest.raises(ArgumentError, match=words):
            signature.check_and_encode(args, kwargs)


def test_an_open_file_is_refused(tmp_path: Any) -> None:
    with (tmp_path / "x").open("w") as file, pytest.raises(ArgumentError, match=r"an open file .TextIOWrapper.; pass its path"):
        trip(free, file)


@pytest.mark.parametrize(
    ("value", "annotation", "words"),
    [
        ("7", int, "x.: expected `int`, got `str`"),
        (True, int, "expected `int`, got `bool`"),
        (math.nan, float, "nan, which JSON does not have"),
        (math.nan, float | None, "nan, which JSON does not have"),
        ([1, "a"], list[int], r"x\[1\]\): expected `int`"),
        (Line(Decimal(1), "x"), Line, r"x.due\): "),  # type: ignore[arg-type]  # a wrong value is the case
        ("blue", Colour, "Invalid enum|invalid enum"),
        ({"when": "x"}, Model, "when"),
        (None, datetime, "expected `datetime`, got `null`"),
        ([NOON], list, r"x\[0\]\): a datetime"),
        (NOON, datetime | date, "its annotation is not used: Type unions"),
        (Opaque(), Opaque, r"an object .*values of Opaque cannot be made from JSON"),
        (NOON, "OnlyForCheckers", "cannot be resolved at run time"),
    ],
)
def test_what_does_not_fit_its_annotation_is_refused(value: Any, annotation: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        typed(value, annotation)


@pytest.mark.parametrize("annotation", [Opaque, Iterable[int], list[int] | list[str], "OnlyForCheckers", "not an expression", Any, object])
def test_annotations_that_json_knows_nothing_of_are_as_if_they_were_not_there(annotation: Any) -> None:
    assert typed([1, 2], annotation) == [1, 2]


def test_one_name_for_checkers_only_spoils_no_other_annotation() -> None:
    def fn(a: OnlyForCheckers, when: datetime, **rest: UUID) -> None: ...

    assert trip(fn, 1, when=NOON, x=UUID(int=1)) == ((1,), {"when": NOON, "x": UUID(int=1)})


def test_a_default_of_none_makes_it_optional() -> None:
    def fn(when: datetime = None, *, other: "UUID" = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013, UP037 - that is the case

    assert trip(fn, None, other=None) == ((None,), {"other": None})


def test_star_arguments_are_typed_too() -> None:
    def fn(first: int, *more: Decimal, **named: datetime) -> None: ...

    args, kwargs = (1, Decimal("1.5"), Decimal(2)), {"x": NOON}
    assert trip(fn, *args, **kwargs) == (args, kwargs)
    many = (1, *(Decimal(i) for i in range(50)))
    assert trip(fn, *many) == (many, {})
    with pytest.raises(ArgumentError, match=r"fn\(more\[1\]\)"):
        trip(fn, 1, Decimal(1), "x")


def test_decorated_functions_keep_their_types() -> None:
    def passing_on(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return wrapper

    @passing_on
    def fn(when: datetime) -> None: ...

    assert trip(fn, NOON) == ((NOON,), {})


def test_bound_functions_leave_out_their_first_parameter() -> None:
    def fn(self: Any, when: datetime) -> None: ...

    signature = CallSignature(fn, bind=True)
    assert signature.decode(*signature.check_and_encode((NOON,), {})) == ((NOON,), {})


def test_a_function_that_is_not_known_takes_plain_json() -> None:
    signature = CallSignature(None, name="far.away")
    assert signature.decode(*signature.check_and_encode((1,), {"x": [2]})) == ((1,), {"x": [2]})
    with pytest.raises(ArgumentError, match=r"far.away\(x\): a datetime"):
        signature.check_and_encode((), {"x": NOON})


# -- the worker's side


def send_email(user_id: int, when: datetime | None = None, *, urgent: bool = False) -> None: ...


def test_no_arguments_are_no_bytes() -> None:
    assert CallSignature(free).check_and_encode((), {}) == (None, None)
    assert CallSignature(free).decode(None, b"") == ((), {})
    assert CallSignature(free).decode(msgspec.Raw(b""), msgspec.Raw(b"")) == ((), {})
    assert CallSignature(send_email).decode(msgspec.Raw(b"[1]"), msgspec.Raw(b'{"urgent":true}')) == ((1,), {"urgent": True})


@pytest.mark.parametrize(
    ("a", "k", "unknown"),
    [
        (b"[1,null,3]", None, ()),
        (b"[1]", b'{"new":1}', ("new",)),
        (b"[1]", b'{"user_id":1}', ()),
        (None, None, ()),
        (None, b'{"urgent":true}', ()),
    ],
)
def test_what_another_release_may_know_is_told_apart(a: bytes | None, k: bytes | None, unknown: tuple[str, ...]) -> None:
    with pytest.raises(UnknownParameters, match="send_email") as caught:
        CallSignature(send_email).decode(a, k)
    assert caught.value.unknown == unknown


def test_what_is_unknown_can_be_dropped() -> None:
    signature = CallSignature(send_email)
    assert signature.decode(b'[1,null,"x","y"]', b'{"urgent":true,"new":1}', drop_unknown=True) == ((1, None), {"urgent": True})
    assert CallSignature(lambda a: None, name="f").decode(b"[1,2]", b'{"z":1}', drop_unknown=True) == ((1,), {})
    with pytest.raises(UnknownParameters, match="missing 1 required"):
        signature.decode(None, b'{"new":1}', drop_unknown=True)


@pytest.mark.parametrize(
    ("a", "k"),
    [
        (b'["x"]', None),
        (b"[1", None),
        (b"{}", None),
        (b"[1]", b"[]"),
        (b"[1]", b'{"urgent":3}'),
        (b"\xff", None),
        (b'["\xff"]', None),
        (b"[" * 100_000, None),
        (b"[1]", b'{"urgent":' + b"[" * 100_000),
    ],
)
@pytest.mark.parametrize("fn", [send_email, free])
def test_what_is_no_call_is_bad_arguments_and_nothing_else(fn: Any, a: bytes, k: bytes | None) -> None:
    try:
        CallSignature(fn).decode(a, k)
    except BadArguments:
        pass
    else:
        assert fn is free, "only the untyped function may take it"


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_end_as_a_call_or_as_one_of_two_errors(a: bytes, k: bytes) -> None:
    try:
        CallSignature(send_email).decode(a, k)
    except (BadArguments, UnknownParameters):
        pass


def test_a_bad_argument_is_named() -> None:
    with pytest.raises(BadArguments, match="got `int` - at when"):
        CallSignature(send_email).decode(b"[1,2]", None)


def test_counts_of_positional_arguments_may_change_from_call_to_call() -> None:
    signature = CallSignature(send_email)
    for args in ((1,), (1, NOON), (1,), (1, None)):
        assert signature.decode(*signature.check_and_encode(args, {})) == (args, {})


def test_the_largest_argument() -> None:
    assert CallSignature(send_email).largest((1,), {"urgent": True}) == ("urgent", 4)
    assert CallSignature(free).largest((), {}) == ("", 0)


# -- results and failures


def test_results_come_back_typed() -> None:
    assert decode_result(encode_result(NOON, 100), datetime) == NOON
    assert decode_result(encode_result({"a": [1]}, 100)) == {"a": [1]}
    assert decode_result(None) is None


@pytest.mark.parametrize("value", [Opaque(), "x" * 200, looped(), "\ud800"])
def test_results_that_cannot_be_kept_say_why(value: Any) -> None:
    with pytest.raises(ResultUnreadable, match="the task succeeded, but"):
        decode_result(encode_result(value, 100))


def test_a_result_that_is_another_type_now_is_unreadable() -> None:
    with pytest.raises(ResultUnreadable):
        decode_result(b'"x"', int)


def boom() -> None:
    raise ValueError("no such \ud800 user")


def test_failures_keep_type_words_trace_and_place() -> None:
    with pytest.raises(ValueError) as caught:
        boom()
    failure = decode_failure(encode_failure(caught.value))
    assert failure.type == "ValueError"
    assert failure.message == "no such \\ud800 user"
    assert "in boom" in failure.traceback
    assert failure.at.endswith("in boom")
    assert "test_codec.py" in failure.at


def test_failures_are_short_and_never_fail() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "cannot be had" in decode_failure(encode_failure(Broken())).message
    assert len(encode_failure(ValueError("x" * 1_000_000))) < 40_000
    assert decode_failure(b"garbage").message == "garbage"
    assert decode_failure(b"").type == ""
