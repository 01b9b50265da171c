"""Finding and loading the app: what works without thinking, and what is said when it does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel.errors import AppNotFound
from umbel.loading import find_app, load_app

APP = "from umbel import Umbel\napp = Umbel('found', set_as_current=False)\n"


@pytest.fixture(autouse=True)
def _no_modules_left() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("umbel"):
            del sys.modules[name]


def write(path: str, text: str = APP) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.parent != Path():
        (file.parent / "__init__.py").touch()
    file.write_text(text)


@pytest.mark.parametrize("spec", ["mod1:app", "mod1", "mod1.app", "mod1.py", "./mod1.py:app"])
def test_ways_to_say_it(spec: str) -> None:
    write("mod1.py")
    assert load_app(spec).name == "found"


@pytest.mark.parametrize("spec", ["proj", "proj.celery", "proj.celery:app", "proj/celery.py", "proj/__init__.py"])
def test_a_package_as_celerys_users_lay_it_out(spec: str) -> None:
    write("proj/celery.py")
    assert load_app(spec).name == "found"


def test_the_preferred_name_decides() -> None:
    write("mod2.py", APP + "other = Umbel('other', set_as_current=False)")
    assert load_app("mod2").name == "found"
    write("mod3.py", APP.replace("app =", "one =") + "two = Umbel('other', set_as_current=False)")
    with pytest.raises(AppNotFound, match=r"holds several apps \(one, two\): say -A mod3:one"):
        load_app("mod3")


@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        (None, "nowhere", "there is no module 'nowhere'"),
        (None, "nowhere.deep:app", "there is no module 'nowhere'"),
        (None, "nowhere.py", "there is no file"),
        ("x = 1", "broken", "imports, but holds no Umbel app"),
        ("x = 1", "broken:app", "module 'broken' has no 'app'"),
        ("app = 1", "broken:app", "broken:app is a int, not an Umbel app"),
        ("import nothing_of_that_name", "broken", "Is 'nothing_of_that_name' installed"),
        ("import broken.inner", "broken", "broken is there, but does not import"),
        ("def f(:", "broken", "SyntaxError"),
        ("1/0", "broken", 'broken.py", line 1'),
        ("raise SystemExit(0)", "broken", "It ends the program while it is imported"),
        (None, "a b", "names no app"),
        (None, "x:", "names no app"),
        (None, "", "names no app"),
        (None, "../x.py", "there is no file"),
    ],
)
def test_what_is_said_when_it_fails(text: str | None, spec: str, words: str) -> None:
    if text is not None:
        Path("broken.py").write_text(text)
    with pytest.raises(AppNotFound) as caught:
        load_app(spec)
    assert words in str(caught.value)
    assert "importlib" not in str(caught.value)


@pytest.mark.parametrize("file", ["tasks.py", "app.py", "umbel_app.py", "celery.py", "proj/celery.py", "proj/tasks.py"])
def test_found_without_a_word(file: str) -> None:
    write("other/tasks.py", "from umbel import shared_task\n")
    write(file)
    assert find_app() == file.removesuffix(".py").replace("/", ".")


def test_the_environment_and_the_project_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    write("tasks.py")
    Path("pyproject.toml").write_text('[tool.umbel]\napp = "from.project:app"\n')
    assert find_app() == "from.project:app"
    monkeypatch.setenv("UMBEL_APP", "from.environment")
    assert find_app() == "from.environment"


def test_several_are_not_guessed_among() -> None:
    write("a/tasks.py")
    write("b/tasks.py")
    with pytest.raises(AppNotFound, match=r"several apps .*: a\.tasks, b\.tasks; say which, such as -A a\.tasks"):
        find_app()


def test_none() -> None:
    write("tasks.py", "print('no app')")
    with pytest.raises(AppNotFound, match="no app found in"):
        find_app()


def test_the_projects_app_is_found_from_below(monkeypatch: pytest.MonkeyPatch) -> None:
    write("mod4.py")
    Path("pyproject.toml").write_text('[tool.umbel]\napp = "mod4:app"\n')
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(Path.cwd().parent)])
    assert load_app(find_app()).name == "found"
