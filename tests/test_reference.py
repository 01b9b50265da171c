"""The reference pages say what the code says, every word for a reason is explained, and each page has its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel
from docs.generate.declared import attribute_types, attribute_words, paragraphs
from docs.generate.pages import FOLDER, MARK, PAGES, differences, write
from docs.generate.table import size, span, table
from umbel import errors
from umbel.outcome import DEAD_REASONS, DROPPED_REASONS, RELEASED_REASONS
from umbel.settings import ACCEPTS, SettingKeywords, Settings

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "umbel"
REASONS = {"Dead": DEAD_REASONS, "Dropped": DROPPED_REASONS, "Released": RELEASED_REASONS}


def test_pages_are_what_the_code_says() -> None:
    assert differences(FOLDER) == ([], []), "stale, or left over: make reference"


def test_stale_and_left_over_pages_are_seen(tmp_path: Path) -> None:
    write(tmp_path, PAGES, ())
    (tmp_path / "errors.md").write_text(MARK)
    (tmp_path / "gone.md").write_text(MARK)
    (tmp_path / "written-by-hand.md").write_text("# By hand")
    (tmp_path / "tasks.md").unlink()
    assert differences(tmp_path) == (["tasks.md", "errors.md"], ["gone.md"])
    write(tmp_path, ["tasks.md", "errors.md"], ["gone.md"])
    assert differences(tmp_path) == ([], [])


def outcomes(text: str) -> Iterator[tuple[str, str]]:
    """(class, reason) of each outcome that is made with a word written there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REASONS:
            words = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "reason")]
            for word in (inner for outer in words for inner in ast.walk(outer)):
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    yield node.func.id, word.value


def test_every_reason_is_explained() -> None:
    found = {
        pair for part in ("worker", "brokers", "policy.py") for file in files(part, "py") for pair in outcomes(file.read_text("utf-8"))
    }
    assert ("Released", "shutdown") in found
    assert ("Dropped", "cancelled") in found
    assert sorted((kind, word) for kind, word in found if word not in REASONS[kind]) == []


def test_every_reason_is_used() -> None:
    written = "\n".join(file.read_text("utf-8") for part in ("worker", "brokers", "policy.py") for file in files(part, "py", "lua"))
    known = {word for reasons in REASONS.values() for word in reasons}
    assert sorted(word for word in known if not re.search(rf"['\"]{word}['\"]", written)) == []


def files(part: str, *suffixes: str) -> list[Path]:
    place = SOURCE / part
    return [place] if place.is_file() else [file for suffix in suffixes for file in place.rglob(f"*.{suffix}")]


def test_the_drawn_tree_of_errors_is_the_tree() -> None:
    """The one in the module's docstring, which people read first."""
    drawn = re.findall(r"^[ │├└─]*(\w+)(?: {2,}.*)?$", (errors.__doc__ or "").split("::\n", 1)[1], re.MULTILINE)
    assert drawn == [name for name in vars(errors) if isinstance(vars(errors)[name], type)]


def test_every_setting_has_its_words() -> None:
    assert attribute_words(Settings).keys() == ACCEPTS.keys() == attribute_types(Settings).keys()
    assert SettingKeywords.__annotations__.keys() == ACCEPTS.keys() - {"name", "app"}


def test_the_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)}
    shown |= {name for members in re.findall(r"members: \[(.*)\]", page) for name in members.split(", ")}
    assert sorted(name for name in umbel.__all__ if name not in vars(errors) and name not in shown) == []


def test_words_below_attributes_are_read() -> None:
    assert attribute_words(Settings)["heartbeat"] == "Time between two renewals of a worker's lease."
    assert paragraphs("One\n  line.\n\nAnd ``code``.") == ["One line.", "And `code`."]


@pytest.mark.parametrize(
    ("number", "words"), [(25.0, "25"), (0.5, "0.5"), (86400.0, "86400 (1 day)"), (330.0, "330"), (600.0, "600 (10 minutes)")]
)
def test_spans(number: float, words: str) -> None:
    assert span(number) == words


def test_sizes() -> None:
    assert (size(262_144), size(1000)) == ("262144 (256 KiB)", "1000")


def test_a_bar_in_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand in a table"):
        table(("a",), [("x | y",)])
