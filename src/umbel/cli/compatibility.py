"""Two prints of an app's tasks: what becomes of the calls that the older release made, and of those that its workers meet.

A call of the older release meets the newer workers for as long as one waits: in a queue, for its time, for a retry. A call of
the newer release meets older workers only during the deploy, where it is parked until a newer one takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .declarations import NAMED_REST, POSITIONAL, REST, Declared, Parameter, TaskPrint

BREAKS, PARKS, SAFE = "breaks", "parks", "safe"
"""Calls that wait now may fail or run wrongly · newer calls wait for a newer worker during the deploy · worth knowing."""


class Change(NamedTuple):
    """One difference. ``remedy`` is empty where nothing has to be done."""

    effect: str
    task: str
    what: str
    remedy: str = ""


def compare(old: Declared, new: Declared) -> list[Change]:
    """Every difference, task by task in the order of names."""
    known = {**{alias: name for name, task in new.tasks.items() for alias in task.aliases}, **{name: name for name in new.tasks}}
    found: list[Change] = []
    for name in sorted({*old.tasks, *new.tasks}):
        if name not in old.tasks:
            found += _added(name, new.tasks[name], old)
        elif name not in known:
            found.append(_removed(name, old.tasks[name]))
        else:
            found += _renamed(name, known[name])
            found += _lost_aliases(name, old.tasks[name], known)
            found += _changed(name, old.tasks[name], new.tasks[known[name]])
    return found + list(_lost_queues(old, new))


# -- tasks


def _added(name: str, task: TaskPrint, old: Declared) -> Iterator[Change]:
    if not set(task.aliases) & old.tasks.keys():
        yield Change(PARKS, name, "new task: workers of the older release park its calls")


def _removed(name: str, task: TaskPrint) -> Change:
    remedy = f'give the task that replaces it aliases=("{name}",), or keep it until none of its calls waits any more'
    return Change(BREAKS, name, f"removed: its calls in {task.queue!r} are parked for deploy_grace, then dead letters", remedy)


def _renamed(name: str, now: str) -> Iterator[Change]:
    if name != now:
        yield Change(PARKS, name, f"is now {now!r}: it takes calls of the old name; workers of the older release park calls of the new one")


def _lost_aliases(name: str, task: TaskPrint, known: Mapping[str, str]) -> Iterator[Change]:
    for alias in task.aliases:
        if alias not in known:
            yield Change(
                BREAKS, name, f"no longer takes calls of {alias!r}", f'keep aliases=("{alias}",) until none of them waits any more'
            )


def _lost_queues(old: Declared, new: Declared) -> Iterator[Change]:
    serves = {task.queue for task in new.tasks.values()}
    for queue in sorted({task.queue for task in old.tasks.values()} - serves):
        users = ", ".join(sorted(name for name, task in old.tasks.items() if task.queue == queue))
        remedy = f"start a worker with -Q that names {queue!r} until it is empty"
        yield Change(BREAKS, users, f"no task has the queue {queue!r} any more: a worker without -Q does not serve it", remedy)


# -- parameters


def _changed(name: str, old: TaskPrint, new: TaskPrint) -> Iterator[Change]:
    yield from _moved(name, old, new)
    yield from _gone(name, old, new)
    yield from _required(name, old, new)
    after = {one.name: one for one in new.parameters}
    for before in old.parameters:
        if before.name in after and (before.kind in (REST, NAMED_REST)) == (after[before.name].kind in (REST, NAMED_REST)):
            yield from _kept(name, before, after[before.name])
    if old.queue != new.queue:
        yield Change(SAFE, name, f"queue {old.queue!r} is now {new.queue!r}: calls that wait stay where they are")


def _moved(name: str, old: TaskPrint, new: TaskPrint) -> Iterator[Change]:
    """Values without names are given to whoever stands there now: such a call runs, with the wrong arguments."""
    places = [one.name for one in new.parameters if one.is_positional]
    for at, one in enumerate(one for one in old.parameters if one.is_positional):
        if at < len(places) and places[at] != one.name:
            what = f"positional argument {at + 1} was {one.name!r} and is {places[at]!r}: a call by position puts the one into the other"
            yield Change(BREAKS, name, what, "keep the order of parameters, and add new ones behind *")


def _gone(name: str, old: TaskPrint, new: TaskPrint) -> Iterator[Change]:
    kinds = {one.kind for one in new.parameters}
    names = {one.name: one for one in new.parameters}
    for one in old.parameters:
        if one.kind in (REST, NAMED_REST):
            if one.kind not in kinds:
                stars = "*" if one.kind == REST else "**"
                yield _misfit(name, f"{stars}{one.name} removed", new)
        elif one.name not in names:
            if not (one.is_keyword and NAMED_REST in kinds) or (one.is_positional and REST not in kinds):
                yield _misfit(name, f"parameter {one.name!r} removed", new)
        elif one.is_positional and not names[one.name].is_positional:
            yield _misfit(name, f"{one.name!r} can no longer be given by position", new)
        elif one.is_keyword and not names[one.name].is_keyword:
            yield _misfit(name, f"{one.name!r} can no longer be given by name", new)


def _misfit(name: str, what: str, new: TaskPrint) -> Change:
    if new.unknown_kwargs == "drop":
        return Change(SAFE, name, f"{what}: calls that have it run without it (unknown_kwargs='drop')")
    if new.unknown_kwargs == "error":
        return Change(BREAKS, name, f"{what}: calls that have it become dead letters (unknown_kwargs='error')", "say 'drop' or 'park'")
    remedy = "keep it with a default until none of them waits any more, or say unknown_kwargs='drop' if they may run without it"
    return Change(BREAKS, name, f"{what}: calls that have it are parked for deploy_grace, then dead letters", remedy)


def _required(name: str, old: TaskPrint, new: TaskPrint) -> Iterator[Change]:
    before = {one.name: one for one in old.parameters}
    for one in new.parameters:
        was = before.get(one.name)
        if one.required and (was is None or not was.required):
            how = "new parameter {!r} has no default" if was is None else "parameter {!r} has no default any more"
            what = f"{how.format(one.name)}: calls without it are parked for deploy_grace, then dead letters"
            yield Change(BREAKS, name, what, "give it a default until none of them waits any more")
        elif was is None:
            yield _newly_given(name, one, old)


def _newly_given(name: str, one: Parameter, old: TaskPrint) -> Change:
    what = f"new parameter {one.text()!r}"
    if any(before.kind == (REST if one.kind == POSITIONAL else NAMED_REST) for before in old.parameters):
        return Change(SAFE, name, f"{what}: functions of the older release take it as they take anything")
    if old.unknown_kwargs == "drop":
        return Change(SAFE, name, f"{what}: workers of the older release run calls that have it without it (unknown_kwargs='drop')")
    if old.unknown_kwargs == "error":
        words = f"{what}: calls that have it become dead letters on workers of the older release (unknown_kwargs='error')"
        return Change(BREAKS, name, words, "deploy all workers before any caller")
    return Change(PARKS, name, f"{what}: workers of the older release park calls that have it")


def _kept(name: str, old: Parameter, new: Parameter) -> Iterator[Change]:
    if old.required and not new.required and old.kind not in (REST, NAMED_REST):
        yield Change(PARKS, name, f"parameter {old.name!r} has a default now: workers of the older release park calls without it")
    elif old.default != new.default and not new.required:
        yield Change(SAFE, name, f"the default of {old.name!r} was {old.default} and is {new.default}: calls that wait get the new one")
    if _takes(old, new):
        if (old.type, old.wire) != (new.type, new.wire):
            yield Change(SAFE, name, f"{old.name!r} was {old.type or 'any JSON'} and is {new.type or 'any JSON'}: it takes what it took")
        return
    was, now = old.type or "any JSON", new.type or "any JSON"
    change = f"was {was} and is {now}" if was != now else f"is still {now}, whose own fields have changed"
    what = f"{old.name!r} {change}: calls that do not fit become dead letters (bad_arguments)"
    yield Change(BREAKS, name, what, "take both until none of them waits any more, or declare a new task")


def _takes(old: Parameter, new: Parameter) -> bool:
    """Does the newer type take all that the older one let through? Where that cannot be said, no."""
    if new.wire is None:
        return new.type in ("", "Any", "object") or (old.type, old.wire) == (new.type, new.wire)
    if old.wire is None:
        return False
    before, after = _alternatives(old.wire), _alternatives(new.wire)
    return all(one in after or (_is_integer(one) and {"type": "number"} in after) for one in before)


def _alternatives(schema: Any) -> list[Any]:
    """What a schema lets through, one by one, each with the definitions that it refers to."""
    parts = schema.get("anyOf", [schema]) if isinstance(schema, dict) else [schema]
    named = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    return [{**{key: value for key, value in one.items() if key != "$defs"}, **_referred(one, named)} for one in parts]


def _referred(one: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    used = {name: body for name, body in named.items() if f"#/$defs/{name}" in str(one)}
    return {"$defs": used} if used else {}


def _is_integer(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "integer"
