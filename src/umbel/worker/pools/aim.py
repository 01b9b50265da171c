"""Interrupting a thread: an exception raised in the run that it was meant for, or not at all.

CPython raises it between two of the thread's instructions, some time after it was asked to. So a run takes a token along: who
takes it from the list first, the one who strikes or the thread whose run has ended, decides. A thread that finds it taken waits
until the strike was asked for, and then withdraws it if it has not been raised yet. Nothing is left for the next run, and
nobody holds a lock that an exception could leave locked. A thread that waits in C code (a read, ``time.sleep``) sees the
exception when that returns, and not before.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from ...errors import SoftTimeLimitExceeded
from ..interruptible import Interruptible
from ..softlimit import is_swallowed


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise in a thread when it goes on; None: not any more."""
    given = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), given)


Target = tuple[asyncio.AbstractEventLoop, Interruptible]
"""A coroutine that a thread waits for, and the loop that it runs on."""


class Aim:
    """One run's code in one thread, as somebody else may interrupt it. See ``run.Strike``."""

    __slots__ = ("_asked", "_thread", "_token")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._token: list[Target | None] = []
        """What is to be struck, once: a coroutine, or None for the thread itself. Empty while nothing may be, or has been."""
        self._asked = False

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, with what a strike raises in it. On the run's thread, once."""
        try:
            self._token.append(None)
            return function(*args)
        finally:
            # A strike may still be raised at any of these lines: it comes out of this call, and there is only one
            self._disarm()

    def _disarm(self) -> bool:
        """Let nothing be raised in this thread any more. False if a strike was faster: it has been raised by now, or is
        withdrawn, or went to a coroutine."""
        try:
            self._token.pop()
            return True  # nobody has struck, and nobody can any more
        except IndexError:
            pass
        while not self._asked:
            time.sleep(0)
        _raise_in(self._thread, None)
        return False

    def strike(self, kind: type[SoftTimeLimitExceeded]) -> bool:
        """See ``run.Strike``."""
        if self._token[-1:] == [None] and is_swallowed(sys._current_frames().get(self._thread)):
            return False
        try:
            target = self._token.pop()
        except IndexError:
            return False
        try:
            if target is None:
                _raise_in(self._thread, kind)
            else:
                target[0].call_soon_threadsafe(target[1].interrupt, kind)
        finally:
            self._asked = True
        return True

    def waits(self, wait: Callable[[], Any], target: Target) -> Any:
        """``wait()``, in which the thread waits for a coroutine: a strike is for that, and never raised in a loop's own code."""
        try:
            self._token.pop()
        except IndexError:
            self._is_struck()
        else:
            self._token.append(target)
        try:
            return wait()
        finally:
            if self._token[-1:] == [target] and self._disarm():
                self._token.append(None)

    def _is_struck(self) -> None:
        """A strike that was asked for just now is raised here, and not in what follows. An earlier one has been."""
        while not self._asked:
            time.sleep(0)
        for _ in range(2):
            time.sleep(0)


class OwnLoop:
    """A thread's own event loop, on which coroutines run to their end, one at a time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, aim: Aim, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end."""

        def wait() -> Any:
            return self._made().run_until_complete(interruptible.drive())

        interruptible = Interruptible(coroutine)
        return aim.waits(wait, (self._made(), interruptible))

    def _made(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def close(self) -> None:
        """For a thread that ends, in a process that goes on: cancel what coroutines left behind."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


class SharedLoop:
    """The loop of a pool, on which a thread has its coroutine run, and waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, aim: Aim, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end, beside others."""
        done: Future[Any] = Future()
        interruptible = Interruptible(coroutine)

        async def live() -> None:
            try:
                value = await interruptible.drive()
            except BaseException as exc:  # handed over to the thread that waits, whatever it is
                done.set_exception(exc)
            else:
                done.set_result(value)

        tasks: list[asyncio.Task[None]] = []  # a loop keeps no task alive
        context = contextvars.copy_context()

        def over(task: asyncio.Task[None]) -> None:
            if not done.done():  # cancelled by some code before it was entered
                coroutine.close()
                done.set_exception(asyncio.CancelledError())

        def begin() -> None:
            tasks.append(self._loop.create_task(live(), context=context))
            tasks[0].add_done_callback(over)

        def wait() -> Any:
            self._loop.call_soon_threadsafe(begin)
            return done.result()

        return aim.waits(wait, (self._loop, interruptible))

    def close(self) -> None:
        """It is the pool's."""


class Guard:
    """What an ``Executor`` runs a thread's tasks in. One per thread; a run's aim is new each time."""

    def __init__(self, loop: OwnLoop | SharedLoop) -> None:
        self._loop = loop
        self.aim = Aim()

    def call(self, version: int, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)`` with what may be raised in it. ``version`` says nothing here."""
        return self.aim.call(function, *args)

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end. For use inside ``call``."""
        return self._loop.run(self.aim, coroutine)

    def close(self) -> None:
        """The thread ends."""
        self._loop.close()
