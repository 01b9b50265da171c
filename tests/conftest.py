"""What all tests share: which umbel is tested, no silent skips in CI, a Redis server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel
from tests.servers import REDIS_SERVER, RedisServer

ROOT = Path(__file__).parents[1]
IN_CI = os.environ.get("CI") == "true"


def pytest_report_header() -> str:
    return f"umbel: {Path(umbel.__file__).parent}"


def pytest_sessionstart() -> None:
    # A shell without job control starts what it puts in the background with these ignored, and so would every program that a
    # test starts and then interrupts.
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
    if os.environ.get("UMBEL_TEST") == "wheel" and Path(umbel.__file__).is_relative_to(ROOT / "src"):
        pytest.exit("the built wheel is what is tested, but umbel comes from src/", returncode=3)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("\nA skipped test fails CI: what it needs has to be installed.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole run, without persistence. Tests keep apart by app name; who kills it starts it again."""
    if REDIS_SERVER is None:
        missing = "redis-server is not installed (Debian: apt-get install redis-server)"
        pytest.fail(missing) if IN_CI else pytest.skip(missing)
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
