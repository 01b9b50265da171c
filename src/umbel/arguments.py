"""Why an argument would not arrive as it was given, in words that name the remedy. Only imported when one would not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from .errors import ArgumentError

Encode = Callable[[Any], bytes]
_DEPTH_MAX = 100
"""Levels into a value that a fault is looked for: nobody reads a longer path, and a list may contain itself."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with the value at ``path``, and what to do about it."""

    path: str
    what: str
    remedy: str


def refusal(task: str, fault: Fault, unresolved: str = "") -> ArgumentError:
    """The error for a fault; ``unresolved`` says why the parameter's annotation did not help."""
    note = f" (its annotation is not used: {unresolved})" if unresolved else ""
    return ArgumentError(f"{task}({fault.path}): {fault.what}; {fault.remedy}{note}")


def unencodable(name: str, value: Any, encode: Encode) -> Fault:
    """The innermost part of ``value`` that ``encode`` refuses."""
    path, found, depth = name, value, 0
    while inner := next(((p, v) for p, v in _parts(path, found) if not _encodes(v, encode)), None):
        path, found = inner
        depth += 1
        if depth > _DEPTH_MAX:
            return _nested(name)
    if isinstance(found, Mapping) and (fault := _bad_key(path, found)):
        return fault
    if isinstance(found, list | tuple | dict) and not _encodes(found, encode):
        return _nested(name)
    return describe(path, found)


def changed(name: str, sent: Any, arrived: Any) -> Fault | None:
    """The first part of ``sent`` that would arrive as something else. A tuple that arrives as a list, and a value that its
    annotation makes anew, are not faults."""
    try:
        return _changed(name, sent, arrived)
    except RecursionError:
        return _nested(name)


def _changed(path: str, sent: Any, arrived: Any) -> Fault | None:
    if isinstance(sent, list | tuple) and isinstance(arrived, list | tuple) and len(sent) == len(arrived):
        pairs = zip(sent, arrived, strict=True)
        return next((f for i, (s, a) in enumerate(pairs) if (f := _changed(f"{path}[{i}]", s, a))), None)
    if isinstance(sent, Mapping) and isinstance(arrived, Mapping):
        if sent.keys() != arrived.keys():
            return _bad_key(path, sent) or Fault(path, "keys that would arrive changed", "use text as keys")
        return next((f for key, s in sent.items() if (f := _changed(f"{path}[{key!r}]", s, arrived[key]))), None)
    if isinstance(sent, float) and not math.isfinite(sent):
        return describe(path, sent)
    if _same(sent, arrived) or _made_anew(sent, arrived):
        return None
    return describe(path, sent)


def _same(sent: Any, arrived: Any) -> bool:
    return type(sent) is not bytes and bool(sent == arrived)


def _made_anew(sent: Any, arrived: Any) -> bool:
    """Plain JSON that an annotation turned into more, or an object that an annotation built again."""
    plain = (str, int, float, bool, type(None), list, dict)
    if type(sent) in plain:
        return arrived is not None
    return type(arrived) not in plain


def describe(path: str, value: Any) -> Fault:
    """What a value is, and what to pass instead."""
    last = path.rpartition(".")[2]
    for test, what, remedy in _KINDS:
        if test(value):
            kind = type(value).__name__
            return Fault(path, _fill(what, kind, last, value), _fill(remedy, kind, last, value))
    kind = _qualified(type(value))
    return Fault(path, f"an object ({kind})", "pass plain data (numbers, text, lists, dicts), or annotate the parameter with a dataclass")


def _fill(text: str, kind: str, last: str, value: Any) -> str:
    return text.replace("KIND", kind).replace("ARG", last).replace("VALUE", repr(value)[:60] if isinstance(value, float) else "")


def _qualified(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _nested(name: str) -> Fault:
    return Fault(name, "nested too deeply, or it contains itself", "pass flat data, or an id under which the task finds it")


def _bad_key(path: str, value: Mapping[Any, Any]) -> Fault | None:
    for key in value:
        if isinstance(key, str) and _surrogate(key):
            return Fault(path, f"a key with a lone surrogate ({key!a})", "clean it: text.encode('utf-8', 'replace').decode()")
        if not isinstance(key, str):
            kind = type(key).__name__
            return Fault(
                path, f"a dict whose keys are {kind}, which JSON makes text", f"use str(key), or annotate the parameter: dict[{kind}, …]"
            )
    return None


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r}]", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{path}[{i}]", inner) for i, inner in enumerate(value))
    elif isinstance(value, msgspec.Struct):
        yield from ((f"{path}.{name}", getattr(value, name)) for name in value.__struct_fields__)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f"{path}.{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value))


