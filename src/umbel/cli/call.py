"""``umbel call``: send one call from the shell."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..errors import AppNotFound, ConfigError
from .completing import queue_names, task_names
from .page import Page
from .target import Target, target_options
from .terminal import note, say, say_json, shown

if TYPE_CHECKING:
    from ..app import Umbel


@click.command(
    cls=Page,
    exits=(0, 1, 2, 3, 69),
    examples="""
        umbel call proj.tasks.add '[1, 2]'
        umbel call send_email '[7]' -k '{"urgent": true}' --countdown 60
        umbel call tasks.add '[1, 2]' --wait 10      # prints the result of a task with track=True
        umbel call tasks.report --task-id report-2026-11 --queue slow
    """,
)
@target_options
@click.argument("task", shell_complete=task_names)
@click.argument("positional", metavar="[JSON ARRAY]", required=False)
@click.option("-a", "--args", metavar="JSON", help="Positional arguments, as Celery's users write it: '[1, 2]'.")
@click.option("-k", "--kwargs", metavar="JSON", help="Named arguments: '{\"urgent\": true}'.")
@click.option("--queue", metavar="NAME", shell_complete=queue_names, help="Another queue than the task's.")
@click.option("--priority", type=click.IntRange(0, 9), metavar="0-9", help="Larger is sooner.")
@click.option("--countdown", type=click.FloatRange(0), metavar="SECONDS", help="Not before so many seconds from now.")
@click.option("--eta", metavar="TIME", help="Not before this time: 2026-11-23T09:30:00+01:00.")
@click.option("--expires", type=click.FloatRange(0), metavar="SECONDS", help="Not later than so many seconds from now.")
@click.option("--task-id", metavar="ID", help="The call's id; a second call with it is a duplicate.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait for the result, so long at most (track=True tasks).")
@click.option("--force", is_flag=True, help="Send it though the app knows no such task.")
@click.pass_obj
def call(target: Target, /, task: str, positional: str | None, wait: float | None, force: bool, **given: Any) -> None:
    """Send one call of TASK and print its id.

    Positional arguments are a JSON array, named ones a JSON object behind -k. The app is imported, and checks them as it
    would in code. A call that may or may not be stored, since the reply was lost, ends with 69.
    """
    args, kwargs, options = _arguments(positional, given)
    app = _app(target)
    if app.resolve(task) is None and not force:
        raise ConfigError(_unknown(app, task))
    target.tell_default(app.conf)
    try:
        result = app.send_task(task, args, kwargs, **options)
    except TypeError as exc:  # wrong parameters, as for a plain call; ArgumentError is one too
        raise ConfigError(str(exc)) from exc
    duplicate = getattr(result, "duplicate_of", None)
    answer: dict[str, Any] = {"id": result.id, "task": task, "duplicate_of": duplicate}
    if wait is not None:
        if not target.as_json:
            note(f"sent {result.id}; waiting")
        answer["result"] = result.get(timeout=wait)
    if target.as_json:
        say_json(answer)
        return
    if duplicate:
        note(f"not sent again: it is a duplicate of {duplicate}")
    say(shown(msgspec.json.encode(answer["result"]).decode()) if wait is not None else result.id)


def called(target: Target, task: str, positional: str | None, named: str | None) -> tuple[Umbel, list[Any], dict[str, Any]]:
    """The app, which knows ``task``, and the arguments that were typed. ``ConfigError``."""
    args, kwargs, _ = _arguments(positional, {"args": None, "kwargs": named})
    app = _app(target)
    if app.resolve(task) is None:
        raise ConfigError(_unknown(app, task).replace(" (--force sends it all the same)", ""))
    return app, args, kwargs


def _app(target: Target) -> Umbel:
    """The user's app; with ``--broker`` and no app anywhere, one that only sends."""
    try:
        return target.load(discover=True)
    except ConfigError as exc:
        if not isinstance(exc.__cause__, AppNotFound) or not target.broker:
            raise
    from ..app import Umbel

    app = Umbel(target.app_name or "umbel")
    app.conf.override(**target.command_line())
    return app


def _arguments(positional: str | None, given: dict[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    text, named = given.pop("args"), given.pop("kwargs")
    if positional is not None and text is not None:
        raise ConfigError("positional arguments were given twice: behind the task's name, and with -a")
    args = _json("the positional arguments", positional or text or "[]", list, "[1, 2]")
    kwargs = _json("-k", named or "{}", dict, '{"urgent": true}')
    options = {key: value for key, value in given.items() if value is not None}
    if "eta" in options:
        try:
            options["eta"] = datetime.fromisoformat(options["eta"])
        except ValueError:
            raise ConfigError(f"--eta {options['eta']!r} is no time; write it as 2026-11-23T09:30:00+01:00") from None
    return args, kwargs, options


def _json(what: str, text: str, kind: type, example: str) -> Any:
    """Arguments as they were typed; they are not repeated in an error, which may be kept in somebody's log."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise ConfigError(f"{what}: this is not JSON ({exc}); write it as '{example}'") from None
    if not isinstance(value, kind):
        raise ConfigError(f"{what}: this is a JSON {type(value).__name__}; write it as '{example}'")
    return value


def _unknown(app: Umbel, task: str) -> str:
    names = sorted(app.tasks)
    last = {name.rpartition(".")[2]: name for name in names}
    near = last.get(task) or next(iter(get_close_matches(task, names, n=1)), None)
    if near:
        return f"the app knows no task {task!r}; did you mean {near!r}? (--force sends it all the same)"
    known = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"the app knows no task {task!r}; it knows {known or 'none at all'} (--force sends it all the same)"
