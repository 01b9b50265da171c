"""``umbel shell``: Python with the app, its tasks and its broker at hand."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from ..errors import BrokerError, ConfigError
from .exits import CLEAN, NO, Unanswered
from .page import Page
from .target import Target, check_file, target_options, where
from .terminal import note, shown

if TYPE_CHECKING:
    from ..app import Umbel
    from ..broker import Broker

_LISTED = 12


@click.command(
    cls=Page,
    exits=(0, 1, 2, 3),
    examples="""
        umbel shell
        umbel shell -c 'add.delay(1, 2).get(timeout=10)'
        umbel shell -c 'print(broker.stats())'
        umbel shell < script.py
    """,
)
@target_options
@click.option("-c", "--code", metavar="CODE", help="Run this and end; the value of an expression is printed.")
@click.option("--plain", is_flag=True, help="Python's own shell, though IPython is installed.")
@click.pass_obj
def shell(target: Target, /, code: str | None, plain: bool) -> int:
    """Python, or IPython where it is installed, with the app loaded.

    There are: app; each task by its function's name (also tasks["full.name"]); broker, open, for looking into the store;
    AsyncResult(id) for the handle of an earlier call. Code that comes by standard input is run, and the shell ends.
    """
    app = target.load(discover=True)
    broker = _open(app)
    names = names_of(app, broker)
    try:
        if code is not None:
            return _run(code, "<-c>", names)
        if not sys.stdin.isatty():
            return _run(sys.stdin.read(), "<stdin>", names)
        _interact(names, _banner(app, broker, names), plain)
    finally:
        if broker is not None:
            broker.close()
        app.close()
    return CLEAN


def names_of(app: Umbel, broker: Broker | None) -> dict[str, Any]:
    """What the shell knows. Of two functions with one name neither has it: they are in ``tasks``."""
    last = [name.rpartition(".")[2] for name in app.tasks]
    names = {name.rpartition(".")[2]: task for name, task in app.tasks.items() if last.count(name.rpartition(".")[2]) == 1}
    fixed = {"app": app, "tasks": app.tasks, "broker": broker, "AsyncResult": app.AsyncResult}
    return {**{name: task for name, task in names.items() if name.isidentifier()}, **fixed, "__name__": "__main__"}


def _open(app: Umbel) -> Broker | None:
    """The broker, open; None, with a remark, where there is none to open."""
    try:
        check_file(app.settings.broker)
        broker = app.make_broker()
        broker.open()
    except (BrokerError, ConfigError, Unanswered) as exc:
        note(f"broker is None: {exc}")
        return None
    return broker


def _run(code: str, name: str, names: dict[str, Any]) -> int:
    """Run code; as at a prompt, the value of one line is printed."""
    import traceback

    try:
        exec(compile(code, name, "exec" if "\n" in code.strip() else "single"), names)
    except Exception as exc:
        trace = exc.__traceback__.tb_next if exc.__traceback__ else None  # from the given code on
        traceback.print_exception(type(exc), exc, trace)
        return NO
    return CLEAN


def _banner(app: Umbel, broker: Broker | None, names: dict[str, Any]) -> str:
    tasks = sorted(name for name, value in names.items() if value in app.tasks.values())
    more = f" and {len(tasks) - _LISTED} more" if len(tasks) > _LISTED else ""
    return "\n".join(
        (
            f"umbel shell, Python {sys.version.split()[0]}",
            f"  app     {shown(app.name)}",
            f"  broker  {shown(where(app.settings))}" + ("" if broker is not None else " (not open)"),
            f"  tasks   {shown(', '.join(tasks[:_LISTED])) or 'none'}{more}",
        )
    )


def _interact(names: dict[str, Any], banner: str, plain: bool) -> None:
    if not plain and find_spec("IPython") is not None:
        config = import_module("traitlets.config").Config()  # comes with IPython
        config.TerminalInteractiveShell.banner1 = banner + "\n"
        import_module("IPython").start_ipython(argv=[], user_ns=names, config=config)
        return
    import code

    try:
        import readline
        import rlcompleter
    except ImportError:  # a Python without it
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner, local=names, exitmsg="")
