"""The rules of the house that no linter knows.

Each rule is a function from one file to its faults, and `test_rule_can_fail` shows each one a sample that breaks it.
Who may import whom is import-linter's business, complexity is ruff's; both are set up in pyproject.toml.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "umbel"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_FUNCTION_LINES_IN_WORKER = 40
NAMES_THAT_OWN_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
READS_TIME = {
    *(f"time.{name}" for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")),
    *(f"time.{name}_ns" for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")),
    *(f"time.{name}" for name in ("localtime", "gmtime", "ctime", "asctime", "strftime")),
    *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
    *("date.today", "os.times"),
}
MAY_READ_TIME = {
    "clock.py": "it is the door",
}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle"}

SUPPRESSION = re.compile(
    r"#\s*(?:noqa|(?:type|pyright|mypy):\s*ignore)(?P<codes>:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[\w, -]+\])?", re.IGNORECASE
)

Rule = Callable[[str, str], Iterator[str]]
"""From a path below src/umbel (posix) and its text to the faults found."""


def file_is_short(path: str, text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{lines} lines, more than {MAX_FILE_LINES}: which nouns live in it?"


def functions_are_short(path: str, text: str) -> Iterator[str]:
    limit = MAX_FUNCTION_LINES_IN_WORKER if in_worker(path) else MAX_FUNCTION_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > limit:
                yield f"{node.lineno}: {node.name} has {lines} lines, more than {limit}"


def name_owns_something(path: str, text: str) -> Iterator[str]:
    yield from (f"{part!r} names no noun" for part in path.removesuffix(".py").split("/") if part in NAMES_THAT_OWN_NOTHING)


def only_the_clock_reads_time(path: str, text: str) -> Iterator[str]:
    if path not in MAY_READ_TIME:
        yield from (f"{line}: reads {name}; take a Clock" for line, name in dotted_names(text) if name in READS_TIME)


def suppressions_say_why(path: str, text: str) -> Iterator[str]:
    for line, comment in comments(text):
        found = list(SUPPRESSION.finditer(comment))
        reason = re.findall(r"\w+", SUPPRESSION.sub("", comment))
        if found and (len(reason) < 2 or not all(one["codes"] for one in found)):
            yield f"{line}: {comment!r} lacks its code, or words that say why"


def worker_suppresses_no_linter(path: str, text: str) -> Iterator[str]:
    if in_worker(path):
        yield from (f"{line}: {comment!r}" for line, comment in comments(text) if "noqa" in comment.lower())


def nothing_pickles(path: str, text: str) -> Iterator[str]:
    yield from (f"{line}: imports {name}" for line, name in imports(path, text) if name.split(".")[0] in PICKLES)


def brokers_never_emit(path: str, text: str) -> Iterator[str]:
    if path.startswith("brokers/"):
        yield from (f"{line}: imports {name}" for line, name in imports(path, text) if f"{name}.".startswith("umbel.events."))


def script_has_a_header(path: str, text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#!")]
    if not lines or not re.match(r"--(\[\[)?\s*\w", lines[0]):
        yield "does not begin with a comment that says what it does, its keys and arguments, and what it returns"


PYTHON_RULES: list[Rule] = [
    file_is_short,
    functions_are_short,
    name_owns_something,
    only_the_clock_reads_time,
    suppressions_say_why,
    worker_suppresses_no_linter,
    nothing_pickles,
    brokers_never_emit,
]
SCRIPT_RULES: list[Rule] = [file_is_short, script_has_a_header]


def in_worker(path: str) -> bool:
    return path.startswith("worker/")


def comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def imports(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Every imported dotted name, wherever the import stands; of `from a import b` it is `a.b`."""
    package = ["umbel", *path.split("/")[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def dotted_names(text: str) -> Iterator[tuple[int, str]]:
    """The last two parts of every attribute and from-import, with import aliases undone: `time.time`, `datetime.now`."""
    tree = ast.parse(text)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            yield node.lineno, f"{aliases.get(owner, owner)}.{node.attr}"


def files(*suffixes: str) -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*") if path.suffix in suffixes)


def faults(rules: list[Rule], paths: list[Path]) -> list[str]:
    found = []
    for path in paths:
        text, inside = path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix()
        found += [f"{path.relative_to(ROOT)}: {fault}" for rule in rules for fault in rule(inside, text)]
    return found


def test_python_files_keep_the_rules() -> None:
    paths = files(".py")
    assert paths, "no source found: this test would see nothing"
    assert faults(PYTHON_RULES, paths) == []


def test_scripts_keep_the_rules() -> None:
    assert faults(SCRIPT_RULES, files(".sql", ".lua")) == []


def test_suppressions_in_tests_say_why() -> None:
    paths = [path for folder in ("tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [f"{path.relative_to(ROOT)}: {fault}" for path in paths for fault in suppressions_say_why("", path.read_text(encoding="utf-8"))]
    assert found == []


def test_who_may_read_time_still_does() -> None:
    readers = {path for path in MAY_READ_TIME if any(name in READS_TIME for _, name in dotted_names((SOURCE / path).read_text()))}
    assert readers == set(MAY_READ_TIME), "an exception that nobody needs any more"


def test_the_conformance_suite_leaves_no_test_out() -> None:
    """Brokers run what the package exports: a class that is not exported runs nowhere."""
    suite = SOURCE / "testing" / "contract"
    written = {
        node.name
        for path in suite.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
    }
    exported = set(re.findall(r'^    "(Test\w+)",$', (suite / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE))
    assert written - {"TestMachine"} == exported - {"TestMachine"}  # the machine's test is made, not written


def lines(count: int) -> str:
    return "def f():\n" + "    x = 1\n" * (count - 1)


HASH = "#"  # keeps the samples below from being suppressions of this very file


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (file_is_short, "a.py", "x = 1\n" * (MAX_FILE_LINES + 1)),
        (functions_are_short, "a.py", lines(MAX_FUNCTION_LINES + 1)),
        (functions_are_short, "worker/a.py", lines(MAX_FUNCTION_LINES_IN_WORKER + 1)),
        (functions_are_short, "a.py", "async " + lines(MAX_FUNCTION_LINES + 1)),
        (name_owns_something, "brokers/utils.py", ""),
        (name_owns_something, "helpers/broker.py", ""),
        (only_the_clock_reads_time, "a.py", "import time\nx = time.time()"),
        (only_the_clock_reads_time, "a.py", "import time as t\nx = t.monotonic_ns()"),
        (only_the_clock_reads_time, "a.py", "from time import monotonic as m\nx = m()"),
        (only_the_clock_reads_time, "a.py", "import datetime\nx = datetime.datetime.now()"),
        (only_the_clock_reads_time, "a.py", "from datetime import datetime as dt\nx = dt.utcnow()"),
        (only_the_clock_reads_time, "brokers/clock.py", "import time\nx = time.time()"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} noqa"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} noqa: B008"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} noqa because of the weather"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} type: ignore"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} type: ignore[arg-type]"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} type: ignore[arg-type]  {HASH} noqa: E501"),
        (worker_suppresses_no_linter, "worker/a.py", f"x = 1  {HASH} noqa: B008 - said with a reason"),
        (nothing_pickles, "a.py", "def f():\n    from pickle import loads"),
        (nothing_pickles, "a.py", "import cloudpickle as json"),
        (brokers_never_emit, "brokers/memory.py", "from umbel import events"),
        (brokers_never_emit, "brokers/sqlite/broker.py", "from ...events import Started"),
        (brokers_never_emit, "brokers/memory.py", "from .. import events"),
        (brokers_never_emit, "brokers/memory.py", "import umbel.events as e"),
        (script_has_a_header, "a.sql", "CREATE TABLE x (y);\n-- too late"),
        (script_has_a_header, "a.lua", "#!lua flags=allow-oom\nreturn 1"),
        (script_has_a_header, "a.lua", "--\nreturn 1"),
    ],
)
def test_rule_can_fail(rule: Rule, path: str, text: str) -> None:
    assert list(rule(path, text))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (functions_are_short, "a.py", lines(MAX_FUNCTION_LINES)),
        (only_the_clock_reads_time, "a.py", "import time\ntime.sleep(1)\nx = datetime.fromtimestamp(0, UTC)"),
        (only_the_clock_reads_time, "clock.py", "import time\nx = time.time()"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} noqa: B008, E501 - a default shared on purpose"),
        (suppressions_say_why, "a.py", f"x = 1  {HASH} type: ignore[arg-type]  {HASH} the stub is older than the call"),
        (suppressions_say_why, "a.py", f"x = '{HASH} noqa'"),
        (nothing_pickles, "a.py", "from .pickle import jar"),
        (brokers_never_emit, "worker/a.py", "from umbel import events"),
        (brokers_never_emit, "brokers/redis/a.py", "from .events import x"),
        (script_has_a_header, "a.lua", "#!lua flags=allow-oom\n-- Settles one delivery."),
    ],
)
def test_rule_can_pass(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(path, text))
