"""The tree of errors, drawn, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator

import umbel
from umbel import errors

from .declared import paragraphs
from .table import code, table


def page() -> str:
    """The page."""
    kinds = [kind for kind, _ in _walk(errors.UmbelError)]
    drawing = "\n".join(line + kind.__name__ + _also(kind) for kind, line in _walk(errors.UmbelError))
    elsewhere = [code(kind.__name__) for kind in kinds if kind.__name__ not in umbel.__all__]
    return f"""# Errors

All are in `umbel.errors`; all but {", ".join(elsewhere)}
also in `umbel`. Beside them, a call raises `TypeError` for wrong parameters, as a plain call does.

```text
{drawing}
```

{table(("error", "what happened", "what to do"), [(code(kind.__name__), *_told(kind)) for kind in kinds])}"""


def _walk(kind: type[BaseException], lead: str = "", branch: str = "") -> Iterator[tuple[type[BaseException], str]]:
    """Each class with the branches that stand before its name, in the order of the source."""
    yield kind, lead + branch
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__ and child.__bases__[0] is kind]
    below = lead + {"": "", "├── ": "│   ", "└── ": "    "}[branch]
    for child in children:
        yield from _walk(child, below, "└── " if child is children[-1] else "├── ")


def _also(kind: type[BaseException]) -> str:
    """The base that is not ours: what an ``except`` that knows nothing of umbel catches it by."""
    foreign = [base.__name__ for base in kind.__bases__[1:]]
    return f"  (also a {foreign[0]})" if foreign else ""


def _told(kind: type[BaseException]) -> tuple[str, str]:
    told = paragraphs(kind.__doc__)
    remedies = [part.removeprefix("Do: ") for part in told if part.startswith("Do: ")]
    if len(remedies) != 1 or not told[-1].startswith("Do: "):
        raise ValueError(f"{kind.__name__}: its docstring must end with one paragraph that begins with 'Do:'")
    return " ".join(told[:-1]), remedies[0][0].upper() + remedies[0][1:]
