"""For the site's API page: docstrings as they stand in the source, seen as Markdown. Loaded by mkdocs alone."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`~?(?:[\w.]*\.)?(\w+)`")
_LITERAL = re.compile(r"::$", re.MULTILINE)


class Roles(griffe.Extension):
    """References become code, ``::`` before an indented block becomes what Markdown needs: nothing, or one colon."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _markdown(obj.docstring.value)


def _markdown(text: str) -> str:
    text = _ROLE.sub(r"`\1`", text)
    return _LITERAL.sub(lambda found: "" if found.string[max(0, found.start() - 1)] in "\n:" or found.start() == 0 else ":", text)
