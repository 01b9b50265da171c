"""What an annotation means on the wire: which JSON decoder makes its values again, if any does."""

from __future__ import annotations

import sys
from typing import Any, Optional

import msgspec

from .shape import Shape


class WireTypes:
    """The types of a function's parameters, as far as JSON can bring them back.

    ``of[name]`` is the type of a parameter; names that are missing travel as plain JSON. ``why[name]`` says why an
    annotation that stands there was not used.
    """

    def __init__(self, shape: Shape) -> None:
        self.of: dict[str, Any] = {}
        self.why: dict[str, str] = {}
        hints = _hints(shape.owner, self.why)
        optional = {p.name for p in shape.parameters if p.default_none}
        self.result: Any = self._usable("return", hints.pop("return", None), False)
        for name in [*(p.name for p in shape.parameters), shape.varargs, shape.varkw]:
            if name is not None and name in hints:
                found = self._usable(name, hints[name], name in optional)
                if found is not None:
                    self.of[name] = found

    def _usable(self, name: str, annotation: Any, optional: bool) -> Any:
        if annotation is None and name == "return":
            return None
        if optional:
            annotation = Optional[annotation]  # noqa: UP045 - an annotation that is text inside has no `|`
        try:
            info = msgspec.inspect.type_info(annotation)
            foreign = _foreign(info, set())
            if not foreign and not isinstance(info, msgspec.inspect.AnyType):
                decoder(annotation)
                return annotation
        except Exception as exc:  # whatever a foreign annotation does when it is looked at, it only makes it unusable
            foreign = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        if foreign:
            self.why[name] = foreign
        return None


def decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    """A JSON decoder for an annotation that is usable."""
    return msgspec.json.Decoder(annotation, dec_hook=_decode_foreign)


def encode_foreign(value: Any) -> Any:
    """What stands for a value that msgspec does not know: subclasses of text and numbers, pydantic models."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if _is_model(type(value)):
        return msgspec.Raw(value.model_dump_json().encode())
    raise TypeError(f"a {type(value).__name__} is not JSON")


def _decode_foreign(kind: type, value: Any) -> Any:
    if _is_model(kind):
        try:
            return kind.model_validate_json(msgspec.json.encode(value))  # type: ignore[attr-defined]  # only a model gets here
        except ValueError as exc:
            raise ValueError(_without_input(exc)) from None
    raise TypeError(f"a {kind.__name__} cannot be made from JSON")


def _without_input(exc: Any) -> str:
    """What a model says of data that does not fit, without the data, which may be anybody's secret."""
    if not hasattr(exc, "errors"):
        return " ".join(str(exc).split())
    told = exc.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in one['loc']) or exc.title}: {one['msg']}" for one in told)


def _is_model(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")  # never imported by us: a value of its types is proof that the user has
    model = getattr(pydantic, "BaseModel", None)
    return isinstance(model, type) and issubclass(kind, model) and hasattr(kind, "model_validate_json")


def _foreign(info: Any, seen: set[Any]) -> str:
    """Why a value of this type cannot be brought back, or nothing."""
    if isinstance(info, msgspec.inspect.CustomType):
        return "" if _is_model(info.cls) else f"values of {info.cls.__name__} cannot be made from JSON"
    kind = getattr(info, "cls", None)
    if kind is not None:
        if kind in seen:
            return ""
        seen.add(kind)
    for name in getattr(info, "__struct_fields__", ()):
        inner = getattr(info, name)
        for part in inner if isinstance(inner, tuple) else (inner,):
            if isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field):
                found = _foreign(part, seen)
                if found:
                    return found
    return ""


def _hints(owner: Any, why: dict[str, str]) -> dict[str, Any]:
    from typing import get_type_hints

    try:
        return get_type_hints(owner, include_extras=True)
    except Exception:  # one name that is only there for checkers spoils all: go through them one by one
        return _hints_one_by_one(owner, why)


def _hints_one_by_one(owner: Any, why: dict[str, str]) -> dict[str, Any]:
    annotations = dict(getattr(owner, "__annotations__", None) or {})
    space = getattr(owner, "__globals__", None) or getattr(sys.modules.get(getattr(owner, "__module__", "")), "__dict__", {})
    found: dict[str, Any] = {}
    for name, annotation in annotations.items():
        try:
            found[name] = eval(annotation, space) if isinstance(annotation, str) else annotation
        except Exception as exc:  # evaluating foreign text may raise anything
            why[name] = f"the annotation {annotation!r} cannot be resolved at run time: {exc}"
    return found
