"""A coroutine that can be interrupted: the interruption is raised at its await, as what it is.

``asyncio.Task.cancel`` raises ``CancelledError`` at the await, and task groups, timeouts and other libraries clean up for
that and for nothing else. So what is raised is both: a ``CancelledError`` for them, a ``SoftTimeLimitExceeded`` for the task.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from ..errors import SoftTimeLimitExceeded, TaskInterrupted


class SoftLimitCancelled(SoftTimeLimitExceeded, asyncio.CancelledError):
    """As raised inside a coroutine."""


class TaskCancelled(TaskInterrupted, asyncio.CancelledError):
    """As raised inside a coroutine."""


class Interruptible:
    """One coroutine, driven by the loop's task that calls ``drive``. All methods belong to the loop's thread."""

    __slots__ = ("_kind", "_task", "coroutine")

    after_step: Callable[[], None] | None = None
    """Called after each step, if anything is to be looked at: set in a process that a task forked."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine: Coroutine[Any, Any, Any] | None = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._kind: type[SoftTimeLimitExceeded] | None = None

    def interrupt(self, kind: type[SoftTimeLimitExceeded]) -> None:
        """Raise ``kind`` at its await, unless it has ended."""
        if self.coroutine is None or self._kind is not None:
            return
        self._kind = kind
        if self._task is not None:
            self._task.cancel()

    async def drive(self) -> Any:
        """Run it to its end."""
        assert self.coroutine is not None
        self._task = asyncio.current_task()
        try:
            return await self._steps(self.coroutine)
        except (SoftLimitCancelled, TaskCancelled, BaseExceptionGroup) as exc:
            raised = _interruption_in(exc)
            if raised is None:
                raise
            kind = TaskInterrupted if isinstance(raised, TaskInterrupted) else SoftTimeLimitExceeded
            raise kind().with_traceback(exc.__traceback__) from raised.__cause__
        finally:
            self.coroutine = None

    @types.coroutine
    def _steps(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = self._raised() if self._kind is not None else None
        while True:
            try:
                waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                if Interruptible.after_step is not None:
                    Interruptible.after_step()
            try:
                value, error = (yield waits_for), None
            except asyncio.CancelledError as exc:
                error = self._raised() if self._kind is not None and self._task is not None else exc
            except BaseException as exc:
                error = exc

    def _raised(self) -> BaseException:
        """The interruption, which is raised once; a later cancellation is what it is."""
        kind, self._kind = self._kind, None
        task, self._task = self._task, None
        if task is not None and task.cancelling():
            task.uncancel()
        if kind is not None and issubclass(kind, TaskInterrupted):
            return TaskCancelled()
        return SoftLimitCancelled()


def _interruption_in(exc: BaseException) -> BaseException | None:
    """A task group takes it for an error of its body, and raises it in a group."""
    if isinstance(exc, BaseExceptionGroup):
        return next((found for one in exc.exceptions if (found := _interruption_in(one)) is not None), None)
    return exc if isinstance(exc, SoftLimitCancelled | TaskCancelled) else None
