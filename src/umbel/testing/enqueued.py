"""The calls that a sandbox was given, and how an assertion about them is compared and explained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..call import CALL_OPTIONS
from ..clock import seconds, to_datetime
from ..codec import CallSignature
from ..config import unknown_name
from ..envelope import Envelope
from ..errors import WireError
from ..message import HEADER_ETA, RESERVED, Body, decode_body
from ..redaction import Redaction

if TYPE_CHECKING:
    from ..task import Task

OPTIONS = tuple(name for name in CALL_OPTIONS if name != "track")
"""What an assertion may say beside the arguments."""
_SHOWN = 10
"""Calls that a failure lists; more are counted."""
_LEEWAY = 0.5
"""Seconds by which two spans may differ that were told from two looks at a clock that goes on."""
_MISSING = object()


class Enqueued:
    """One call, as it was sent. Arguments are what the worker will get: typed by annotation."""

    def __init__(self, envelope: Envelope, task: Task[..., Any] | None) -> None:
        """``task``: None for one that is not known here, whose arguments are plain JSON."""
        body = _body(envelope)
        self.id: str = envelope.id
        self.task: str = body.t
        """The task's name."""
        self.queue: str = envelope.queue
        self.priority: int = envelope.priority
        self.headers: dict[str, Any] = {name: value for name, value in (body.h or {}).items() if not name.startswith(RESERVED)}
        self.enqueued_at: datetime = to_datetime(envelope.enqueued)
        self.countdown: float | None = envelope.after / 1000 if envelope.after else None
        """Seconds; None where none was said, or 0."""
        self.eta: datetime | None = _eta(envelope, body)
        """The time before which it will not run; of a countdown too."""
        self.expires: datetime | None = to_datetime(envelope.expires) if envelope.expires else None
        self._signature = task.signature if task is not None else CallSignature(None, name=body.t)
        self._redact: tuple[str, ...] = task.app.settings.redact if task is not None else ()
        self._parameters = _defaults(task)
        self.args, self.kwargs = self._decoded(body)

    def _decoded(self, body: Body) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            return self._signature.decode(body.a, body.k)
        except WireError:  # a middleware may have changed it into what the function does not take
            return CallSignature(None, name=self.task).decode(body.a, body.k)

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments by the names of the parameters, however they were passed, defaults included."""
        return {**self._parameters, **named(self._signature, self.args, self.kwargs)}

    def differences(self, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Which of these it differs in, with its own values. What is not said is not compared."""
        mine = self.arguments
        found = {name: mine.get(name, _MISSING) for name, value in arguments.items() if _differ(value, mine.get(name, _MISSING))}
        return found | {name: self._option(name) for name, value in options.items() if self._option_differs(name, value)}

    def _option(self, name: str) -> Any:
        return self.id if name == "task_id" else getattr(self, name)

    def _option_differs(self, name: str, wanted: Any) -> bool:
        mine = self._option(name)
        if name == "headers":
            return any(_differ(value, self.headers.get(key, _MISSING)) for key, value in wanted.items())
        if isinstance(wanted, int | float | timedelta) and name in ("countdown", "expires") and not isinstance(wanted, bool):
            span = (mine - self.enqueued_at).total_seconds() if isinstance(mine, datetime) else mine or 0.0
            return abs(span - seconds(wanted)) > (_LEEWAY if name == "expires" else 0.0005) or (name == "expires" and mine is None)
        if isinstance(wanted, datetime) and isinstance(mine, datetime):
            return abs((mine - _aware(wanted)).total_seconds()) > 0.001
        return bool(wanted != mine)

    def shown(self, redact: Iterable[str] = ()) -> str:
        """As a call reads: ``send_email(7, urgent=True)  queue='emails' countdown=60``. Named arguments are hidden by ``redact``."""
        call = Redaction(redact).call_text(self.args, self.kwargs, self._signature.shape)
        told = {"queue": self.queue, "countdown": self.countdown, "eta": None if self.countdown else self.eta, "expires": self.expires}
        words = [f"{name}={_plain(value)}" for name, value in told.items() if value is not None]
        return f"{self.task}({call})  {' '.join(words)}"

    def __repr__(self) -> str:
        return f"<Enqueued {self.shown(self._redact)}>"


