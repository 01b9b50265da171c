"""The schedules of an app: those that its code declares, and those that are looked at and changed while it runs (``app.schedules``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec

from .call import call_of
from .clock import seconds, to_datetime
from .codec import proper
from .config import unknown_name
from .envelope import TRACKED
from .errors import ArgumentError, ConfigError, UmbelError
from .facets import require
from .message import RESERVED, check_name, decode_body, new_id
from .result import AsyncResult
from .schedule import When, every
from .signature import Signature
from .task import Task
from .ticks import Entry, Origin, Planned, Ticks
from .timetable import Definition, definition_of

if TYPE_CHECKING:
    from .producer import Producer

OPTIONS = ("expires", "headers", "priority", "queue", "track")
"""What of a signature's options a schedule's calls take; times of their own they have."""
_BEAT = ("task", "schedule", "args", "kwargs", "options", "relative")
"""Keys of an entry of Celery's ``beat_schedule``. ``relative`` says nothing here: intervals never begin anew."""

AnyCall = Signature[Any] | Task[..., Any]


class Schedule:
    """A stored schedule as it stood when it was asked for."""

    def __init__(self, entry: Entry, now: int) -> None:
        self.entry = entry
        self.definition = definition_of(entry.definition)
        self._now = now

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def task(self) -> str:
        """The task's name; empty where a newer release of umbel wrote it."""
        return self.definition.task if self.definition else ""

    @property
    def when(self) -> When | None:
        return self.definition.when if self.definition else None

    @property
    def in_code(self) -> bool:
        """Is it declared in code? Else it was made at run time."""
        return self.entry.origin == Origin.CODE

    @property
    def paused(self) -> bool:
        return self.entry.paused

    def next(self, count: int = 1) -> list[datetime]:
        """The next times, in the schedule's zone: fewer where it ends, none while it is paused. Without jitter."""
        if self.when is None or self.paused:
            return []
        return [to_datetime(tick).astimezone(self.when.zone) for tick in self.when.ticks(max(self.entry.done, self._now), count)]

    @property
    def last(self) -> datetime | None:
        """When it last fired."""
        return to_datetime(self.entry.last_fired) if self.entry.last_fired else None

    def __repr__(self) -> str:
        return f"<Schedule {self.name}: {self.when.text() if self.when else '?'}{', paused' if self.paused else ''}>"


