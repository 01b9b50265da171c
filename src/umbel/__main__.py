"""``python -m umbel``: the same as ``umbel``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
