"""A user's project in a folder, and pytest run in it as its user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.without = ["-p", "no:asyncio"]
        """A plugin that complains where no setting of its own is made."""
        folder.mkdir(exist_ok=True)

    def write(self, **files: str) -> None:
        """``tests__test_a="…"`` is ``tests/test_a.py``; ``ini`` is ``pytest.ini``."""
        for name, text in files.items():
            path = self.folder / ("pytest.ini" if name == "ini" else name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def pytest(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = ("UMBEL_", "PYTEST_", "COV_", "PYTHONDONTWRITEBYTECODE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *self.without, *arguments],
            cwd=self.folder,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=100,
        )

    def passes(self, *arguments: str, **environment: str) -> dict[str, int]:
        """What pytest counted; it must have ended well."""
        done = self.pytest(*arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return counts(done.stdout)

    def fails(self, *arguments: str) -> str:
        """What pytest printed; it must have found a failure."""
        done = self.pytest(*arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout


def counts(printed: str) -> dict[str, int]:
    """``{"passed": 3}`` from the last line."""
    return {
        what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|error|errors|skipped|warnings?)", printed.splitlines()[-1])
    }
