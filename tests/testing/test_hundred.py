"""The suite of a user who has read the testing guide, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.testing import hundred

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_a_hundred_tests_pass(tmp_path: Path) -> None:
    assert hundred.write(tmp_path / "project").passes() == {"passed": 100}


def test_they_use_only_what_the_guide_shows() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    tests = ast.parse(hundred.HEAD + "".join(kind.replace("{n}", "1") for kind in hundred.KINDS))
    used = {node.attr for node in ast.walk(tests) if isinstance(node, ast.Attribute)}
    used |= {argument.arg for node in ast.walk(tests) if isinstance(node, ast.FunctionDef) for argument in node.args.args}
    used |= {alias.name for node in ast.walk(tests) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert [name for name in sorted(used) if not re.search(rf"\b{name}\b", guide)] == []