class Wanted:
    """What an assertion asks for."""

    def __init__(self, task: Task[..., Any] | str, known: Task[..., Any] | None, args: tuple[Any, ...], given: Mapping[str, Any]) -> None:
        """``given``: named arguments and options; a name that is both is an argument, since only the task's author chose it."""
        self.name = task if isinstance(task, str) else task.name
        self._known = known
        signature = known.signature if known is not None else CallSignature(None, name=self.name)
        shape = signature.shape
        kwargs = {key: value for key, value in given.items() if key in shape.keywords or (key not in OPTIONS and shape.varkw)}
        self.options = {key: value for key, value in given.items() if key not in kwargs}
        for key in self.options:
            if key not in OPTIONS:
                raise TypeError(f"{self.name} has no such parameter: {unknown_name('option', key, [*shape.keywords, *OPTIONS])}")
        if len(args) > shape.most:
            raise TypeError(f"{self.name} takes {shape.most} positional arguments, and the assertion names {len(args)}")
        self.arguments = named(signature, args, kwargs)
        self._args, self._kwargs = args, kwargs

    def matches(self, call: Enqueued) -> bool:
        return self._is_task(call) and not call.differences(self.arguments, self.options)

    def _is_task(self, call: Enqueued) -> bool:
        return call.task == self.name

    def __str__(self) -> str:
        parts = [repr(value) for value in self._args] + [f"{name}={value!r}" for name, value in self._kwargs.items()]
        said = " ".join(f"{name}={_plain(value)}" for name, value in self.options.items())
        return f"{self.name}({', '.join(parts) if parts else '…'})" + (f"  {said}" if said else "")

    def failure(self, what: str, calls: list[Enqueued], redact: Iterable[str]) -> str:
        """The words of a failed assertion: what was asked for, and what there is, the nearest first."""
        if not calls:
            return f"{self} {what}: no call was made at all"
        lines = [f"{self} {what}. These calls were made, the nearest first:"]
        lines += [f"  {call.shown(redact)}{self._but(call, redact)}" for call in sorted(calls, key=self._distance)[:_SHOWN]]
        if len(calls) > _SHOWN:
            lines.append(f"  … and {len(calls) - _SHOWN} more")
        return "\n".join(lines)

    def _distance(self, call: Enqueued) -> tuple[float, int]:
        if self._is_task(call):
            return 0.0, len(call.differences(self.arguments, self.options))
        return 2.0 - difflib.SequenceMatcher(None, self.name, call.task).ratio(), 0

    def _but(self, call: Enqueued, redact: Iterable[str]) -> str:
        if not self._is_task(call):
            return ""
        hidden, wanted = set(redact), {**self.options, **self.arguments}
        told = []
        for name, mine in call.differences(self.arguments, self.options).items():
            if name in hidden:
                told.append(f"{name} differs")
            else:
                told.append(f"{name} is {'not given' if mine is _MISSING else _plain(mine)}, not {_plain(wanted[name])}")
        return f"    <- {'; '.join(told)}" if told else ""


def named(signature: CallSignature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their parameters' names."""
    return {signature.shape.name_of(i): value for i, value in enumerate(args)} | dict(kwargs)


def _defaults(task: Task[..., Any] | None) -> dict[str, Any]:
    """Each parameter that has a default value, and that value."""
    import inspect

    try:
        parameters = inspect.signature(task.fn).parameters if task is not None else {}
    except (ValueError, TypeError):  # built-in functions may not say
        return {}
    return {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}


def _body(envelope: Envelope) -> Body:
    try:
        return decode_body(envelope.body)
    except WireError:
        return Body("?")


def _eta(envelope: Envelope, body: Body) -> datetime | None:
    if envelope.due:
        return to_datetime(envelope.due)
    eta = (body.h or {}).get(HEADER_ETA)
    return to_datetime(eta) if isinstance(eta, int) and envelope.after else None


def _differ(wanted: Any, mine: Any) -> bool:
    """A tuple is compared as the list that it is on the wire."""
    return bool(_listed(wanted) != _listed(mine))


def _listed(value: Any) -> Any:
    if type(value) in (list, tuple):
        return [_listed(one) for one in value]
    if type(value) is dict:
        return {key: _listed(one) for key, one in value.items()}
    return value


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=to_datetime(0).tzinfo)


_PLAIN: dict[type, Callable[[Any], str]] = {
    datetime: lambda value: value.isoformat(sep=" ", timespec="milliseconds"),
    float: lambda value: f"{value:g}",
}


def _plain(value: Any) -> str:
    return _PLAIN.get(type(value), repr)(value)
