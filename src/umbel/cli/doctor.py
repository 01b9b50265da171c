"""``umbel doctor``: what is wrong with the installation, the app, its settings, the store, or will be. The broker looks at its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..broker import Broker
from ..checkup import Examined, Finding, Grade
from ..errors import AppNotFound, BrokerUnreachable, ConfigError, ReplyLost, StoreUnusable, UmbelError
from ..facets import Inspects, Place
from ..loading import find_app
from .exits import CLEAN, NO, Unanswered
from .installation import installation
from .page import Page
from .roster import Roster
from .summary import task_of
from .suspects import queue_findings, settings_findings, task_findings
from .target import Target, target_options, where
from .terminal import counted, say, say_json, shown

if TYPE_CHECKING:
    from ..app import Umbel

_LOOKED_AT = 1_000
"""Waiting messages whose tasks are compared with the app's, at each of two places: enough to see a pattern."""
_COLOURS = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "red"}


@click.command(
    cls=Page,
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel doctor
        umbel -A proj.tasks:app doctor
        umbel doctor --json | jq '.findings[] | select(.grade != "ok")'
    """,
)
@target_options
@click.pass_obj
def doctor(target: Target, /) -> int:
    """Look at the installation, the app, its settings and the store: what loses, delays or refuses tasks, now or soon?

    Each finding is ok, warn (it works, and somebody should know) or fail, with what follows from it and what to do. Nothing is
    changed. Ends with 0, with 1 if something is to be mended, with 69 if the store does not answer.
    """
    named = target.app is not None
    app, unread = _app(target, named)
    findings = [*installation(target.settings()), unread or _imported(target, app), *settings_findings(target.settings())]
    if app is not None:
        findings += task_findings(app)
    of_store, silence = _store(target, app)
    findings += of_store
    if target.as_json:
        say_json({"app": target.settings().name, "broker": where(target.settings()), "findings": findings})
    else:
        _draw(target, findings)
    if silence is not None:
        raise silence
    return NO if any(one.grade is Grade.FAIL for one in findings) else CLEAN


def _app(target: Target, named: bool) -> tuple[Umbel | None, Finding | None]:
    """The app; or what is to be said of one that is not there, or cannot be read. One that was named must be read."""
    try:
        target.app = target.app or find_app()
        return target.load(discover=True), None
    except AppNotFound as exc:
        if named:
            raise
        if target.app is None:
            return None, Finding("app", Grade.OK, "not looked at: no app here (-A names one)")
        said = str(exc).splitlines()[0]
        target.app = None  # the settings from outside of it are looked at all the same
        return None, Finding(
            "app", Grade.FAIL, f"the app cannot be read: {said}", "workers here do not start", "umbel worker tells it whole"
        )


def _imported(target: Target, app: Umbel | None) -> Finding:
    if app is None or not app.tasks:
        means = "a worker would have nothing to run"
        return Finding(
            "app", Grade.WARN, f"{target.app} declares no tasks", means, "include= or autodiscover_tasks() imports their modules"
        )
    return Finding("app", Grade.OK, f"{target.app} imports, with {counted(len(app.tasks), 'task')}")


def _store(target: Target, app: Umbel | None) -> tuple[list[Finding], UmbelError | None]:
    """What the store finds of itself, and what it has to do with the app; and the error, if it does not answer."""
    try:
        with target.opened() as broker:
            found = _checkup(broker)
            if app is not None:
                found += [*queue_findings(app, Roster.of(broker, broker.ping())), *_tasks(app, broker)]
            return found, None
    except (BrokerUnreachable, Unanswered) as exc:
        return [Finding("store", Grade.FAIL, str(exc), "nothing is stored, and nothing runs")], exc
    except (StoreUnusable, ConfigError) as exc:
        return [Finding("store", Grade.FAIL, str(exc), "nothing runs until this is mended")], None


def _checkup(broker: Broker) -> list[Finding]:
    if not isinstance(broker, Examined):
        return [Finding("store", Grade.OK, f"the {broker.capabilities.name} broker has nothing to look at")]
    try:
        return broker.checkup()
    except ReplyLost as exc:  # nothing was asked that changes anything
        raise BrokerUnreachable(str(exc)) from exc


def _tasks(app: Umbel, broker: Broker) -> list[Finding]:
    """Do messages wait that the app has no task for?"""
    if not isinstance(broker, Inspects):
        return [Finding("tasks", Grade.OK, f"not looked at: the {broker.capabilities.name} broker of this version shows no messages")]
    waiting = [one for place in (Place.READY, Place.SCHEDULED) for one in broker.browse(None, place, _LOOKED_AT).messages]
    called: dict[str, int] = {}
    known = {name for task in app.tasks.values() for name in (task.name, *task.options.aliases)}
    for one in waiting:
        name = task_of(one.envelope)
        if name not in known:
            called[name] = called.get(name, 0) + 1
    return [_unknown(called, len(waiting))]


def _unknown(called: dict[str, int], looked_at: int) -> Finding:
    if not called:
        return Finding("tasks", Grade.OK, f"all of {counted(looked_at, 'waiting message')} that were looked at are for tasks of this app")
    most = sorted(called.items(), key=lambda pair: -pair[1])[:5]
    found = f"{counted(sum(called.values()), 'message')} for tasks that this app does not have: "
    means = "they are parked until a worker that knows them comes, for deploy_grace, and then are dead letters"
    remedy = "deploy the release that has them, or give the task its old name: @app.task(aliases=[…])"
    return Finding("tasks", Grade.WARN, found + ", ".join(f"{name} ({count:,})" for name, count in most), means, remedy)


def _draw(target: Target, findings: list[Finding]) -> None:
    say(f"{shown(target.settings().name)} on {shown(where(target.settings()))}")
    say()
    width = max(len(one.check) for one in findings)
    for one in findings:
        word = click.style(one.grade.value.ljust(4), fg=_COLOURS[one.grade])
        say(f"{word}  {shown(one.check).ljust(width)}  {shown(one.found)}")
        if one.grade is not Grade.OK:
            for lead, text in (("", one.means), ("do: ", one.remedy)):
                if text:
                    say(f"      {' ' * width}  {lead}{shown(text)}")
    say()
    say(_sum(findings))


def _sum(findings: list[Finding]) -> str:
    counts: dict[Any, int] = {grade: sum(one.grade is grade for one in findings) for grade in Grade}
    if counts[Grade.FAIL]:
        return f"{counted(counts[Grade.FAIL], 'thing')} to mend" + (f", {counts[Grade.WARN]} to know" if counts[Grade.WARN] else "")
    return f"nothing to mend, {counts[Grade.WARN]} to know" if counts[Grade.WARN] else "all is well"
