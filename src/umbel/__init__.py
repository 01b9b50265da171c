"""umbel: background tasks that run, and lose nothing.

::

    from umbel import Umbel

    app = Umbel("reports")

    @app.task
    def greet(name: str) -> None:
        print("hello", name)

    greet.delay("world")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    AppNotFound,
    ArgumentError,
    BrokerError,
    BrokerUnreachable,
    ConfigError,
    Discard,
    EnqueueError,
    EnqueueRefused,
    EnqueueUnknown,
    FlowFailed,
    MaxRetriesExceeded,
    NotSupported,
    PayloadTooLarge,
    QueueFull,
    ResultError,
    ResultNotKept,
    ResultTimeout,
    ResultUnreadable,
    RetryLater,
    Snooze,
    SoftTimeLimitExceeded,
    TaskExpired,
    TaskFailed,
    TaskInterrupted,
    TaskRevoked,
    TaskSignal,
    UmbelError,
    WorkerError,
)

if TYPE_CHECKING:
    from .app import Umbel as Umbel
    from .builder import flow as flow
    from .canvas import chain as chain
    from .canvas import chord as chord
    from .canvas import group as group
    from .crontab import crontab as crontab
    from .current import current_app as current_app
    from .current import current_task as current_task
    from .current import shared_task as shared_task
    from .facets import State as State
    from .flowresult import FlowResult as FlowResult
    from .inputs import FlowFailure as FlowFailure
    from .inputs import MemberFailed as MemberFailed
    from .joins import FlowState as FlowState
    from .middleware import Middleware as Middleware
    from .policy import Retry as Retry
    from .request import Progress as Progress
    from .request import Request as Request
    from .result import AsyncResult as AsyncResult
    from .schedule import When as When
    from .schedule import at as at
    from .schedule import cron as cron
    from .schedule import every as every
    from .schedules import Schedule as Schedule
    from .signature import Signature as Signature
    from .task import Task as Task
    from .traffic import Concurrency as Concurrency
    from .traffic import Rate as Rate

__version__ = "0.1.0"

_WHERE = {
    "Umbel": "app",
    "flow": "builder",
    "chain": "canvas",
    "chord": "canvas",
    "group": "canvas",
    "current_app": "current",
    "current_task": "current",
    "shared_task": "current",
    "FlowResult": "flowresult",
    "FlowFailure": "inputs",
    "MemberFailed": "inputs",
    "FlowState": "joins",
    "State": "facets",
    "Middleware": "middleware",
    "Retry": "policy",
    "Progress": "request",
    "Request": "request",
    "AsyncResult": "result",
    "Schedule": "schedules",
    "When": "schedule",
    "at": "schedule",
    "cron": "schedule",
    "crontab": "crontab",
    "every": "schedule",
    "Signature": "signature",
    "Task": "task",
    "Concurrency": "traffic",
    "Rate": "traffic",
}
"""Imported when first asked for: who only catches an error should not pay for the rest."""

__all__ = [
    "AppNotFound",
    "ArgumentError",
    "AsyncResult",
    "BrokerError",
    "BrokerUnreachable",
    "Concurrency",
    "ConfigError",
    "Discard",
    "EnqueueError",
    "EnqueueRefused",
    "EnqueueUnknown",
    "FlowFailed",
    "FlowFailure",
    "FlowResult",
    "FlowState",
    "MaxRetriesExceeded",
    "MemberFailed",
    "Middleware",
    "NotSupported",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "Rate",
    "Request",
    "ResultError",
    "ResultNotKept",
    "ResultTimeout",
    "ResultUnreadable",
    "Retry",
    "RetryLater",
    "Schedule",
    "Signature",
    "Snooze",
    "SoftTimeLimitExceeded",
    "State",
    "Task",
    "TaskExpired",
    "TaskFailed",
    "TaskInterrupted",
    "TaskRevoked",
    "TaskSignal",
    "Umbel",
    "UmbelError",
    "When",
    "WorkerError",
    "at",
    "chain",
    "chord",
    "cron",
    "crontab",
    "current_app",
    "current_task",
    "every",
    "flow",
    "group",
    "shared_task",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'umbel' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
