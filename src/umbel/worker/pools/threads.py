"""The ``threads`` pool: each run on a thread of its own, of which there are at most so many."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable

from ..executor import Executor
from ..hand import Hand
from ..run import Host, Run
from .aim import Aim, Guard, OwnLoop, SharedLoop

log = logging.getLogger("umbel.worker")


class Threads:
    """Threads that take runs from ``begin`` until it has none, and then wait for ``poke``. Made as they are needed."""

    def __init__(self, host: Host, begin: Callable[[], Run | None], most: int, loop: Callable[[], OwnLoop | SharedLoop]) -> None:
        """``loop`` makes, for each thread, that on which its coroutines run."""
        self._host = host
        self._begin = begin
        self._most = most
        self._loop = loop
        self._context = contextvars.copy_context()
        """What every run begins with a copy of."""
        self._change = threading.Condition()
        self._idle = self._called = 0
        """Threads that wait, and how many of these were called."""
        self._stopping = False
        self.threads: list[threading.Thread] = []
        self.executors: list[Executor] = []

    def poke(self, count: int) -> None:
        """``count`` more could begin."""
        with self._change:
            called = min(count, self._idle - self._called)
            self._called += called
            self._change.notify(called)
            born = min(count - called, self._most - len(self.threads))
            for _ in range(born):
                self._bear()

    def _bear(self) -> None:
        thread = threading.Thread(target=self._live, name=f"umbel-task-{len(self.threads)}", daemon=True)
        self.threads.append(thread)  # first: what it runs may ask at once whether it is one of these
        try:
            thread.start()
        except RuntimeError as exc:  # the system has no room for one: those that there are go on, and what waits goes to others
            self.threads.remove(thread)
            log.error("no thread could be started (%s); %d run tasks", exc, len(self.threads))

    def stop(self) -> None:
        """Let threads that run nothing end. Twice is once."""
        with self._change:
            self._stopping = True
            self._called = self._idle
            self._change.notify_all()

    def join(self) -> None:
        """Wait for all of them, after ``stop``."""
        for thread in self.threads:
            thread.join()

    def _live(self) -> None:
        guard = Guard(self._loop())
        executor = self._host.executor(guard)
        self.executors.append(executor)
        try:
            while (run := self._next()) is not None:
                guard.aim = run.aim = Aim()
                self._host.began(run)
                outcome = self._context.copy().run(executor.run, run.prepared, 0)
                self._host.ended(run, outcome)
                del run, outcome  # a thread that waits keeps nothing of its last run
        except BaseException as exc:  # nobody would ever settle what runs here
            self._host.broken(exc)
        finally:
            guard.close()

    def _next(self) -> Run | None:
        run = self._begin()
        if run is not None:
            return run
        with self._change:
            while not self._stopping:
                run = self._begin()
                if run is not None:
                    return run
                self._idle += 1
                self._change.wait()
                self._idle -= 1
                self._called -= 1
        return None


class ThreadsPool:
    """Takes what is in the hand, and runs it."""

    def __init__(self, host: Host, hand: Hand, most: int) -> None:
        self._threads = Threads(host, hand.begin, most, OwnLoop)

    def start(self) -> None:
        """Nothing to do: threads are made as they are needed."""

    def poke(self, count: int) -> None:
        """``count`` deliveries wait in the hand."""
        self._threads.poke(count)

    def stop(self) -> None:
        """Once nothing runs any more. Twice is once."""
        self._threads.stop()
        self._threads.join()

    def dismiss(self) -> None:
        """Let threads end as soon as they run nothing, and do not wait for them. Twice is once."""
        self._threads.stop()

    @property
    def threads(self) -> list[threading.Thread]:
        """All that were made."""
        return self._threads.threads

    @property
    def executors(self) -> list[Executor]:
        return self._threads.executors

    def blocked(self, now: float) -> str:
        """No loop, so none is blocked."""
        return ""

    def describe(self) -> list[str]:
        """``faulthandler`` shows all threads."""
        return []