class Schedules:
    """``app.schedules``. Its verbs raise what any call to the broker raises, and ``NotSupported`` where it keeps no schedules."""

    def __init__(self, app: Any) -> None:
        """``app``: the app, as data about tasks, settings and a producer."""
        self._app = app
        self._declared: dict[str, tuple[AnyCall, When]] = {}
        self._warned: set[str] = set()

    # -- in code

    def declare(self, name: str, call: AnyCall, when: When) -> None:
        """See ``Umbel.schedule``."""
        _check(name, call, when)
        before = self._declared.get(name)
        if before is not None and (_plain(before[0]), before[1]) != (_plain(call), when):
            raise ConfigError(f"two schedules are called {name!r}: {before[1].text()} and {when.text()}; give one of them another name")
        self._declared[name] = (call, when)

    def declared(self) -> list[Planned]:
        """All that code declares, as it is to be stored, by name: by ``schedule=`` of tasks, by ``app.schedule`` and by ``beat_schedule``.
        Imports what is to be discovered. ``ConfigError`` names the schedule that cannot be."""
        found: dict[str, tuple[AnyCall, When]] = {}
        for task in dict.fromkeys(self._app.tasks.values()):
            if task.options.schedule is not None:
                found[task.name] = (task, task.options.schedule)
        for name, entry in self._app.conf.beat_schedule.items():
            _take(found, check_name("schedule", name), *self._of_beat(name, entry))
        for name, (call, when) in self._declared.items():
            _take(found, name, call, when)
        return [self._checked(name, *found[name]) for name in sorted(found)]

    def stamp(self, planned: Sequence[Planned]) -> str:
        """What names this set of declarations: the release, and a digest of all of them."""
        from hashlib import sha256  # a process that only sends need not load it

        digest = sha256(msgspec.json.encode(planned)).hexdigest()[:16]
        return f"{self._app.settings.release or ''}:{digest}"

    def _checked(self, name: str, call: AnyCall, when: When) -> Planned:
        try:
            return self.definition(call, when).planned(name)
        except (UmbelError, TypeError) as exc:
            raise ConfigError(f"schedule {name!r}: {exc}") from exc

    def _of_beat(self, name: str, entry: object) -> tuple[AnyCall, When]:
        who = f"beat_schedule[{name!r}]"
        if not isinstance(entry, Mapping) or not {"task", "schedule"} <= set(entry):
            raise ConfigError(f"{who}: it must be a dict with 'task' and 'schedule'")
        unknown = [key for key in entry if key not in _BEAT]
        if unknown:
            raise ConfigError(f"{who}: {unknown_name('key', str(unknown[0]), list(_BEAT))}")
        when = entry["schedule"]
        if isinstance(when, int | float | timedelta):
            when = every(when)
        call: Signature[Any] = Signature(
            self._app.callee(entry["task"]), entry.get("args") or (), entry.get("kwargs"), entry.get("options")
        )
        _check(name, call, when)
        if self._app.resolve(call.task) is None and name not in self._warned:
            import logging

            self._warned.add(name)
            words = "%s: this app knows no task %r; its calls wait for a worker that does"
            logging.getLogger("umbel").warning(words, who, call.task)
        return call, when

    def definition(self, call: AnyCall, when: When) -> Definition:
        """The definition of a schedule. The call's arguments are checked as of any call; middleware does not see it."""
        producer: Producer = self._app.producer
        settings = producer.settings
        task, args, kwargs, options = _parts(call)
        refused = [option for option in options if option not in OPTIONS]
        if refused:
            raise ConfigError(f"{task.name}: {refused[0]} is not for the calls of a schedule; they take {', '.join(OPTIONS)}")
        plan = msgspec.structs.replace(task.plan(producer), release="")  # of a plain queue, which workers of all releases serve
        said = {name: value for name, value in options.items() if name != "expires"}
        made = call_of(plan, 0, **said)
        envelope = producer.bare_envelope(plan, *proper(plan.signature.name, args, kwargs), made, new_id(0))
        body = decode_body(envelope.body)
        return Definition(
            when=when.in_zone(settings.timezone),
            task=plan.task,
            args=bytes(body.a).decode(),
            kwargs=bytes(body.k).decode(),
            headers={key: value for key, value in (body.h or {}).items() if not key.startswith(RESERVED)},
            queue=envelope.queue,
            priority=envelope.priority,
            expires=plan.expires if options.get("expires") is None else _expires(task.name, options["expires"]),
            crash_limit=envelope.crash_limit,
            loss_limit=envelope.loss_limit,
            flags=envelope.flags,
            extras=envelope.extras or {},
            release=settings.release or "",
        )

    # -- while it runs

    def list(self) -> list[Schedule]:
        """All that the broker keeps, by name."""
        table = self._store().timetable()
        return [Schedule(entry, table.now) for entry in table.entries]

    def get(self, name: str) -> Schedule | None:
        """One of them; None if there is none of that name."""
        return next((one for one in self.list() if one.name == name), None)

    def add(self, name: str, call: AnyCall, when: When, *, replace: bool = False) -> None:
        """Store a schedule now, with its first tick after now. All workers know it within a heartbeat (5 s). It stays until it is removed.

        ``replace``: also over one of that name that was made at run time. Raises ``ConfigError`` if the name is taken, ``TypeError`` and
        ``ArgumentError`` for the arguments, as the call itself would.
        """
        _check(name, call, when)
        planned = self.definition(call, when).planned(name)
        if self._store().add_schedule(planned, replace=replace):
            return
        there = self.get(name)
        if there is not None and there.in_code:
            raise ConfigError(f"schedule {name!r} is declared in code: change it there, pause it, or choose another name")
        raise ConfigError(f"there is a schedule {name!r} already: say replace=True to change it, or choose another name")

    def remove(self, name: str) -> bool:
        """Delete one that was made at run time; calls that it has made stay. False if there is none of that name. ``ConfigError`` for
        one that code declares: it would come back."""
        there = self.get(name)
        if there is not None and there.in_code:
            raise ConfigError(f"schedule {name!r} is declared in code, and would come back: remove it there, or pause it")
        return self._store().remove_schedule(name)

    def pause(self, name: str) -> bool:
        """No tick is fired until :meth:`resume`, whatever is deployed meanwhile. False if there is none of that name."""
        return self._store().pause_schedule(name, True)

    def resume(self, name: str) -> bool:
        """End a pause; what fell into it is not made up for. False if there is none of that name."""
        return self._store().pause_schedule(name, False)

    def run(self, name: str) -> AsyncResult[Any]:
        """Send its call now, whatever the plan says; the plan goes on as before. ``ConfigError`` if there is none of that name."""
        table = self._store().timetable()
        entry = next((one for one in table.entries if one.name == name), None)
        if entry is None:
            raise ConfigError(f"{unknown_name('schedule', name, [one.name for one in table.entries])}")
        definition = definition_of(entry.definition)
        if definition is None:
            raise ConfigError(f"schedule {name!r} was written by a newer release of umbel: use that one")
        producer: Producer = self._app.producer
        envelope = definition.envelope(name, table.now, table.now)
        producer.enqueue([envelope])
        return AsyncResult(envelope.id, producer, task=definition.task, tracked=bool(envelope.flags & TRACKED))

    def _store(self) -> Ticks:
        producer: Producer = self._app.producer
        return require(producer.broker(), Ticks)


def _take(found: dict[str, tuple[AnyCall, When]], name: str, call: AnyCall, when: When) -> None:
    if name in found:
        raise ConfigError(f"two schedules are called {name!r}: {found[name][1].text()} and {when.text()}; give one of them another name")
    found[name] = (call, when)


def _check(name: object, call: object, when: object) -> None:
    try:
        check_name("schedule", name)
    except ArgumentError as exc:
        raise ConfigError(str(exc)) from None
    if not isinstance(call, Signature | Task):
        raise ConfigError(f"schedule {name!r}: what it calls must be a task or a signature, such as send_report.s(7), not {call!r}")
    if not isinstance(when, When):
        raise ConfigError(f"schedule {name!r}: when = {when!r}: it must be cron(…), every(…), at(…) or crontab(…)")


def _parts(call: AnyCall) -> tuple[Task[..., Any], tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    if isinstance(call, Task):
        return call, (), {}, {}
    return cast("Task[..., Any]", call.callee), call.args, call.kwargs, call.options


def _plain(call: AnyCall) -> dict[str, Any]:
    return Signature(call).to_dict() if isinstance(call, Task) else call.to_dict()


def _expires(task: str, given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int | float | timedelta) or not 0 < seconds(given) < 1e10:
        raise ConfigError(f"{task}: expires = {given!r}: of a schedule's calls it must be seconds from the firing, or a timedelta")
    return round(seconds(given) * 1000)
