"""Every code block of README.md, docs/*.md and examples/*/README.md is run, in the order of the page, in a folder of its own with
an SQLite broker; an example's page in a copy of the example.

A comment on the line before a block (``<!-- test: … -->``) says what is special about it:

====================  =======================================================================================
``name=FILE``         the block is that file; it is written, and not run
``needs-worker``      a worker runs meanwhile, and must end cleanly afterwards (``needs-worker=APP``: of that app)
``until-ready``       the block starts a worker: it is ended by TERM once it is ready
``exit=N``            the block must end with N
``output``            of a ``text`` block: each of its lines stands in what the block before it printed
``not run, because``  a reason follows
====================  =======================================================================================
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
FENCE = re.compile(r"(?:^<!-- test: (?P<directive>.*?) -->\n\n?)?^```(?P<language>[\w+-]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "not run, because "
WORDS = {"needs-worker", "until-ready", "output", "name", "exit"}
PARSED: dict[str, Callable[[str], object]] = {
    "toml": tomllib.loads,
    "json": json.loads,
    "ini": lambda text: configparser.ConfigParser(strict=False).read_string(text),
}
SHOWN = {"text", "markdown"}
LIMIT = 180.0


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    directive: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def words(self) -> dict[str, str]:
        """What the comment says, by word; empty for a block that is not run."""
        if self.directive.startswith("not run"):
            return {}
        pairs = [word.strip().partition("=") for word in self.directive.split(",") if word.strip()]
        return {name: value for name, _, value in pairs}

    @property
    def runs(self) -> bool:
        return self.language in ("python", "sh") and "name" not in self.words and not self.directive.startswith("not run")


def blocks(page: str, text: str) -> list[Block]:
    """All fenced blocks of a page."""
    return [
        Block(page, text[: found.start("text")].count("\n") + 1, found["language"], found["text"], (found["directive"] or "").strip())
        for found in FENCE.finditer(text)
    ]


def faults(block: Block) -> Iterator[str]:
    """What is wrong with how a block is marked."""
    if block.directive.startswith("not run"):
        reason = block.directive.removeprefix(NOT_RUN) if block.directive.startswith(NOT_RUN) else ""
        if len(reason.split()) < 3:
            yield f"{block.place}: 'not run' needs ', because' and a reason"
    elif strange := block.words.keys() - WORDS:
        yield f"{block.place}: nobody knows what {min(strange)!r} means"
    if block.language not in {"python", "sh", *PARSED, *SHOWN}:
        yield f"{block.place}: a block in {block.language or 'no language'!r} can be neither run nor parsed"


class Reader:
    """Does what a reader would do with a page, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scripts = sysconfig.get_path("scripts")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("UMBEL_", "COV_"))}
        self.environment = kept | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
        self.printed = ""

    def take(self, block: Block) -> None:
        """Save, run, parse or compare one block."""
        words = block.words
        if "name" in words:
            file = self.folder / words["name"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        if block.language in PARSED:
            PARSED[block.language](block.text)
        elif "output" in words:
            self.compare(block)
        elif block.runs and "until-ready" in words:
            with self.worker(["bash", "-euo", "pipefail", "-c", f"exec {block.text.strip()}"], block):
                pass
        elif block.runs and "needs-worker" in words:
            app = ["-A", words["needs-worker"]] if words["needs-worker"] else []
            with self.worker([sys.executable, "-m", "umbel", *app, "worker", "-c", "2"], block):
                self.run(block)
        elif block.runs:
            self.run(block)

    def run(self, block: Block) -> None:
        if block.language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", block.text]
        else:
            command = [sys.executable, "-c", block.text]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        self.printed = done.stdout
        assert done.returncode == int(block.words.get("exit", "0")), f"{block.place} ended with {done.returncode}:\n{done.stdout}"

    def compare(self, block: Block) -> None:
        missing = [line for line in block.text.splitlines() if line.strip() and line.strip() not in self.printed]
        assert not missing, f"{block.place}: {missing[0]!r} is not in what was printed:\n{self.printed}"

    @contextmanager
    def worker(self, command: list[str], block: Block) -> Iterator[None]:
        """A worker from its readiness until TERM, after which it must end with 0."""
        log = self.folder / "worker.log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            wait_for(lambda: process.poll() is not None or "ready" in log.read_text(errors="replace"), timeout=LIMIT)
            assert process.poll() is None, f"{block.place}: the worker ended with {process.returncode}:\n{log.read_text()}"
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0, f"{block.place}: the worker ended with {process.returncode}:\n{log.read_text()}"
        except BaseException:
            print(f"the worker's log at {block.place}:\n{log.read_text(errors='replace')}")
            raise
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_page(page: Path, tmp_path: Path) -> None:
    found = blocks(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))
    assert [fault for block in found for fault in faults(block)] == []
    assert found, "a page without any code: this test would see nothing"
    if page.parent.parent.name == "examples":
        shutil.copytree(page.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db*", "__pycache__"))
    reader = Reader(tmp_path)
    for block in found:
        reader.take(block)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_block_is_missed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(blocks(page.name, text)) * 2 == len(re.findall(r"^\s*```", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    ("directive", "language"),
    [("not run", "sh"), ("not run, because no", "sh"), ("needs-wroker", "python"), ("", "ruby"), ("", "")],
)
def test_a_badly_marked_block_is_seen(directive: str, language: str) -> None:
    comment = f"<!-- test: {directive} -->\n" if directive else ""
    (block,) = blocks("page.md", f"Text\n\n{comment}```{language}\nx\n```\n")
    assert list(faults(block))


def test_a_failing_block_is_seen(tmp_path: Path) -> None:
    (python, shell) = blocks("page.md", "```python\nraise SystemExit(3)\n```\n\n<!-- test: exit=1 -->\n```sh\nfalse\n```\n")
    with pytest.raises(AssertionError, match=r"page.md:2 ended with 3"):
        Reader(tmp_path).take(python)
    Reader(tmp_path).take(shell)


def test_output_that_was_not_printed_is_seen(tmp_path: Path) -> None:
    (python, right, wrong) = blocks(
        "page.md",
        "```python\nprint('a')\n```\n\n<!-- test: output -->\n```text\na\n```\n\n<!-- test: output -->\n```text\nb\n```\n",
    )
    reader = Reader(tmp_path)
    reader.take(python)
    reader.take(right)
    with pytest.raises(AssertionError, match=r"page.md:12: 'b' is not in what was printed"):
        reader.take(wrong)
