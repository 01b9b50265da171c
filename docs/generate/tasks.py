"""Every option of a task, of a retry policy, and of a call."""

from __future__ import annotations

from typing import Any

import msgspec

from umbel import traffic
from umbel.call import BulkKeywords, CallKeywords
from umbel.options import CELERY_MEANS, LATER, TaskOptions, accepted
from umbel.policy import Retry
from umbel.traffic import Traffic

from .declared import attribute_words
from .table import code, codes, span, table

ELSEWHERE = (
    ("`name`", "`module.function`", "a name", "What the task is called on the wire, and in every command."),
    ("`base`", "`umbel.Task`", "a subclass of `Task`", "The task's class, for hooks and for values that all its runs share."),
)
"""What ``app.task`` itself takes, and its default."""


def page() -> str:
    """The page."""
    return f"""# Options of tasks and calls

What to do with them is told in [Tasks](../tasks.md). An unknown option is refused where it stands, with "did you mean".

## `@app.task(...)`, `@shared_task(...)`

Durations are seconds or a `timedelta`. `None` for a limit means no limit, and has to be said.

{table(("option", "default", "accepts", "what"), [*ELSEWHERE, *_task_rows()])}
On a subclass of `Task` they may stand as class attributes, and hold for all tasks with that `base`.

### Names of Celery's

{table(("option", "means"), [(code(name), means) for name, means in CELERY_MEANS.items()])}
`retry=` and Celery's names for a policy are not mixed.

### Known, and not in this version

{codes(sorted(LATER))}: refused with words that say so, as options of a task and of a call.

## `Retry(...)`

{table(("argument", "default", "what"), _retry_rows())}
## `apply_async(args, kwargs, ...)`, `aapply_async`, `send_task`, `Signature.set`

{table(("option", "accepts", "what"), _call_rows())}
`delay_many(calls, batch_size=1000, ...)` takes them too, but for `task_id`; they hold for each of its calls.
"""


def _task_rows() -> list[tuple[str, str, str, str]]:
    words = attribute_words(TaskOptions)
    rows = []
    # msgspec's own list would resolve the annotations, and one of them is for type checkers only
    for name, value in zip(TaskOptions.__struct_fields__, TaskOptions.__struct_defaults__, strict=True):
        if name in CELERY_MEANS or name == "traffic":
            continue
        said, mark, default = words[name].rpartition(" Default: ")
        rows.append((code(name), default.rstrip(".") if mark else _shown(value), accepted(name), said if mark else default))
    words = attribute_words(Traffic)
    for field in msgspec.structs.fields(Traffic):
        said, mark, default = words[field.name].rpartition(" Default: ")
        shown = default.rstrip(".") if mark else _shown(field.default)
        rows.append((code(field.name), shown, traffic.accepted(field.name), said if mark else default))
    return rows


def _retry_rows() -> list[tuple[str, str, str]]:
    words = attribute_words(Retry)
    return [(code(field.name), _shown(field.default), words[field.name]) for field in msgspec.structs.fields(Retry)]


def _call_rows() -> list[tuple[str, str, str]]:
    words = {**attribute_words(BulkKeywords), **attribute_words(CallKeywords)}
    kinds = {
        "countdown": "seconds or a `timedelta`",
        "eta": "a `datetime`",
        "expires": "seconds, a `timedelta` or a `datetime`",
        "queue": "a name",
        "priority": "0 to 9",
        "headers": "a dict",
        "track": "`True` or `False`",
        "task_id": "text",
    }
    return [(code(name), kinds[name], words[name]) for name in CallKeywords.__annotations__]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return code(str(value))
    if isinstance(value, float):
        return span(value)
    if isinstance(value, tuple):
        return "none" if not value else codes(kind.__name__ for kind in value)
    return code(f'"{value}"') if isinstance(value, str) else str(value)
