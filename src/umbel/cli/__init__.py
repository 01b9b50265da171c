"""The command line. Each command's module is imported when the command is used, so that ``umbel --help`` is quick."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The entry point ``umbel``. Ends the process with one of the codes of ``cli/exits.py``."""
    from .group import umbel

    umbel.main(prog_name="umbel")
    raise SystemExit(0)  # not reached: the group ends the process
