"""The ``asyncio`` pool: coroutines beside each other on one event loop, plain functions on threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Coroutine
from functools import partial
from types import FrameType
from typing import Any

from ...errors import SoftTimeLimitExceeded
from ...outcome import Outcome
from ..executor import Executor, end_fork
from ..hand import Hand
from ..interruptible import Interruptible
from ..run import Host, Run
from .aim import Guard, OwnLoop, SharedLoop
from .threads import Threads

BLOCKED = 0.5
"""Seconds without a turn of the loop after which it counts as blocked."""
_OURS = "umbel.worker"
_SHOWN = 50
"""Coroutines whose places are shown at once."""


class CoroutineAim:
    """A run on the loop, as somebody else may interrupt it. See ``run.Strike``."""

    __slots__ = ("_loop", "interruptible")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.interruptible: Interruptible | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """See ``executor.Drive``."""
        self.interruptible = Interruptible(coroutine)
        return self.interruptible.drive()

    def strike(self, kind: type[SoftTimeLimitExceeded]) -> bool:
        """See ``run.Strike``."""
        if self.interruptible is None:
            return False
        self._loop.call_soon_threadsafe(self.interruptible.interrupt, kind)
        return True


class LoopPool:
    """One loop on a thread of its own: the thread of the process that claims and settles is never behind a task."""

    def __init__(self, host: Host, hand: Hand, most: int) -> None:
        self._host = host
        self._hand = hand
        self._loop = asyncio.new_event_loop()
        self._context = contextvars.copy_context()
        """What every run begins with a copy of."""
        self._executor = host.executor(Guard(OwnLoop()))
        self._plain: deque[Run] = deque()
        self._threads = Threads(_PlainHost(host, self), self._next_plain, most, lambda: SharedLoop(self._loop))
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._poked = False
        self._asked = self._turned = 0.0
        self._thread = threading.Thread(target=self._live, name="umbel-loop", daemon=True)

    # -- the exchanging loop

    def start(self) -> None:
        """Once."""
        os.register_at_fork(after_in_child=self._forked)
        self._thread.start()

    def poke(self, count: int) -> None:
        """Deliveries wait in the hand."""
        if not self._poked:
            self._poked = True
            self._loop.call_soon_threadsafe(self._fill)

    def stop(self) -> None:
        """Once nothing runs any more. Twice is once."""
        self._threads.stop()
        self._threads.join()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    @property
    def executors(self) -> list[Executor]:
        return [self._executor, *self._threads.executors]

    # -- the watchdog

    def blocked(self, now: float) -> str:
        """Where the loop has hung for too long; empty if it turns. To be asked a few times a second while anything runs."""
        if self._asked <= self._turned:
            self._asked = now
            self._loop.call_soon_threadsafe(self._turn, now)
        elif now - self._asked > BLOCKED:
            return "".join(traceback.format_stack(self._frame()))
        return ""

    def describe(self) -> list[str]:
        """Where the coroutines wait."""
        tasks = list(self._tasks.values())
        lines = [f"{task.get_name()}: {_place(task)}" for task in tasks[:_SHOWN]]
        return lines + ([f"and {len(tasks) - _SHOWN} more"] if len(tasks) > _SHOWN else [])

    def _turn(self, asked: float) -> None:
        self._turned = asked

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._thread.ident or 0)

    # -- the loop's thread

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
                break
            except BaseException as exc:
                # SystemExit of a task that a task left behind ends the loop's turn, and nothing else
                if not isinstance(exc, SystemExit | KeyboardInterrupt):
                    return self._host.broken(exc)
        self._loop.close()

    def _fill(self) -> None:
        self._poked = False
        try:
            while (run := self._hand.begin()) is not None:
                self._begin(run)
        except BaseException as exc:
            self._host.broken(exc)

    def _begin(self, run: Run) -> None:
        if self._executor.may_run_beside(run.prepared):
            aim = CoroutineAim(self._loop)
            run.aim = aim
            task = self._tasks[run.key] = self._loop.create_task(self._beside(run, aim), context=self._context.copy())
            task.add_done_callback(partial(self._over, run))
        else:
            self._plain.append(run)
            self._threads.poke(1)

    async def _beside(self, run: Run, aim: CoroutineAim) -> None:
        try:
            self._host.began(run)
            outcome = await self._executor.run_beside(run.prepared, aim.drive)
            del self._tasks[run.key]
            self._host.ended(run, outcome)
            following = self._hand.begin()
            if following is not None:
                self._begin(following)
        except BaseException as exc:
            self._tasks.pop(run.key, None)
            self._host.broken(exc)

    def _over(self, run: Run, task: asyncio.Task[None]) -> None:
        """Some code cancelled it before its first line, so that ``_beside`` was never entered: it fails as if it had been in it."""
        if self._tasks.pop(run.key, None) is None:
            return
        try:
            self._host.ended(run, self._executor.cut_off(run.prepared, asyncio.CancelledError()))
            self._fill()
        except BaseException as exc:
            self._host.broken(exc)

    # -- plain functions

    def _next_plain(self) -> Run | None:
        try:
            return self._plain.popleft()
        except IndexError:
            return None

    # -- a process that a task forked

    def _forked(self) -> None:
        """The copy of a task may go on to its own end; the loop and all other coroutines on it are its parent's."""
        if threading.current_thread() is self._thread:
            Interruptible.after_step = _leave


class _PlainHost:
    """The host of plain functions: where one has ended there is room for the next."""

    def __init__(self, host: Host, pool: LoopPool) -> None:
        self._pool = pool
        self.executor, self.began, self.broken = host.executor, host.began, host.broken
        self._ended = host.ended

    def ended(self, run: Run, outcome: Outcome) -> None:
        """See ``Host``."""
        self._ended(run, outcome)
        self._pool.poke(1)


def _leave() -> None:
    exc = sys.exc_info()[1]
    end_fork(SystemExit(0) if exc is None or isinstance(exc, StopIteration) else exc)


def _place(task: asyncio.Task[None]) -> str:
    """Where a coroutine waits: the coroutines that await each other, the task's own first."""
    places = list[str]()
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and not frame.f_globals.get("__name__", "").startswith(_OURS):
            places.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
        awaited = _awaited_by(awaited, frame)
    return " > ".join(places) or "?"


def _awaited_by(coroutine: Any, frame: FrameType | None) -> Any:
    inner: Any = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    if inner is None and frame is not None and frame.f_code.co_name == "_steps":
        return frame.f_locals.get("coroutine")  # driven by hand, so it is not seen as awaited
    return inner
