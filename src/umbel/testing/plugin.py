"""The pytest plugin: fixtures for apps that use umbel. Only pytest imports it; the rest comes when a fixture is asked for.

``umbel_app``      the app under test: override it, or say ``umbel_app = "module:attribute"`` in pytest's settings
``umbel_clock``    the sandbox's clock, which stands still until it is advanced
``umbel_sandbox``  the app on a fresh broker in memory, for this test
``umbel_worker``   the sandbox's worker, which runs what was sent when it is told to
``umbel_eager``    the sandbox, with calls that run where they are made
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..app import Umbel
    from .frozen import FrozenClock
    from .sandbox import Sandbox
    from .stepping import SteppedWorker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("umbel_app", 'the app of the umbel_app fixture, "module:attribute"', default="")


@pytest.fixture
def umbel_app(request: pytest.FixtureRequest) -> Umbel:
    """The app under test: the one that ``umbel_app`` of pytest's settings names, or ``UMBEL_APP``, or ``[tool.umbel] app``; else the
    current one; else the one that ``umbel`` without ``-A`` would find."""
    from ..errors import AppNotFound, ConfigError
    from ..loading import find_app, load_app
    from ..project import pyproject_table
    from ..registry import get_current

    told = request.config.getini("umbel_app") or os.environ.get("UMBEL_APP", "").strip() or pyproject_table()[1].get("app")
    try:
        if told:
            return load_app(str(told))
        try:
            app: Umbel = get_current()
        except ConfigError:
            return load_app(find_app())
    except AppNotFound as exc:
        pytest.fail(
            f'umbel_app: {exc}\nFor tests, say umbel_app = "module:attribute" in pytest\'s settings, or write a fixture umbel_app that '
            "returns the app in conftest.py.",
            pytrace=False,
        )
    return app


@pytest.fixture
def umbel_clock() -> FrozenClock:
    """A clock that stands still: ``umbel_clock.advance(3600)``."""
    from .frozen import FrozenClock

    return FrozenClock()


@pytest.fixture
def umbel_sandbox(umbel_app: Umbel, umbel_clock: FrozenClock) -> Iterator[Sandbox]:
    """``umbel_app`` on a fresh broker in memory; afterwards as it was."""
    from .sandbox import Sandbox

    with Sandbox(umbel_app, clock=umbel_clock) as sandbox:
        yield sandbox


@pytest.fixture
def umbel_worker(umbel_sandbox: Sandbox) -> SteppedWorker:
    """A worker that is stepped by hand: ``umbel_worker.run_until_idle()``."""
    return umbel_sandbox.worker


@pytest.fixture
def umbel_eager(umbel_sandbox: Sandbox) -> Sandbox:
    """Calls run where they are made; errors come out there."""
    umbel_sandbox.eager = True
    return umbel_sandbox
