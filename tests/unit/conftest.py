"""An app to call from: on a store of its own, with nothing of the machine's settings, and forgotten afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel import Umbel, registry
from umbel.broker import Broker
from umbel.message import new_id


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a project, no ``UMBEL_*``, no current app, no shared tasks. Answers with the directory."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("UMBEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(registry, "_current", [])
    monkeypatch.setattr(registry, "_shared", [])
    return tmp_path


@pytest.fixture
def app(clean: Path) -> Iterator[Umbel]:
    """An app on a memory store that its producer and its inspectors share."""
    app = Umbel("test", broker=f"memory://{new_id(0)}")
    yield app
    app.close()


@pytest.fixture
def store(app: Umbel) -> Iterator[Broker]:
    """A second handle of the app's store: what is really in it."""
    broker = app.make_broker()
    broker.open()
    yield broker
    broker.close()
