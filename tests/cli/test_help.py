"""Each command has a whole page: what it does, examples, exit codes, environment; each option says what it is for."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import click.testing
import pytest

from umbel.cli.exits import MEANINGS
from umbel.cli.group import COMMANDS, umbel


def pages(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command, with the words that call it."""
    yield path, group
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from pages(found, (*path, name))
        else:
            yield (*path, name), found


PAGES = list(pages(umbel))
NAMES = [" ".join(("umbel", *path)) for path, _ in PAGES]


def text(path: tuple[str, ...]) -> str:
    said = click.testing.CliRunner().invoke(umbel, [*path, "--help"])
    assert said.exit_code == 0, said.output
    return said.output


def section(page: str, head: str) -> list[str]:
    lines = page.splitlines()
    assert f"{head}:" in lines, f"no section {head}"
    rest = lines[lines.index(f"{head}:") + 1 :]
    return rest[: next((i for i, line in enumerate(rest) if not line.startswith(" ")), len(rest))]


@pytest.mark.parametrize(("path", "command"), PAGES, ids=NAMES)
def test_a_page_is_whole(path: tuple[str, ...], command: click.Command) -> None:
    page = text(path)
    assert len((command.help or "").split()) >= 4, "what does it do?"
    examples = [line.strip() for line in section(page, "Examples")]
    mine = " ".join(("umbel", *path))
    assert any(_calls(line, path) for line in examples), f"no example calls {mine}"
    for code in section(page, "Exit codes"):
        if code[2:3].isdigit():
            assert int(code.split()[0]) in MEANINGS
    assert any("UMBEL_BROKER" in line for line in section(page, "Environment"))
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help and parameter.help.endswith((".", "]", "repeatable.")), f"{parameter.opts}: {parameter.help!r}"
    assert max(len(line) for line in page.splitlines()) <= 100


def _calls(line: str, path: tuple[str, ...]) -> bool:
    """Is it this command's line (options may stand between)?"""
    words = [word for word in shlex.split(line, comments=True) if not word.startswith("-")]
    rest = iter(words[words.index("umbel") :] if "umbel" in words else ())
    return all(word in rest for word in ("umbel", *path))


@pytest.mark.parametrize(("path", "command"), PAGES, ids=NAMES)
def test_examples_name_options_that_there_are(path: tuple[str, ...], command: click.Command) -> None:
    if isinstance(command, click.Group):
        return  # its examples are those of its commands
    given = {word for option in [*umbel.params, *command.params] for word in option.opts}
    for line in section(text(path), "Examples"):
        words = shlex.split(line, comments=True)
        if "umbel" in words and "|" not in words and all(word in words for word in path) and path:
            used = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert used <= given, f"{line}: {used - given}"


def test_the_list_of_commands_says_what_each_does() -> None:
    assert all(line.endswith((".", "?")) for line in COMMANDS.values())


def test_all_pages_in_little_time() -> None:
    """A page imports its command's module, and neither a broker nor the user's app."""
    script = (
        "import sys\n"
        "from umbel.cli.group import umbel\n"
        "try:\n    umbel.main(['worker', '--help'])\n"
        "finally:\n    print('SLOW', [m for m in ('umbel.brokers', 'asyncio', 'redis', 'watchfiles', 'IPython') if m in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "SLOW []" in said.stdout, said.stdout[-300:] + said.stderr
