"""``python -m docs.generate``: write the pages. With ``--check``: write nothing, name the stale ones, and end with 1 if there are any."""

from __future__ import annotations

import sys
from pathlib import Path

from .pages import FOLDER, differences, write


def main(check: bool, folder: Path = FOLDER) -> int:
    """Compare, or write."""
    stale, left_over = differences(folder)
    if not check:
        write(folder, stale, left_over)
    for name in (*stale, *left_over):
        print(f"docs/reference/{name} is not what the code says: make reference" if check else f"docs/reference/{name} written anew")
    return 1 if check and (stale or left_over) else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
