"""A user's project of 100 tests, with nothing in it but what docs/testing.md shows.

``python -m tests.testing.hundred`` runs it five times and prints how long pytest took: what it says itself, and the processor
time of the whole process, imports included, to which a busy machine adds nothing. A first run, which writes bytecode, does not count.
"""

from __future__ import annotations

import re
import resource
import statistics
import tempfile
from pathlib import Path

from tests.testing.project import Project, counts

TASKS = """
from umbel import Retry, Umbel

app = Umbel("shop")
outbox = []
online = True


@app.task(queue="emails", retry=Retry(max=3, on=(ConnectionError,), backoff=10), expires=3600, track=True)
def send_email(user: int, *, urgent: bool = False) -> str:
    if not online:
        raise ConnectionError("no mail server")
    outbox.append(user)
    return f"mail to {user}"


@app.task
def remind(user: int) -> None:
    send_email.delay(user, urgent=True)


@app.task(track=True)
async def quote(symbol: str) -> str:
    return f"{symbol} 42"


def sign_up(user: int) -> None:
    send_email.delay(user)
    remind.apply_async((user,), countdown=86_400)
"""

HEAD = """
import asyncio
import pytest
import tasks
from umbel import State
from umbel.testing import assert_enqueued, assert_not_enqueued, enqueued_calls
"""

KINDS = (
    """
def test_sent_{n}(umbel_worker):
    tasks.sign_up({n})
    assert_enqueued(tasks.send_email, {n}, queue="emails", times=1)
    assert_enqueued(tasks.remind, user={n}, countdown=86_400)
    assert_not_enqueued(tasks.send_email, {n}, urgent=True)
    assert len(enqueued_calls()) == 2
""",
    """
def test_run_{n}(umbel_worker):
    result = tasks.send_email.delay({n})
    assert result.state is State.PENDING
    umbel_worker.run_until_idle()
    assert result.get() == "mail to {n}"
""",
    """
def test_time_{n}(umbel_worker, umbel_clock):
    tasks.sign_up({n})
    assert len(umbel_worker.run_until_idle()) == 1
    umbel_clock.advance(86_400)
    assert [run.task for run in umbel_worker.run_until_idle()] == ["tasks.remind", "tasks.send_email"]
""",
    """
def test_retry_{n}(umbel_worker, umbel_clock, monkeypatch):
    monkeypatch.setattr(tasks, "online", False)
    result = tasks.send_email.delay({n})
    assert umbel_worker.run_one().state is State.RETRY
    monkeypatch.setattr(tasks, "online", True)
    umbel_clock.advance(10)
    assert umbel_worker.run_one().attempt == 2
    assert result.get() == "mail to {n}"
""",
    """
def test_expired_{n}(umbel_worker, umbel_clock):
    result = tasks.send_email.delay({n})
    umbel_clock.advance(3600)
    umbel_worker.run_until_idle()
    assert result.state is State.EXPIRED
""",
    """
def test_drain_{n}(umbel_worker):
    tasks.outbox.clear()
    tasks.sign_up({n})
    umbel_worker.drain()
    assert tasks.outbox == [{n}, {n}]
""",
    """
def test_eager_{n}(umbel_eager):
    assert tasks.send_email.delay({n}).get() == "mail to {n}"
""",
    """
def test_failure_{n}(umbel_eager, monkeypatch):
    monkeypatch.setattr(tasks, "online", False)
    with pytest.raises(ConnectionError, match="no mail server"):
        tasks.send_email.delay({n})
""",
    """
def test_coroutine_{n}(umbel_worker):
    async def ask():
        result = await tasks.quote.adelay("A{n}")
        await umbel_worker.arun_until_idle()
        assert await result == "A{n} 42"

    asyncio.run(ask())
""",
    """
def test_many_{n}(umbel_worker):
    assert tasks.send_email.delay_many((user,) for user in range(20)) == 20
    assert len(umbel_worker.run_until_idle(queue="emails")) == 20
""",
)


def write(folder: Path) -> Project:
    """The project: ten files of ten tests."""
    project = Project(folder)
    project.write(tasks=TASKS, ini="[pytest]\nfilterwarnings = error\n")
    for file in range(10):
        project.write(**{f"test_{file}": HEAD + "".join(kind.replace("{n}", str(file)) for kind in KINDS)})
    return project


def measure(rounds: int = 5) -> None:
    said, spent = [], []
    with tempfile.TemporaryDirectory() as folder:
        project = write(Path(folder))
        for _ in range(rounds + 1):
            before = processor_time()
            done = project.pytest("-q")
            spent.append(processor_time() - before)
            assert counts(done.stdout) == {"passed": 100}, done.stdout
            said.append(float(re.findall(r"in ([\d.]+)s", done.stdout)[-1]))
    for what, figures in (("pytest says", said[1:]), ("processor time", spent[1:])):
        print(f"100 tests: {what} {statistics.median(figures):.2f} s ({min(figures):.2f} to {max(figures):.2f})")


def processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    measure()