def _encodes(value: Any, encode: Encode) -> bool:
    try:
        encode(value)
    except Exception:  # whatever it is, it does not encode
        return False
    return True


def _surrogate(value: Any) -> bool:
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


def _has(*names: str) -> Callable[[Any], bool]:
    def test(value: Any) -> bool:
        return not isinstance(value, type) and all(hasattr(type(value), name) for name in names)

    return test


def _is(*kinds: str) -> Callable[[Any], bool]:
    """By the name of a type or of one of its bases, so that nothing has to be imported for it."""
    return lambda value: any(_qualified(base) in kinds for base in type(value).__mro__)


def _is_table_row(value: Any) -> bool:
    return hasattr(type(value), "__table__") or (not isinstance(value, type) and hasattr(value, "_sa_instance_state"))


def _is_model(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(getattr(value, "_meta", None), "pk")


def _is_data_object(value: Any) -> bool:
    annotated = isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value) or hasattr(type(value), "__attrs_attrs__")
    return not isinstance(value, type) and (annotated or hasattr(type(value), "model_fields"))


def _is_open_file(value: Any) -> bool:
    return hasattr(value, "read") and (hasattr(value, "seek") or hasattr(value, "fileno"))


_ANNOTATE = "annotate the parameter (ARG: KIND), so that it arrives as one"
_KINDS: list[tuple[Callable[[Any], bool], str, str]] = [
    (_is_model, "a Django model (KIND)", "pass its primary key (ARG.pk) and load it in the task"),
    (
        _has("model", "values_list"),
        "a Django queryset",
        "pass the primary keys, list(ARG.values_list('pk', flat=True)), or what the query depends on",
    ),
    (_has("get_queryset", "contribute_to_class"), "a Django manager", "pass the primary keys"),
    (_is_table_row, "a database row (KIND)", "pass its primary key and load it in the task"),
    (_is("django.utils.functional.Promise"), "a lazy text", "pass str(ARG)"),
    (_is_open_file, "an open file (KIND)", "pass its path, or its content as text"),
    (lambda v: isinstance(v, float), "VALUE, which JSON does not have", "pass None, or a number that exists"),
    (_surrogate, "text with a lone surrogate", "clean it: text.encode('utf-8', 'replace').decode()"),
    (
        lambda v: isinstance(v, bytes | bytearray | memoryview),
        "KIND, which JSON does not have",
        "annotate the parameter (ARG: bytes), or pass text",
    ),
    (lambda v: isinstance(v, set | frozenset), "a set, which JSON does not have", "annotate the parameter (ARG: set[…]), or pass a list"),
    (lambda v: isinstance(v, type), "a class", "pass its name"),
    (lambda v: getattr(v, "__name__", "") == "<lambda>", "a lambda", "pass data, and choose the function in the task"),
    (callable, "a function or callable object (KIND)", "pass data, and choose the function in the task"),
    (lambda v: isinstance(v, BaseException), "an exception (KIND)", "pass its text, str(ARG)"),
    (_has("__array__", "tolist"), "a KIND of numpy", "pass ARG.tolist()"),
    (_has("to_dict", "iloc"), "a KIND of pandas", "save it, and pass where it is"),
    (_is_data_object, "an object (KIND) whose parameter does not say so", _ANNOTATE),
    (_is("enum.Enum"), "an enum member (KIND) whose parameter does not say so", _ANNOTATE),
    (
        _is("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "decimal.Decimal", "uuid.UUID"),
        "a KIND, which JSON makes text",
        _ANNOTATE,
    ),
    (_has("__next__"), "an iterator (KIND)", "pass list(ARG)"),
    (lambda v: isinstance(v, range) or (hasattr(v, "__iter__") and hasattr(v, "__len__")), "a KIND", "pass list(ARG)"),
]
