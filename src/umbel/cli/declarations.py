"""What an app's tasks can be called with, as data that is the same for the same code: for people, for ``diff``, for a later release.

The JSON of a :class:`Declared` is a file format: fields are only added, each with a default, so that any release reads the
print of any other.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ConfigError
from ..wiretype import WireTypes

if TYPE_CHECKING:
    from ..app import Umbel
    from ..task import Task

FORMAT = 1
POSITIONAL, EITHER, KEYWORD, REST, NAMED_REST = "positional", "positional or keyword", "keyword", "rest", "named rest"
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: POSITIONAL,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: EITHER,
    inspect.Parameter.KEYWORD_ONLY: KEYWORD,
    inspect.Parameter.VAR_POSITIONAL: REST,
    inspect.Parameter.VAR_KEYWORD: NAMED_REST,
}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter, ``*args`` (kind ``rest``) and ``**kwargs`` (``named rest``) too."""

    name: str
    kind: str
    type: str = ""
    """As the annotation says; empty without one."""
    required: bool = False
    default: str = ""
    """As Python writes it; empty where there is none."""
    wire: Any = None
    """JSON Schema of what travels; None where any JSON does."""

    @property
    def is_positional(self) -> bool:
        return self.kind in (POSITIONAL, EITHER)

    @property
    def is_keyword(self) -> bool:
        return self.kind in (KEYWORD, EITHER)

    def text(self) -> str:
        """As it stands in a ``def``."""
        stars = {REST: "*", NAMED_REST: "**"}.get(self.kind, "")
        typed = f": {self.type}" if self.type else ""
        default = "" if self.required or stars else f" = {self.default}" if typed else f"={self.default}"
        return f"{stars}{self.name}{typed}{default}"


class TaskPrint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task."""

    parameters: tuple[Parameter, ...] = ()
    queue: str = ""
    aliases: tuple[str, ...] = ()
    unknown_kwargs: str = "park"

    def call(self) -> str:
        """Its parameters as a ``def`` has them, in parentheses."""
        parts: list[str] = []
        for at, one in enumerate(self.parameters):
            before = self.parameters[at - 1].kind if at else ""
            if before == POSITIONAL and one.kind != POSITIONAL:
                parts.append("/")
            if one.kind == KEYWORD and before not in (KEYWORD, REST):
                parts.append("*")
            parts.append(one.text())
        if self.parameters and self.parameters[-1].kind == POSITIONAL:
            parts.append("/")
        return f"({', '.join(parts)})"

    def options(self) -> str:
        """What of its options a caller or an operator of another release must know."""
        said = [f"queue={self.queue}"]
        said += [f"aliases={','.join(self.aliases)}"] if self.aliases else []
        said += [f"unknown_kwargs={self.unknown_kwargs}"] if self.unknown_kwargs != "park" else []
        return " ".join(said)


class Declared(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All tasks of a release, by name."""

    format: int
    app: str
    release: str | None = None
    tasks: dict[str, TaskPrint]


def declared(app: Umbel) -> Declared:
    """Print an app."""
    default = app.settings.default_queue
    tasks = {name: _task(task, default) for name, task in sorted(app.tasks.items())}
    return Declared(format=FORMAT, app=app.settings.name, release=app.settings.release, tasks=tasks)


def read(file: Path) -> Declared:
    """An older print. ``ConfigError`` for a file that is none, or of a format that this release does not know."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Declared)
    except OSError as exc:
        raise ConfigError(f"--against {file}: {exc.strerror}") from exc
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--against {file}: not a print of `umbel signatures --json` ({exc})") from exc
    if found.format > FORMAT:
        raise ConfigError(f"--against {file}: a newer release of umbel made it (format {found.format}); compare with that one")
    return found


def _task(task: Task[..., Any], default_queue: str) -> TaskPrint:
    options = task.options
    return TaskPrint(
        parameters=_parameters(task),
        queue=options.queue or default_queue,
        aliases=tuple(sorted(options.aliases)),
        unknown_kwargs=options.unknown_kwargs,
    )


def _parameters(task: Task[..., Any]) -> tuple[Parameter, ...]:
    try:
        found = list(inspect.signature(task.fn).parameters.values())
    except (ValueError, TypeError):  # a built-in that does not say
        return (Parameter("args", REST), Parameter("kwargs", NAMED_REST))
    types = task.signature.types
    return tuple(_parameter(one, types) for one in found if one.name != task.signature.shape.bound)


def _parameter(one: inspect.Parameter, types: WireTypes) -> Parameter:
    has_default = one.default is not one.empty
    return Parameter(
        name=one.name,
        kind=_KINDS[one.kind],
        type="" if one.annotation is one.empty else _shown(one.annotation),
        required=not has_default and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD),
        default=_literal(one.default) if has_default else "",
        wire=_schema(types.of[one.name]) if one.name in types.of else None,
    )


def _shown(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__qualname__
    return _ADDRESS.sub("", str(annotation).replace("typing.", ""))


def _literal(default: Any) -> str:
    """As Python writes it, but nothing that differs from one process to the next."""
    if isinstance(default, set | frozenset):
        return f"{type(default).__name__}({sorted(map(repr, default))})"
    try:
        return _ADDRESS.sub("", repr(default))
    except Exception:  # a foreign repr may raise anything
        return f"<{type(default).__name__}>"


def _schema(kind: Any) -> Any:
    """What msgspec says travels, without words and titles, which change nothing."""
    try:
        return _bare(msgspec.json.schema(kind, schema_hook=_any_json))
    except Exception:  # a type without a schema, such as a pydantic model: its name has to do
        return None


def _any_json(kind: type) -> dict[str, Any]:
    schema: Callable[[], dict[str, Any]] | None = getattr(kind, "model_json_schema", None)  # pydantic's own
    return schema() if schema else {}


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: {name: _bare(one) for name, one in sorted(inner.items())} if key in ("properties", "$defs") else _bare(inner)
            for key, inner in sorted(schema.items())
            if key not in ("title", "description")
        }
    return [_bare(one) for one in schema] if isinstance(schema, list) else schema
