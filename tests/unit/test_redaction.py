"""What ``redact`` hides, by name in data and by value in text."""

from __future__ import annotations

import dataclasses
import enum

import msgspec
import pytest

from umbel import ArgumentError, Umbel
from umbel.envelope import Envelope
from umbel.message import decode_body, encode_body
from umbel.redaction import HIDDEN, Redaction
from umbel.shape import shape_of


class Card(enum.Enum):
    A = "a"


@dataclasses.dataclass
class Payment:
    card: str
    amount: int


class Account(msgspec.Struct):
    card: str
    owner: str


def pay(card: str, amount: int = 0, *rest: object, meta: object = None, **more: object) -> None: ...


SHAPE = shape_of(pay)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("4111222233334444", 5), {}),
        ((), {"card": "4111222233334444"}),
        (("x",), {"meta": {"Card": "4111222233334444"}}),
        (("x",), {"meta": [{"deep": [{"CARD": {"number": "4111222233334444"}}]}]}),
        (("x",), {"meta": Payment("4111222233334444", 5)}),
        (("x", 1, {"a": Account("4111222233334444", "Ada")}), {}),
        (("x",), {"more": 1, "CARD": 4111222233334444}),
    ],
)
def test_a_call_is_shown_without_it(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    redaction = Redaction(["card"])
    assert "4111222233334444" not in redaction.call_text(args, kwargs, SHAPE)
    assert HIDDEN in redaction.call_text(args, kwargs, SHAPE)
    words = f"it failed for {args!r} and {kwargs!r} with 4111222233334444"
    assert "4111222233334444" not in redaction.secrets(args, kwargs, SHAPE).hidden_in(words)


def test_what_is_not_named_is_shown() -> None:
    redaction = Redaction(["card"])
    assert redaction.call_text(("4111222233334444", 5), {"meta": {"a": 1}}, SHAPE) == "***, 5, meta={'a': 1}"
    assert redaction.args(["secret", 5, 6], SHAPE) == [HIDDEN, 5, 6]
    assert redaction.args(["secret", 5, 6], None) == [HIDDEN] * 3
    assert Redaction().call_text((1, "a"), {"b": "c"}, SHAPE) == "1, 'a', b='c'"
    assert not Redaction() and Redaction().value({"card": 1}) == {"card": 1}


def test_varargs_and_every_name() -> None:
    assert Redaction(["rest"]).args([1, 2, 3, 4], SHAPE) == [1, 2, HIDDEN, HIDDEN]
    assert Redaction(["*"]).args([1, 2], SHAPE) == [HIDDEN, HIDDEN]
    assert Redaction(["*"]).value({"a": [1]}) == {"a": HIDDEN}
    assert Redaction(["card"]).args([1, 2], shape_of(lambda card: None)) == [HIDDEN, HIDDEN]  # one more than it takes


@pytest.mark.parametrize("secret", ['say "4111"', "a'b\nc\td", "Пароль-Ё", "p@ss\\word", "x" * 5000])
def test_a_value_is_found_however_it_is_quoted(secret: str) -> None:
    hide = Redaction(["card"]).secrets((secret,), {}, SHAPE).hidden_in
    for words in (secret, repr(secret), str([secret]), msgspec.json.encode(secret).decode(), repr({"k": secret})):
        left = hide(words)
        assert secret not in left and secret[2:6] not in left, (words, left)


def test_short_values_are_hidden_where_they_stand_alone() -> None:
    hide = Redaction(["card"]).secrets((123,), {}, SHAPE).hidden_in
    assert hide("code 123 of 51234, item 7") == "code *** of 51234, item 7"
    assert Redaction(["card"]).secrets((True,), {}, SHAPE).hidden_in("True or None") == "True or None"


def test_a_secret_is_found_in_the_call_as_it_travelled() -> None:
    body = decode_body(encode_body("pay", b'["4111222233334444"]', None))
    assert "4111" not in Redaction(["card"]).secrets((), {}, SHAPE, body).hidden_in("no 4111222233334444")


def test_deep_and_circular_values_end() -> None:
    deep: list[object] = []
    deep.append(deep)
    assert Redaction(["card"]).value({"a": deep}) and not Redaction(["card"]).secrets((), {"a": deep, "card": deep}, SHAPE).hidden_in("")


def test_reprs_of_messages_have_no_arguments() -> None:
    body = encode_body("pay", b'["4111222233334444"]', b'{"card":"4111222233334444"}')
    assert "4111" not in repr(Envelope("m", "q", body)) + repr(decode_body(body))


def test_a_signature_is_shown_without_it() -> None:
    app = Umbel("discreet", broker="memory://", redact=["card"], set_as_current=False)
    task = app.task(name="pay")(pay)
    assert repr(task.s("4111222233334444", 5)) == "pay.s(***, 5)"
    assert repr(task.si(card="4111222233334444")) == "pay.si(card=***)"
    plain = Umbel("open", broker="memory://", set_as_current=False).task(name="pay")(pay)
    assert repr(plain.s("4111", amount=5)) == "pay.s('4111', amount=5)"


def test_an_argument_that_is_refused_is_not_quoted() -> None:
    app = Umbel("discreet", broker="memory://", redact=["card"], set_as_current=False)

    @app.task
    def charge(card: Card, amount: int) -> None: ...

    with pytest.raises(ArgumentError) as refused:
        charge.delay("4111222233334444", 1)
    assert "card" in str(refused.value) and "4111" not in str(refused.value) and refused.value.__cause__ is None
    open_app = Umbel("open", broker="memory://", set_as_current=False)
    with pytest.raises(ArgumentError, match="4111"):
        open_app.task(name="c")(charge.fn).delay("4111222233334444", 1)


def test_what_a_pydantic_model_refuses_is_not_quoted() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Form(pydantic.BaseModel):  # type: ignore[misc, name-defined]  # a class that is made at run time
        amount: int

    app = Umbel("open", broker="memory://", set_as_current=False)
    globals()["Form"] = Form

    def charge(form: Form) -> None: ...

    with pytest.raises(ArgumentError) as refused:
        app.task(charge).delay({"amount": "4111-2222"})
    assert "amount" in str(refused.value) and "integer" in str(refused.value) and "4111" not in str(refused.value)
