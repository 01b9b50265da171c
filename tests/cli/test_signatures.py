"""What is printed of an app's tasks, and what a later release breaks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from umbel import Umbel
from umbel.cli.compatibility import BREAKS, PARKS, SAFE, compare
from umbel.cli.declarations import Declared, declared, read
from umbel.errors import ConfigError

HEAD = """
from __future__ import annotations
import datetime
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from uuid import UUID
from umbel import Umbel

app = Umbel("shop")
"""


def release(*tasks: str, head: str = "") -> Declared:
    """An app of these tasks, each ``(options) name(parameters)`` or ``name(parameters)``, as a user's module declares them."""
    lines = []
    for task in tasks:
        options, _, rest = task.rpartition(") ") if task.startswith("(") else ("", "", task)
        name = rest.partition("(")[0]
        lines.append(f"@app.task(name={name!r}, {options[1:]})\ndef {rest}: ...\n")
    module = sys.modules["shop_of_a_test"] = ModuleType("shop_of_a_test")  # where dataclasses look for their fields' types
    exec(HEAD + head + "".join(lines), module.__dict__)
    app: Umbel = module.app
    return declared(app)


def effects(old: Declared, new: Declared) -> list[str]:
    return [change.effect for change in compare(old, new)]


def says(old: Declared, new: Declared) -> str:
    return "\n".join(f"{change.effect} {change.task}: {change.what}" for change in compare(old, new))


ONE_SAME = ["t()", "t(a)", "t(a, /, b, *c, d, e=1, **f)", "t(a: int = 1, *, b: str | None = None)", "(bind=True) t(self, a)"]


@pytest.mark.parametrize("task", ONE_SAME)
def test_nothing_changes_nothing(task: str) -> None:
    assert compare(release(task), release(task)) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # parameters that are no more
        ("t(a, b=1)", "t(a)", [BREAKS]),
        ("t(a, b=1)", "(unknown_kwargs='drop') t(a)", [SAFE]),
        ("t(a, b=1)", "(unknown_kwargs='error') t(a)", [BREAKS]),
        ("t(*, b=1)", "t(**more)", [PARKS]),
        ("t(a, *rest)", "t(a)", [BREAKS]),
        ("t(a, **more)", "t(a)", [BREAKS]),
        ("t(a, b)", "t(a, *, b)", [BREAKS]),
        ("t(a, b)", "t(a, b, /)", [BREAKS, BREAKS]),
        # parameters that are new
        ("t(a)", "t(a, b)", [BREAKS]),
        ("t(a)", "t(a, *, b)", [BREAKS]),
        ("t(a, b=1)", "t(a, b)", [BREAKS]),
        ("t(a)", "t(a, b=1)", [PARKS]),
        ("t(a)", "t(a, *, b=1)", [PARKS]),
        ("(unknown_kwargs='drop') t(a)", "t(a, *, b=1)", [SAFE]),
        ("(unknown_kwargs='error') t(a)", "t(a, *, b=1)", [BREAKS]),
        ("t(a, b)", "t(a, b=1)", [PARKS]),
        ("t(a)", "t(a, *rest)", [PARKS]),
        # places
        ("t(a, b)", "t(b, a)", [BREAKS, BREAKS]),
        ("t(a, c=1)", "t(a, b=2, c=1)", [BREAKS, PARKS]),
        ("t(a, b)", "t(a, c)", [BREAKS, BREAKS, BREAKS]),
        ("t(*, a, b)", "t(*, b, a)", []),
        # types
        ("t(a: int)", "t(a: str)", [BREAKS]),
        ("t(a)", "t(a: int)", [BREAKS]),
        ("t(a: int)", "t(a)", [SAFE]),
        ("t(a: int)", "t(a: int | None)", [SAFE]),
        ("t(a: int | None)", "t(a: int)", [BREAKS]),
        ("t(a: int)", "t(a: float)", [SAFE]),
        ("t(a: float)", "t(a: int)", [BREAKS]),
        ("t(a: int)", "t(a: int | str)", [SAFE]),
        ("t(a: list[int])", "t(a: list[str])", [BREAKS]),
        ("t(a: datetime.date)", "t(a: datetime.datetime)", [BREAKS]),
        ("t(a: UUID)", "t(a: str)", [BREAKS]),
        ("t(a: int = 1)", "t(a: int = 2)", [SAFE]),
        # tasks
        ("t()", "u()", [BREAKS, PARKS]),
        ("t()", "(aliases=('t',)) u()", [PARKS]),
        ("(aliases=('t',)) u()", "u()", [BREAKS]),
        ("t(a)", "(aliases=('t',)) u(b)", [PARKS, BREAKS, BREAKS, BREAKS]),
        ("(queue='p') t()", "(queue='q') t()", [SAFE, BREAKS]),
    ],
)
def test_what_follows(old: str, new: str, expected: list[str]) -> None:
    before, after = release(old), release(new)
    assert effects(before, after) == expected, says(before, after)


