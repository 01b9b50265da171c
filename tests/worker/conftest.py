"""What tests of a worker's parts leave behind, cleared away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_loop_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A child keeps the loop of its coroutines until its process ends; here the process goes on, and another test would be told of it."""
    made: list[asyncio.AbstractEventLoop] = []
    current = asyncio.set_event_loop

    def noted(loop: asyncio.AbstractEventLoop | None) -> None:
        current(loop)
        if loop is not None:
            made.append(loop)

    monkeypatch.setattr(asyncio, "set_event_loop", noted)
    yield
    left = [loop for loop in made if not loop.is_closed() and not loop.is_running()]
    for loop in left:
        loop.close()
    if left:
        current(None)
