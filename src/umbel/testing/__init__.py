"""What authors of apps and of brokers test with.

For apps: :class:`Sandbox` (an app on a broker in memory, with a worker that runs when it is told to and a clock that is moved
by hand), :func:`assert_enqueued`, and the fixtures of the pytest plugin (``umbel.testing.plugin``). For brokers: the
conformance suite ``umbel.testing.contract``, ``faults``, and the clock of ``clock``.

Nothing here is imported by the rest of umbel. Only the suite and the plugin need pytest, and the suite hypothesis too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import ManualClock as ManualClock
    from .enqueued import Enqueued as Enqueued
    from .frozen import FrozenClock as FrozenClock
    from .run import Run as Run
    from .run import SandboxError as SandboxError
    from .sandbox import Sandbox as Sandbox
    from .sandbox import assert_enqueued as assert_enqueued
    from .sandbox import assert_not_enqueued as assert_not_enqueued
    from .sandbox import enqueued_calls as enqueued_calls
    from .stepping import SteppedWorker as SteppedWorker

_WHERE = {
    "ManualClock": "clock",
    "Enqueued": "enqueued",
    "FrozenClock": "frozen",
    "Run": "run",
    "SandboxError": "run",
    "Sandbox": "sandbox",
    "assert_enqueued": "sandbox",
    "assert_not_enqueued": "sandbox",
    "enqueued_calls": "sandbox",
    "SteppedWorker": "stepping",
}
"""Imported when first asked for: pytest imports this package, for its plugin, wherever umbel is installed."""

__all__ = [
    "Enqueued",
    "FrozenClock",
    "ManualClock",
    "Run",
    "Sandbox",
    "SandboxError",
    "SteppedWorker",
    "assert_enqueued",
    "assert_not_enqueued",
    "enqueued_calls",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'umbel.testing' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
