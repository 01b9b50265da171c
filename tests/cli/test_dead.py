"""Dead letters: list, show, retry, delete."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.cli.conftest import Run, Stage, answer
from tests.waiting import wait_for


@pytest.fixture
def three(stage: Stage) -> list[str]:
    """One failed ``t.a``, one failed ``t.b`` on another queue, one ``t.a`` over its limit."""
    stage.worker("default", "emails")
    stage.send("t.a", 1)
    stage.send("t.b", queue="emails")
    stage.send("t.a", 2)
    return [stage.kill("default"), stage.kill("emails"), stage.kill("default", "time_limit")]


def test_list_newest_first_and_chosen(run: Run, three: list[str]) -> None:
    assert {m["id"] for m in answer(run("dead", "list", "--json"))} == set(three)
    assert [m["id"] for m in answer(run("dead", "list", "--queue", "emails", "--json"))] == [three[1]]
    assert [m["id"] for m in answer(run("dead", "list", "--reason", "time_limit", "--json"))] == [three[2]]
    assert {m["id"] for m in answer(run("dead", "list", "--task", "t.a", "--json"))} == {three[0], three[2]}
    said = run("dead", "list", "-n", "2")
    assert "failed: ValueError: no such account" in said.stdout or "time_limit: ValueError" in said.stdout
    assert "there are more" in said.stderr


def test_show(run: Run, three: list[str]) -> None:
    said = run("dead", "show", three[0])
    assert "ValueError: no such account" in said.stdout and f"umbel dead retry {three[0]}" in said.stdout
    assert run("dead", "show", "nope").exit_code == 1


def test_retry_one(run: Run, stage: Stage, three: list[str]) -> None:
    assert answer(run("dead", "retry", three[1], "--json")) == {"redriven": 1, "missing": 0, "unreadable": 0}
    assert [q.ready for q in stage.broker.stats() if q.queue == "emails"] == [1]


def test_retry_says_which_are_missing(run: Run, three: list[str]) -> None:
    said = run("dead", "retry", three[0], "nope")
    assert said.exit_code == 1 and "1 dead letter redriven" in said.stdout and "1 id of those given" in said.stderr


def test_retry_all_asks(run: Run, stage: Stage, three: list[str]) -> None:
    said = run("dead", "retry", "--all")
    assert said.exit_code == 2 and "Run 3 dead letters again?" in said.stderr
    assert run("dead", "retry", "--all", "--yes").stdout == "3 dead letters redriven\n"
    assert sum(q.ready for q in stage.broker.stats()) == 3


def test_delete(run: Run, stage: Stage, three: list[str]) -> None:
    assert run("dead", "delete", three[0]).exit_code == 2
    assert answer(run("dead", "delete", "--task", "t.a", "--yes", "--json"))["deleted"] == 2
    assert sum(q.dead for q in stage.broker.stats()) == 1


def test_more_than_one_piece(run: Run, stage: Stage) -> None:
    stage.worker("default")
    for _ in range(1_050):
        stage.send("t.a")
        stage.kill("default")
    assert answer(run("dead", "retry", "--all", "--yes", "--json"))["redriven"] == 1_050
    assert stage.broker.stats()[0].ready == 1_050


def test_which(run: Run, stage: Stage) -> None:
    assert run("dead", "retry").exit_code == 2
    assert run("dead", "delete", "x", "--all", "--yes").exit_code == 2


@pytest.mark.parametrize(("typed", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 3), (b"\x03", 130, 3)])
def test_somebody_at_a_terminal_is_asked(url: str, stage: Stage, three: list[str], typed: bytes, code: int, left: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "umbel", "--broker", url, "dead", "delete", "--all"]
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True, preexec_fn=_own_terminal)
    os.close(theirs)
    shown = b""

    def asked() -> bool:
        nonlocal shown
        shown += os.read(ours, 1024)
        return b"[y/N]" in shown

    wait_for(asked)
    os.write(ours, typed)
    try:
        child.wait(3)
    except subprocess.TimeoutExpired:
        # Python looks for signals just before it blocks in input(): one that comes in between is seen with the next
        os.write(ours, typed)
    assert child.wait(180) == code
    assert sum(q.dead for q in stage.broker.stats()) == left
    os.close(ours)
    assert child.stdout is not None
    child.stdout.close()


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that a typed ^C becomes a signal
