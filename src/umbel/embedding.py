"""A worker inside of another program's process: what is asked of it, and where it must not be started.

The worker itself lives in ``umbel.worker`` and is found by an entry point, as brokers are: who only sends calls never loads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Protocol

from .errors import ConfigError

_TRUE = frozenset({"1", "true", "yes", "on"})


class StartedWorker(Protocol):
    """A worker that runs on threads of this process. As a context manager it is stopped at the end of the block."""

    @property
    def running(self) -> bool:
        """Is it at work in this process? False once it was told to stop, in a process that was forked from the one in which it
        was started, and where it was not started at all (see ``Umbel.start_worker``)."""
        ...

    @property
    def ready(self) -> bool:
        """Has the broker admitted it? It keeps trying by itself."""
        ...

    def stop(self, timeout: float | None = None) -> bool:
        """Begin nothing more, give back what is not begun, and let what runs finish for ``timeout`` seconds (None: the setting
        ``shutdown_timeout``); then interrupt it, and give it back, uncharged.

        True if everything ended by itself. Blocks until it is done; twice is once. Raises ``WorkerError`` in one of its own tasks.
        """
        ...

    def __enter__(self) -> StartedWorker: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class NoWorker:
    """Stands for a worker where none is to run: in a process that only watches files for another one."""

    running = ready = False

    def stop(self, timeout: float | None = None) -> bool:
        """There is nothing to stop."""
        return True

    def __enter__(self) -> NoWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to do."""


def start_worker(app: Any, threads: Any, queues: Sequence[str], strict: bool, name: str) -> StartedWorker:
    """See ``Umbel.start_worker``."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1000:
        raise ConfigError(f"start_worker(threads={threads!r}): it must be a whole number from 1 to 1000")
    if isinstance(queues, str):
        raise ConfigError(f"start_worker(queues={queues!r}): it must be a list of names, such as [{queues!r}]")
    if patched_threads(sys.modules):
        raise ConfigError(
            "start_worker() needs real threads, and gevent or eventlet has replaced them; run `umbel worker` as a process of its own"
        )
    if only_watches(os.environ, sys.argv):
        import logging

        logging.getLogger("umbel.worker").info("this process only watches files: the worker runs in the one that serves")
        return NoWorker()
    found = next(iter(entry_points(group="umbel.workers", name="threads")), None)
    if found is None:
        raise ConfigError("start_worker(): umbel's entry points are not there; install it with pip, not by copying its files")
    start: Callable[..., StartedWorker] = found.load()
    return start(app, threads=threads, queues=tuple(queues), strict=strict, name=name)


def patched_threads(modules: Mapping[str, Any]) -> bool:
    """Are threads of this process made of something else?"""
    gevent, eventlet = modules.get("gevent.monkey"), modules.get("eventlet.patcher")
    return bool(gevent and gevent.is_module_patched("threading")) or bool(eventlet and eventlet.is_monkey_patched("thread"))


def only_watches(environment: Mapping[str, str], arguments: Sequence[str]) -> bool:
    """Is this the parent that a reloader keeps: it imports the app too, serves nothing, and starts the process that does?"""
    if "runserver" in arguments and "django" in sys.modules:
        return "--noreload" not in arguments and environment.get("RUN_MAIN") != "true"
    if environment.get("FLASK_RUN_FROM_CLI") == "true" and "run" in arguments:
        debug = environment.get("FLASK_DEBUG", "").lower() in _TRUE
        reloads = "--no-reload" not in arguments and (debug or "--reload" in arguments)
        return reloads and environment.get("WERKZEUG_RUN_MAIN") != "true"
    return False
