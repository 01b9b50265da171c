"""What stands around a task that is run in the test's own thread: nothing but a note of how it ended, and a loop for coroutines."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class InlineGuard:
    """The executor's guard of a stepped worker. Time limits are not watched: nobody could interrupt the test.

    A coroutine runs on a loop of the worker's own, which lives as long as the worker, as a child's does; while the test itself
    is inside a running loop, on a thread beside it, or, with ``home``, on that very loop.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.home: asyncio.AbstractEventLoop | None = None
        """The test's loop, which waits for this run in an ``await``."""
        self._runner: asyncio.Runner | None = None
        self._beside: ThreadPoolExecutor | None = None

    def forget(self) -> None:
        """Forget how the last run ended."""
        self.value = self.error = None

    def call(self, version: int, function: Callable[..., Any], /, *args: Any) -> Any:
        try:
            self.value = function(*args)
        except BaseException as exc:
            self.error = exc
            raise
        return self.value

    def wait_for(self, coroutine: Coroutine[Any, Any, Any], /) -> Any:
        if self.home is not None:
            return asyncio.run_coroutine_threadsafe(coroutine, self.home).result()
        context = contextvars.copy_context()
        if _in_loop():
            return self._elsewhere().submit(self._run, coroutine, context).result()
        return self._run(coroutine, context)

    def _elsewhere(self) -> ThreadPoolExecutor:
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, thread_name_prefix="umbel-testing")
        return self._beside

    def _run(self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> Any:
        if self._runner is None:  # a factory of its own keeps it from being set as the thread's current loop, which is the test's
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        return self._runner.run(coroutine, context=context)

    def close(self) -> None:
        """Cancel what coroutines left behind, and let go of loop and thread."""
        runner, self._runner = self._runner, None
        if runner is not None:
            if _in_loop():
                self._elsewhere().submit(runner.close).result()
            else:
                runner.close()
        if self._beside is not None:
            self._beside.shutdown()
            self._beside = None


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
