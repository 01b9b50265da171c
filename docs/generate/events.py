"""Every event and what it carries."""

from __future__ import annotations

from umbel import events
from umbel.worker.dispatch import OF_SUPERVISORS

from .declared import attribute_types, paragraphs
from .table import code, table


def page() -> str:
    """The page."""
    rows = [
        (code(kind.__name__), _where(kind), _fields(kind), " ".join(paragraphs(kind.__doc__))) for kind in events.Event.__subclasses__()
    ]
    return f"""# Events

They tell, and change nothing; how to listen is told in [Middleware and events](../events.md). All are in `umbel.events`; spans are seconds.
A field with `?` may be `None`.

{table(("event", "told in", "fields", "what happened"), rows)}
"Told in" is the process whose subscribers are called. The **caller** is whoever sends, a task that sends included. A **child** tells
what happens to the tasks that it runs. The **herald** is a process of its own that a worker has for what happens in its supervisor,
which runs none of your code; it exists if your modules subscribe to one of these events (or to `Event`, which is all of them) when
they are imported.
"""


def _where(kind: type[events.Event]) -> str:
    if kind is events.TaskEnqueued:
        return "caller"
    of_children = kind.__name__.startswith("Task") or kind in (events.Reconnected, events.Buried)
    places = (["child"] if of_children else []) + (["herald"] if kind in OF_SUPERVISORS else [])
    return ", ".join(places) or "nowhere yet"


def _fields(kind: type[events.Event]) -> str:
    shown = []
    for name, declared in attribute_types(kind).items():
        shown.append(code(name) + ("?" if "None" in declared else ""))
    return " ".join(shown)
