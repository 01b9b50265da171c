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
from typing import Any, Protocol

from ...errors import SoftTimeLimitExceeded
from ..softlimit import is_swallowed
from .coroutine import Interruptible


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise in a thread when it goes on; None: not any more."""
    given = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), given)


class Waits(Protocol):
    """How a thread waits for a coroutine that a task answered with."""

    def __call__(self, interruptible: Interruptible) -> Any: ...


class Aim:
    """One run's code in one thread, as somebody else may interrupt it. See ``run.Strike``."""

    __slots__ = ("_asked", "_awaited", "_thread", "_token")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._token: list[bool] = []
        self._asked = False
        self._awaited: tuple[asyncio.AbstractEventLoop, Interruptible] | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, with what a strike raises in it. On the run's thread, once."""
        try:
            self._token.append(True)
            return function(*args)
        finally:
            # A strike may still be raised at any of these lines: it comes out of this call, and there is only one
            self._disarm()

    def _disarm(self) -> None:
        try:
            self._token.pop()
            return  # nobody has struck, and nobody can any more
        except IndexError:
            pass
        while not self._asked:
            time.sleep(0)
        _raise_in(self._thread, None)

    def strike(self, kind: type[SoftTimeLimitExceeded]) -> bool:
        """See ``run.Strike``."""
        awaited = self._awaited
        if awaited is None and is_swallowed(sys._current_frames().get(self._thread)):
            return False
        try:
            self._token.pop()
        except IndexError:
            return False
        try:
            if awaited is None:
                _raise_in(self._thread, kind)
            else:
                loop, interruptible = awaited
                loop.call_soon_threadsafe(interruptible.interrupt, kind)
        finally:
            self._asked = True
        return True

    def awaits(self, loop: asyncio.AbstractEventLoop, interruptible: Interruptible) -> None:
        """From now on this thread waits for a coroutine that runs on ``loop``."""
        self._awaited = (loop, interruptible)

    def goes_on(self) -> None:
        """It waits no more."""
        self._awaited = None


class OwnLoop:
    """A thread's own event loop, on which coroutines run to their end, one at a time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, aim: Aim, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
        interruptible = Interruptible(coroutine)
        task = loop.create_task(interruptible.drive())
        try:
            aim.awaits(loop, interruptible)
            return loop.run_until_complete(task)
        finally:
            aim.goes_on()
            if not task.done():
                self._abandon(loop, task)

    def _abandon(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """The strike was raised in the loop itself, in the moment before the coroutine was known: another loop from now on."""
        self._loop = None
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
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
        try:
            aim.awaits(self._loop, interruptible)
            self._loop.call_soon_threadsafe(lambda: tasks.append(self._loop.create_task(live(), context=context)))
            return done.result()
        finally:
            aim.goes_on()
            if not done.done():
                self._loop.call_soon_threadsafe(interruptible.interrupt, SoftTimeLimitExceeded)


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
