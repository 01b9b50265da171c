"""Tests wait for facts, not for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(fact: Callable[[], T], timeout: float = 10.0, every: float = 0.005) -> T:
    """Ask ``fact`` until its answer is true and return that answer.

    After ``timeout`` seconds raises ``AssertionError`` with the last answer. ``fact`` is asked at least once, and once
    more after the time is over, so that a machine that stood still for a while fails no test.
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() >= deadline
        answer = fact()
        if answer:
            return answer
        if late:
            raise AssertionError(f"after {timeout} s {getattr(fact, '__qualname__', fact)} still answers {answer!r}")
        time.sleep(every)
