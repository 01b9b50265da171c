"""A call's arguments to JSON and back, typed by the function's annotations.

The caller's side proves the trip: what it encodes it also decodes, as the worker will, and compares. So a call that is
accepted arrives as it was given; the one liberty is that a tuple arrives as a list where no annotation says tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from .errors import ArgumentError, WireError
from .failure import Failure, decode_failure, decode_result, encode_failure, encode_result
from .shape import ANYTHING, Shape, shape_of
from .wiretype import WireTypes, decoder, encode_foreign

__all__ = [
    "BadArguments",
    "CallSignature",
    "Failure",
    "UnknownParameters",
    "decode_failure",
    "decode_result",
    "encode_failure",
    "encode_result",
    "proper",
]

_DECODERS_MAX = 32
"""Decoders kept per function, one for each count of positional arguments that was met."""

_encode = msgspec.json.Encoder(enc_hook=encode_foreign).encode
_decode_tuple = msgspec.json.Decoder(tuple[Any, ...]).decode
_decode_dict = msgspec.json.Decoder(dict[str, Any]).decode
_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_raw_dict = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode

_UNFIT = (ValueError, TypeError, RecursionError, OverflowError)
"""What encoding, decoding or comparing foreign values may raise."""


class UnknownParameters(WireError):
    """The message and this release's function do not fit: it has parameters that the function lacks, or lacks one that the
    function requires. Another release may know better."""

    def __init__(self, message: str, *, unknown: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.unknown = unknown


class BadArguments(WireError):
    """The arguments are not JSON, or not what the annotations say."""


class CallSignature:
    """How calls of one function travel. Annotations are looked at on first use, when all modules are there."""

    def __init__(self, fn: Callable[..., Any] | None, *, bind: bool = False, name: str | None = None) -> None:
        """Of ``fn``, whose first parameter is the task itself with ``bind``; None for a function that is not known here."""
        self.shape: Shape = shape_of(fn, bound=bind) if fn is not None else ANYTHING
        self.name: str = name or self.shape.name.rpartition(".")[2]
        self._types: WireTypes | None = None
        self._typed_args = self._typed_kwargs = False
        self._by_count: dict[int, Callable[[bytes | msgspec.Raw], tuple[Any, ...]]] = {}
        self._likely: Callable[[bytes | msgspec.Raw], tuple[Any, ...]] = _decode_tuple
        self._named: Callable[[bytes | msgspec.Raw], dict[str, Any]] = _decode_dict
        self._whole: Callable[[bytes | msgspec.Raw], msgspec.Struct] | None = None
        self._all_named = len(self.shape.keywords) if all(p.keyword for p in self.shape.positional) else -1
        self._each: dict[str, Callable[[bytes | msgspec.Raw], Any]] = {}

    # -- the caller's side

    def check_and_encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
        """The JSON of both, None for an empty one.

        Raises ``TypeError`` as a plain call does for wrong parameters, :class:`~umbel.errors.ArgumentError` for a value
        that would not arrive as it is.
        """
        if not self.shape.accepts(args, kwargs):
            raise self.shape.complaint(args, kwargs) or TypeError(f"{self.shape.name}(): the arguments do not fit")
        a = k = None
        arrived, named = args, kwargs
        try:
            if args:
                a = _encode(args)
                arrived = self._decoder_for(len(args))(a)
            if kwargs:
                k = _encode(kwargs)
                named = self._decode_named(k)
            same = arrived == args and named == kwargs
        except _UNFIT as exc:
            raise self._refusal(args, kwargs, exc) from None
        if not same:
            self._check_changed([(self.shape.name_of(i), args[i], arrived[i]) for i in range(len(args))])
            self._check_changed([(name, value, named.get(name)) for name, value in kwargs.items()])
        return a, k

    def check_and_encode_partial(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], before: int, named: Sequence[str]
    ) -> tuple[bytes | None, bytes | None]:
        """The same of a call in front of whose positional arguments ``before`` others will be put, and ``named`` ones added, once it
        runs: a member of a flow."""
        whole = (None,) * before + args
        if not self.shape.accepts(whole, {**kwargs, **dict.fromkeys(named)}):
            complaint = self.shape.complaint(whole, {**kwargs, **dict.fromkeys(named)})
            given = f"{before} value{'s' if before != 1 else ''} of those before it" if before else "values by name"
            raise TypeError(f"{complaint}; in the flow it is given {given}: take them, or use .si() for a call that takes none")
        try:
            return self._positional_alone(args, before) if args else None, self._named_alone(kwargs) if kwargs else None
        except ArgumentError:
            raise
        except _UNFIT as exc:
            if not before:
                raise self._refusal(args, kwargs, exc) from None
            raise ArgumentError(f"{self.name}(): an argument would not arrive as it is: {exc}") from None

    def _positional_alone(self, args: tuple[Any, ...], before: int) -> bytes:
        a = _encode(args)
        types = tuple(self._type_at(before + i) for i in range(len(args)))
        arrived = decoder(tuple[types]).decode(a)  # type: ignore[valid-type]  # a type made at run time
        if arrived != args:
            self._check_changed([(self.shape.name_of(before + i), args[i], arrived[i]) for i in range(len(args))])
        return a

    def _named_alone(self, kwargs: dict[str, Any]) -> bytes:
        k = _encode(kwargs)
        arrived = self._decode_named(k)
        if arrived != kwargs:
            self._check_changed([(name, value, arrived.get(name)) for name, value in kwargs.items()])
        return k

    def _check_changed(self, triples: list[tuple[str, Any, Any]]) -> None:
        from .arguments import changed, refusal

        for name, sent, arrived in triples:
            fault = changed(name, sent, arrived)
            if fault is not None:
                raise refusal(self.name, fault, self.types.why.get(name.partition("[")[0], ""))

    def _refusal(self, args: Sequence[Any], kwargs: Mapping[str, Any], cause: Exception) -> ArgumentError:
        """Which argument it was, and why."""
        from .arguments import Fault, describe, refusal, unencodable

        for name, value, kind in self._each_argument(args, kwargs):
            try:
                data = _encode(value)
            except _UNFIT:
                return refusal(self.name, unencodable(name, value, _encode), self.types.why.get(name.partition("[")[0], ""))
            try:
                decoder(kind).decode(data)
            except _UNFIT as exc:
                if isinstance(value, float):
                    return refusal(self.name, describe(name, value))
                where, what = _validation(str(exc))
                return refusal(self.name, Fault(name + where, what, f"the parameter is declared as {_shown(kind)}"))
        return ArgumentError(f"{self.name}(): the arguments cannot be encoded: {cause}")

    def _each_argument(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        rows = [(self.shape.name_of(i), value, self._type_at(i)) for i, value in enumerate(args)]
        return rows + [(name, value, self._type_of(name)) for name, value in kwargs.items()]

    def largest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, int]:
        """The name and the encoded size of the largest argument of a call that does encode; ``("", 0)`` without one."""
        sizes = [(len(_encode(value)), name) for name, value, _ in self._each_argument(args, kwargs)]
        size, name = max(sizes, default=(0, ""))
        return name, size

    # -- the worker's side

    def decode(
        self, a: bytes | msgspec.Raw | None, k: bytes | msgspec.Raw | None, *, drop_unknown: bool = False
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments again, as annotated. Empty ``a`` and ``k`` mean none.

        Raises :class:`UnknownParameters` or :class:`BadArguments`, nothing else. With ``drop_unknown`` what the function
        does not know is left out.
        """
        if k and not a and self._whole is not None and (named := self._by_name(k, self._whole)) is not None:
            return (), named
        try:
            args: tuple[Any, ...] = self._decode_args(a, drop_unknown) if a else ()
            kwargs: dict[str, Any] = self._decode_kwargs(k, drop_unknown) if k else {}
        except WireError:
            raise
        except (*_UNFIT, msgspec.MsgspecError) as exc:
            raise BadArguments(f"{self.name}(): {exc}") from exc
        if not self.shape.accepts(args, kwargs):
            raise self._unknown(args, kwargs)
        return args, kwargs

    def _by_name(self, k: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], msgspec.Struct]) -> dict[str, Any] | None:
        """All arguments of a call by name, ten times as fast as the careful way; None for a call that does not fit, of which
        the careful way says why."""
        try:
            found = msgspec.structs.asdict(decode(k))
        except (*_UNFIT, msgspec.MsgspecError):
            return None
        for value in found.values():
            if value is msgspec.UNSET:
                found = {name: value for name, value in found.items() if value is not msgspec.UNSET}
                break
        return found if len(found) == self._all_named or self.shape.accepts((), found) else None

    def _decode_args(self, a: bytes | msgspec.Raw, drop_unknown: bool) -> tuple[Any, ...]:
        if self._types is None:
            self._prepare()
        if not self._typed_args:
            args = _decode_tuple(a)
            return args[: self.shape.most] if drop_unknown else args
        try:
            return self._likely(a)
        except msgspec.ValidationError:  # most calls of a function have the same count; this one may not
            raw = _decode_raw_list(a)
        if len(raw) > self.shape.most:
            if not drop_unknown:
                raise self._unknown((None,) * len(raw), {})
            raw = raw[: self.shape.most]
        self._likely = decode = self._decoder_for(len(raw))
        try:
            return decode(_encode(raw))
        except ValueError as exc:
            raise BadArguments(f"{self.name}(): {self._with_name(str(exc))}") from exc

    def _decode_kwargs(self, k: bytes | msgspec.Raw, drop_unknown: bool) -> dict[str, Any]:
        if self._types is None:
            self._prepare()
        if self._typed_kwargs and not self.shape.varkw:
            present = _decode_raw_dict(k)
            if not drop_unknown and not present.keys() <= self.shape.keywords.keys():
                raise self._unknown((), present)
        kwargs = self._decode_named(k)
        if drop_unknown and not self.shape.varkw:
            kwargs = {name: value for name, value in kwargs.items() if name in self.shape.keywords}
        return kwargs

    def _unknown(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> UnknownParameters:
        unknown = () if self.shape.varkw else tuple(name for name in kwargs if name not in self.shape.keywords)
        words = self.shape.complaint(args, dict(kwargs))
        return UnknownParameters(str(words or f"{self.name}() does not take these arguments"), unknown=unknown)

    def _with_name(self, words: str) -> str:
        where, what = _validation(words)
        index, _, rest = where.removeprefix("[").partition("]")
        return f"{what} - at {self.shape.name_of(int(index))}{rest}" if index.isdigit() else words

    # -- decoders

    @property
    def types(self) -> WireTypes:
        """What the annotations mean on the wire."""
        return self._types or self._prepare()

    def _prepare(self) -> WireTypes:
        types, shape = WireTypes(self.shape), self.shape
        self._typed_args = any(p.name in types.of for p in shape.positional) or shape.varargs in types.of
        self._typed_kwargs = any(name in types.of for name in shape.keywords) or shape.varkw in types.of
        if self._typed_kwargs and shape.varkw:
            self._each = {name: decoder(types.of[name]).decode for name in shape.keywords if name in types.of}
        elif self._typed_kwargs:
            fields = {name: types.of.get(name, Any) for name in shape.keywords}
            kind: Any = TypedDict("Keywords", fields, total=False)  # type: ignore[misc]  # made from what the function says
            self._named = decoder(kind).decode
        if shape.keywords and not shape.varkw:
            # a default is not looked at by the decoder, so it needs no place in the field's type
            rows = [(name, types.of.get(name, Any), msgspec.UNSET) for name in shape.keywords]
            self._whole = decoder(msgspec.defstruct("Keywords", rows, forbid_unknown_fields=True)).decode
        self._types = types
        self._likely = self._decoder_for(len(shape.positional))
        return types

    def _decoder_for(self, count: int) -> Callable[[bytes | msgspec.Raw], tuple[Any, ...]]:
        found = self._by_count.get(count)
        if found is None:
            if self._types is None:
                self._prepare()
            found = decoder(tuple[tuple(self._type_at(i) for i in range(count))]).decode if self._typed_args else _decode_tuple  # type: ignore[misc]  # a type made at run time
            if len(self._by_count) < _DECODERS_MAX:
                self._by_count[count] = found
        return found

    def _decode_named(self, k: bytes | msgspec.Raw) -> dict[str, Any]:
        if self._types is None:
            self._prepare()
        if not (self._typed_kwargs and self.shape.varkw):
            return self._named(k)
        other = self.types.of.get(self.shape.varkw, Any)
        rest = decoder(other).decode if other is not Any else _decode_any
        return {
            name: self._each.get(name, _decode_any if name in self.shape.keywords else rest)(raw)
            for name, raw in _decode_raw_dict(k).items()
        }

    def _type_at(self, index: int) -> Any:
        if index < len(self.shape.positional):
            return self.types.of.get(self.shape.positional[index].name, Any)
        return self.types.of.get(self.shape.varargs or "", Any)

    def _type_of(self, name: str) -> Any:
        return self.types.of.get(name if name in self.shape.keywords else self.shape.varkw or "", Any)


def proper(task: str, args: object, kwargs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments as a tuple, named ones as a dict; the classic slip ``args=(7)`` is told apart."""
    if not isinstance(args, list | tuple):
        raise ArgumentError(f"{task}: args must be a tuple or list of positional arguments, not {type(args).__name__}; for one: args=(x,)")
    if not isinstance(kwargs, Mapping):
        raise ArgumentError(f"{task}: kwargs must be a dict of named arguments, not {type(kwargs).__name__}")
    for key in kwargs:
        if not isinstance(key, str):
            raise TypeError("keywords must be strings")
    return tuple(args), dict(kwargs)


def _validation(words: str) -> tuple[str, str]:
    """A validation error's place (``[0].name``) and its words."""
    what, _, where = words.rpartition(" - at `$")
    if not what:
        what, where = words, ""
    return where.rstrip("`"), what[:1].lower() + what[1:]


def _shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind).replace("typing.", "")