def test_the_fields_of_a_type_count() -> None:
    order = "@dataclass\nclass Order:\n    'words'\n    id: int\n    {}\n"
    tasks = ("t(a: Order)", "u(a: list[Order] | None = None)")
    old = release(*tasks, head=order.format(""))
    assert compare(old, release(*tasks, head=order.format("").replace("words", "other words"))) == []
    new = release(*tasks, head=order.format("paid: bool"))
    assert effects(old, new) == [BREAKS, BREAKS]
    assert "whose own fields have changed" in says(old, new)
    colors = "class Color(Enum):\n    RED = 'r'\n    {}\n"
    old, new = (release("t(a: Color)", head=colors.format(more)) for more in ("", "BLUE = 'b'"))
    assert effects(old, new) == [BREAKS], "what cannot be proved to fit is said"


def test_a_queue_that_another_task_still_has_is_served() -> None:
    old = release("(queue='p') t()", "(queue='p') u()")
    assert effects(old, release("(queue='q') t()", "(queue='p') u()")) == [SAFE]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, *tasks: str) -> None:
        body = "".join(f"@app.task(name={task.partition('(')[0]!r})\ndef {task}: ...\n" for task in tasks)
        (self.folder / "tasks.py").write_text(HEAD + body)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "umbel", "signatures", *args], cwd=self.folder, capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_one_line_a_task_in_the_order_of_names(project: Project) -> None:
    project.write("z(a, /, b: int = 1, *, c: datetime.date, d: str = 'x')", "a(*rest, **more)")
    said = project.run()
    assert said.returncode == 0
    assert said.stdout.splitlines() == [
        "a(*rest, **more)  queue=default",
        "z(a, /, b: int = 1, *, c: datetime.date, d: str = 'x')  queue=default",
    ]


def test_the_same_code_prints_the_same(project: Project) -> None:
    project.write("t(a=object(), b=frozenset('abcdef'), c: set[str] = {'x', 'y', 'z'})")
    assert len({project.run("--json").stdout for _ in range(3)}) == len({project.run().stdout for _ in range(3)}) == 1


def test_a_change_that_breaks_is_told_with_its_exit_code(project: Project) -> None:
    project.write("send(user, urgent=False)", "report(day)")
    (project.folder / "old.json").write_text(project.run("--json").stdout)
    same = project.run("--against", "old.json")
    assert (same.returncode, same.stdout) == (0, "2 tasks before, 2 tasks now: nothing breaks.\n")
    project.write("send(user, urgent=False, channel='mail')", "report(day)")
    said = project.run("--against", "old.json")
    assert said.returncode == 0 and "channel='mail'" in said.stdout and "nothing breaks" in said.stdout
    project.write("send(user)", "reports(day)")
    said = project.run("--against", "old.json")
    assert said.returncode == 1
    flat = " ".join(said.stdout.split())
    assert "send: parameter 'urgent' removed" in flat and "report: removed" in flat and 'aliases=("report",)' in flat
    assert all(len(line) <= 80 for line in said.stdout.splitlines())
    told = json.loads(project.run("--against", "old.json", "--json").stdout)
    assert told["breaks"] == 2 and {one["effect"] for one in told["changes"]} == {"breaks", "parks"}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1}', "not json", '{"format": 1, "app": "x", "tasks": {"t": 1}}'])
def test_a_file_that_is_no_print(project: Project, text: str) -> None:
    project.write("t()")
    (project.folder / "old.json").write_text(text)
    said = project.run("--against", "old.json")
    assert said.returncode == 2 and "not a print of `umbel signatures --json`" in said.stderr


def test_prints_of_other_releases_of_umbel(tmp_path: Path) -> None:
    file = tmp_path / "print.json"
    file.write_text('{"format": 2, "app": "x", "tasks": {}}')
    with pytest.raises(ConfigError, match="a newer release of umbel made it"):
        read(file)
    file.write_text('{"format": 1, "app": "x", "new": 1, "tasks": {"t": {"queue": "q", "new": [], "parameters": []}}}')
    assert read(file).tasks["t"].queue == "q"


def test_hostile_names_stay_inert(project: Project) -> None:
    (project.folder / "tasks.py").write_text(HEAD + "@app.task(name='{0}<b>', queue='%s')\ndef t(a='\\x1b[31m'): ...\n")
    assert "\x1b" not in project.run().stdout
    assert list(json.loads(project.run("--json").stdout)["tasks"]) == ["{0}<b>"]
