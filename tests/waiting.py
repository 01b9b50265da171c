"""Tests wait for facts, not for seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 4.0 if os.environ.get("CI") else 1.0
"""All waits are so much longer in CI: it costs nothing where the fact comes, and a crowded machine may stand still for a while."""


def wait_for(fact: Callable[[], T], timeout: float = 10.0, every: float = 0.005) -> T:
    """Ask ``fact`` until its answer is true and return that answer.

    After ``timeout`` seconds, in CI four times as many, raises ``AssertionError`` with the last answer. ``fact`` is asked at
    least once, and once more after the time is over, so that a machine that stood still for a while fails no test.
    """
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        late = time.monotonic() >= deadline
        answer = fact()
        if answer:
            return answer
        if late:
            raise AssertionError(f"after {timeout * PATIENCE} s {getattr(fact, '__qualname__', fact)} still answers {answer!r}")
        time.sleep(every)
