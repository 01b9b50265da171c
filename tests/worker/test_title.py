"""What the title of a child says, by what its loop noted."""

import pytest

from umbel.testing.clock import ManualClock
from umbel.worker import title
from umbel.worker.slots import Slots
from umbel.worker.title import ChildTitle, set_title


@pytest.fixture
def shown(monkeypatch):
    texts = []
    monkeypatch.setattr(title, "_setter", lambda: texts.append)
    return texts


def test_it_says_what_has_been_running_since_the_last_look_and_changes_nothing_else(shown):
    clock = ManualClock(1_800_000_000_000)
    slots = Slots.create(1)
    slot = slots.child(0)
    child = ChildTitle("bank", slot, clock)

    def look(task, version):
        child.task, slot.version = task, version
        clock.advance(1000)
        child.look()
        return shown[-1]

    assert look("", 0) == "umbel child: bank, idle"
    assert look("a", 1) == "umbel child: bank, busy"
    assert look("a", 900) == "umbel child: bank, busy"
    assert look("report", 901) == "umbel child: bank, busy"
    assert look("report", 901) == "umbel child: bank, runs report since 08:00:04 UTC"
    assert look("report", 901) == "umbel child: bank, runs report since 08:00:04 UTC"
    assert look("", 901) == "umbel child: bank, idle"
    assert len(shown) == 4


def test_a_name_cannot_forge_a_line(shown):
    set_title("child", "bank", "runs a\nb\x1b[31m")
    assert shown == ["umbel child: bank, runs a?b?[31m"]
