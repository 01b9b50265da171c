"""The demo, whole, with few users: its table is right, and it fails when a user has no mail."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.waiting import wait_for
from umbel.demo import run_demo
from umbel.demo.figures import Figures, percentile
from umbel.demo.mailbox import Report
from umbel.errors import ConfigError

USERS = 400


def rows(table: str) -> dict[str, str]:
    """Name to figure of each row of the table."""
    found = re.findall(r"^  (sent|retried|timed out|recovered|duplicates|lost|tasks/s|wait p50|wait p99) +([\d.,]+)", table, re.MULTILINE)
    return {name: figure.replace(",", "") for name, figure in found}


def assert_all_well(code: int, printed: str) -> None:
    table = rows(printed)
    assert code == 0, printed
    assert table["sent"] == str(USERS)
    assert table["lost"] == "0"
    assert table["timed out"] == "5"
    assert table["retried"] == str(USERS // 100 + 5)
    assert 0 <= int(table["duplicates"]) <= int(table["recovered"])
    assert int(table["tasks/s"]) > 0
    assert 0 < float(table["wait p50"]) <= float(table["wait p99"])
    assert "is killed (SIGKILL)" in printed
    assert "WRONG" not in printed


def test_everybody_has_the_mail() -> None:
    out = io.StringIO()
    assert_all_well(run_demo(users=USERS, out=out), out.getvalue())


def test_the_command_on_redis_and_no_key_is_left(redis_server: RedisServer) -> None:
    import redis

    command = [sys.executable, "-m", "umbel", "demo", "--users", str(USERS), "--broker", redis_server.url]
    demo = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
    assert_all_well(demo.returncode, demo.stdout)
    with redis.Redis.from_url(redis_server.url) as client:
        assert list(client.scan_iter(match="*umbel-demo*")) == []


def test_a_user_without_mail_fails_the_demo() -> None:
    out = io.StringIO()
    code = run_demo(users=USERS, kill=False, patience=6, unreachable=2, out=out)
    table = rows(out.getvalue())
    assert code == 1
    assert table["lost"] == "2"
    assert table["sent"] == str(USERS - 2)
    assert f"2 users have no mail: user{USERS - 1}@example.org, user{USERS}@example.org" in out.getvalue()


def test_interrupted_it_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    code = "from umbel.demo import run_demo; run_demo(users=20_000)"
    demo = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert demo.stdout is not None
        wait_for(lambda: b"worker" in demo.stdout.readline())  # type: ignore[union-attr]  # asserted above
        (folder,) = tmp_path.iterdir()
        wait_for(lambda: len(processes_in(folder)) >= 4)
        demo.terminate()
        demo.wait(180)
        assert processes_in(folder) == []
        assert list(tmp_path.iterdir()) == []
    finally:
        demo.kill()
        demo.communicate()


def processes_in(folder: Path) -> list[int]:
    """Processes whose working directory is, or was, ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(str(folder)):
                found.append(int(process.name))
        except OSError:
            pass  # it ended, or is somebody else's
    return found


def test_too_few_users_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least"):
        run_demo(users=3)


def figures(*, deliveries: dict[str, int], users: int = 3, hung: float = 2.0, recovered: int | None = 1, killed: int = 7) -> Figures:
    moments = {address: [0.5] * count for address, count in deliveries.items()}
    report = Report(deliveries=moments, refused={"a": 1}, hung={"b": hung}, waited_ms=[1], seconds=1.0)
    return Figures(frozenset("abc"[:users]), users, report, killed, recovered, 8.0)


def test_figures_without_fault() -> None:
    assert figures(deliveries={"a": 2, "b": 1, "c": 1}).faults() == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (figures(deliveries={"a": 1, "b": 1}), "1 users have no mail: c"),
        (figures(deliveries={"a": 1, "b": 1, "c": 1, "x": 1}), "nobody's address: x"),
        (figures(deliveries={"a": 2, "b": 2, "c": 1}), "2 mails came twice"),
        (figures(deliveries={"a": 2, "b": 1, "c": 1}, recovered=0, killed=0), "1 mails came twice"),
        (figures(deliveries={"a": 1, "b": 1, "c": 1}, hung=8.1), "the soft limit ended 0 of them"),
        (figures(deliveries={"a": 1, "b": 1, "c": 1}, recovered=None), "does not tell of the death of child 7"),
    ],
)
def test_each_fault_is_told(wrong: Figures, words: str) -> None:
    (fault,) = wrong.faults()
    assert words in fault
    assert f"lost {len(wrong.lost)}" in re.sub(" +", " ", wrong.table())


def test_percentiles() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([], 0.5) == 0
    assert percentile([7], 0.01) == 7
