"""What the pages name is there: every command with its options, every setting's variable."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from umbel.cli.group import umbel
from umbel.config import ENV_PREFIX
from umbel.settings import ACCEPTS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
NO_SETTINGS = {"UMBEL_TEST_REDIS", "UMBEL_THOROUGH", "UMBEL_DEBUG", "UMBEL_KEY", "UMBEL_NAME_OF_SETTING"}
"""A switch of the command line's own, and stand-ins for any setting."""


def commands(text: str) -> Iterator[str]:
    """Everything that is written as a command: in code inside a line, and as a line of a block."""
    yield from re.findall(r"`(umbel (?!\w+: )[^`]+)`", text)  # with a colon it is what a process calls itself
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line.split("  #")[0] for line in re.findall(r"^umbel .+$", block, re.MULTILINE))


def faults(line: str) -> Iterator[str]:
    """What a command line names that is not there. Arguments are anything."""
    command: click.Command = umbel
    words = iter(shlex.split(re.split(r"[|>;&]", line.replace("…", "X"))[0])[1:])
    for word in words:
        if word.startswith("-"):
            name, _, value = word.partition("=")
            option = option_of(command, name)
            if option is None and name not in ("-h", "--help"):
                yield f"{line!r}: there is no option {name}"
            elif option is not None and not option.is_flag and not value:
                next(words, None)
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(umbel), word)
            if found is not None:
                command = found
            elif word.islower():  # in capitals it stands for one
                yield f"{line!r}: there is no command {word!r}"


def option_of(command: click.Command, name: str) -> click.Option | None:
    """The command's own option, or one that every command has."""
    options = [one for one in (*command.params, *umbel.params) if isinstance(one, click.Option)]
    return next((one for one in options if name in one.opts), None)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_are_there(page: Path) -> None:
    assert [fault for line in commands(page.read_text("utf-8")) for fault in faults(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_variables_are_settings(page: Path) -> None:
    found = set(re.findall(r"\bUMBEL_[A-Z_]*[A-Z]\b", page.read_text("utf-8")))
    assert found - {ENV_PREFIX + key.upper() for key in ACCEPTS} - NO_SETTINGS == set()


def test_enough_commands_are_found() -> None:
    assert sum(1 for page in PAGES for _ in commands(page.read_text("utf-8"))) > 100


@pytest.mark.parametrize(
    "line",
    ["umbel wroker", "umbel worker --concurency 4", "umbel dead rm X", "umbel queues list --running", "umbel -Z status"],
)
def test_what_is_not_there_is_seen(line: str) -> None:
    assert list(faults(line))


@pytest.mark.parametrize(
    "line", ["umbel -A tasks:app worker -c 4", "umbel dead retry ID", "umbel queues peek NAME --running", "umbel COMMAND --help"]
)
def test_what_is_there_is_not_blamed(line: str) -> None:
    assert list(faults(line)) == []
