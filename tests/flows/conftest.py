"""An app in a sandbox, and tasks to make flows of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from umbel import FlowResult, Umbel
from umbel.testing import Sandbox

from .tasks import app


@pytest.fixture
def shop() -> Umbel:
    return app


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox(app) as sandbox:
        yield sandbox


class Go:
    """Sends a part and runs everything."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.ran: list[str] = []

    def __call__(self, part: Any, *args: Any, **options: Any) -> FlowResult[Any]:
        result: FlowResult[Any] = part.apply_async(args, **options)
        self.on()
        return result

    def on(self) -> list[str]:
        """Run what there is; the tasks in their order."""
        self.ran = [run.task.rpartition(".")[2] for run in self.box.worker.run_until_idle(propagate=False, limit=20_000)]
        return self.ran


@pytest.fixture
def go(box: Sandbox) -> Go:
    return Go(box)
