"""Every command and option of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from umbel.cli import exits, worker
from umbel.cli.group import COMMANDS, umbel
from umbel.cli.page import Page

from .declared import one_line
from .table import code, codes, table


def page() -> str:
    """The page."""
    context = click.Context(umbel, info_name="umbel")
    commands = "\n".join(part for name in COMMANDS for part in _command(_found(umbel, context, name), f"umbel {name}", "##"))
    return f"""# Commands

`umbel COMMAND --help` says the same. Every command answers in JSON with `--json`, and ends with one of the [codes](#exit-codes) below.

{table(("command", "what it does"), [(f"[`{name}`](#umbel-{name})", says) for name, says in COMMANDS.items()])}
## Options of every command

They may stand before the command's name, or after it.

{_options([parameter for parameter in umbel.params if isinstance(parameter, click.Option)])}
{commands}
## Exit codes

{table(("code", "meaning"), [(str(number), means) for number, means in exits.MEANINGS.items()])}"""


def _found(group: click.Group, context: click.Context, name: str) -> click.Command:
    command = group.get_command(context, name)
    if command is None:
        raise ValueError(f"there is no command {name!r}")
    return command


def _command(command: click.Command, path: str, mark: str) -> Iterator[str]:
    """A command's part of the page, and those of the commands below it."""
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    inner = command.commands if isinstance(command, click.Group) else {}
    words = " ".join([path, "[OPTIONS]", *(["COMMAND"] if inner else []), *(_metavar(argument) for argument in arguments)])
    yield f"{mark} `{path}`\n\n```text\n{words}\n```\n\n{_help(command)}"
    general = {parameter.name for parameter in umbel.params}
    own = [parameter for parameter in command.params if isinstance(parameter, click.Option) and parameter.name not in general]
    if any(not option.hidden for option in own):
        yield _options(own)
    if isinstance(command, Page) and command.examples:
        yield "```text\n" + "\n".join(command.examples) + "\n```\n"
    if command is worker.worker:
        yield _celerys_flags()
    for name, one in inner.items():
        yield from _command(one, f"{path} {name}", f"{mark}#")


def _metavar(argument: click.Argument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _help(command: click.Command) -> str:
    """The help text: paragraphs, and those behind a ``\\b`` as they are."""
    parts = inspect.cleandoc(command.help or "").replace("\f", "").split("\n\n")
    shown = []
    for part in parts:
        if part.startswith("\b\n"):
            shown.append(f"```text\n{part[2:]}\n```")
        elif part.strip():
            shown.append(_escaped(one_line(part)))
    return "\n\n".join(shown) + "\n"


def _options(options: list[click.Option]) -> str:
    rows = []
    for option in options:
        if option.hidden:
            continue
        names = codes([*option.opts, *option.secondary_opts])
        values = "" if option.is_flag else code(option.metavar or option.type.name.upper())
        rows.append((names, values, _escaped(one_line(option.help or ""))))
    return table(("option", "value", "what"), rows)


def _celerys_flags() -> str:
    """Flags that Celery's users type: answered, though they are not in the help."""
    told = [f"- `{says.partition(': ')[0]}`: {says.partition(': ')[2]}" for says in getattr(worker, "NOT_NEEDED", {}).values()]
    refused = [says.partition(" (")[0] for says in getattr(worker, "NOT_YET", {}).values()]
    text = "Flags of Celery's that are accepted, and answered with a line that says why they change nothing:\n\n" + "\n".join(told) + "\n"
    return text + (
        f"\nFlags of Celery's that are refused, since this version has not what they ask for: {codes(refused)}.\n" if refused else ""
    )


def _escaped(text: str) -> str:
    """Words of a help text as Markdown: what would be markup is none."""
    return (
        text.replace("|", "\\|") if "`" in text else text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
    )
