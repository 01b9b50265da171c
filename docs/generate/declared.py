"""What the source says of a class's attributes: the string below each, which Python itself does not keep."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise


def attribute_words(kind: type) -> dict[str, str]:
    """Attribute name -> its words in one line, for those that have any. Own attributes only, not inherited ones."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found = {}
    for before, node in pairwise(body):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            name = _assigned(before)
            if name:
                found[name] = one_line(node.value.value)
    return found


def attribute_types(kind: type) -> dict[str, str]:
    """Attribute name -> its annotation as it is written, in the order of the class. Own attributes only."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _assigned(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def paragraphs(text: str | None) -> list[str]:
    """A docstring's paragraphs, each in one line, in Markdown."""
    return [one_line(part) for part in inspect.cleandoc(text or "").split("\n\n") if part.strip()]


def one_line(text: str) -> str:
    """Without line ends, and with single quotes around code, as Markdown has it."""
    return " ".join(text.replace("``", "`").split())
