"""The template: a single-threaded process that has imported the user's modules, and forks warm children.

The first one is a fork of the supervisor's process (``twin.py``), those that follow are started as ``python -m umbel.worker.template``.
It reports the app as data, forks on demand, pipes exit statuses to the supervisor, and ends when the supervisor's end of the socket closes.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import math
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ..broker import Facet
from ..errors import AppNotFound, ConfigError, Fenced, UmbelError
from ..policy import hard_limit_policy
from ..release import consumed
from .catalog import Catalog, TaskFacts
from .child import Birth, be_born, run_child
from .declaring import declared_rules
from .dispatch import wanted
from .herald import run_herald
from .limits import limits_of
from .logs import set_up_logs
from .options import Inherited, WorkerOptions
from .permits import Permits
from .points import reach
from .pooling import run_pooled
from .roster import Rosters
from .slots import Slots
from .title import set_title
from .wire import LONG_IMPORT, Exited, Failed, Fork, Forked, Line, NotForked, Ready

if TYPE_CHECKING:
    from ..app import Umbel

EXIT_CONFIG, EXIT_IMPORT = 2, 3
_NOBODY = "\x00"
"""A holder that was never admitted, and a queue: no name has a control character."""
_HERALD_AGAIN = 1.0
"""Seconds until another herald: a subscriber that kills it would do so again."""
_HERALD_END = 2
"""Seconds that subscribers have for the last events of a worker."""

log = logging.getLogger("umbel.worker")


def queues_of(app: Umbel, options: WorkerOptions) -> list[str]:
    """All that a worker of this release takes from by itself."""
    s = app.settings
    return consumed(options.queues or app.queues(), s.release or "" if s.versioned_queues else "")


def catalog_of(app: Umbel, options: WorkerOptions) -> Catalog:
    """The app as the supervisor needs it."""
    s = app.settings
    facts: dict[str, TaskFacts] = {}
    aliases: dict[str, str] = {}
    for name, task in app.tasks.items():
        soft, hard = limits_of(task.options, s)
        facts[name] = TaskFacts(soft, hard, hard_limit_policy(task.options.retry))
        aliases.update(dict.fromkeys(task.options.aliases, name))
    schedules = app.schedules.declared()
    return Catalog(
        app=s.name,
        broker=s.broker,
        queues=tuple(queues_of(app, options)),
        release=s.release or "",
        versioned=s.versioned_queues,
        tasks=facts,
        rules=declared_rules(app),
        aliases=aliases,
        lease_ttl=s.lease_ttl,
        heartbeat=s.heartbeat,
        shutdown_timeout=s.shutdown_timeout,
        record_ttl=s.record_ttl,
        dead_letter_bytes=s.dead_letter_bytes,
        dead_letter_ttl=s.dead_letter_ttl,
        listens=wanted(app.events),
        schedules=tuple(schedules),
        stamp=app.schedules.stamp(schedules),
        max_memory_per_child=s.max_memory_per_child,
    )


class Template:
    """Forks children and buries them."""

    def __init__(self, app: Umbel, options: WorkerOptions, inherited: Inherited, line: Line[Fork]) -> None:
        self.app = app
        self.options = options
        self.life = inherited.life
        self.events = inherited.events
        self.slots = Slots(inherited.slots, inherited.slot_count)
        self.permits = [Permits(*pair) for pair in inherited.permits]
        self.rosters = Rosters(inherited.rosters, inherited.slot_count, options.beside) if options.beside else None
        self.line = line
        self.pid = os.getpid()
        self.children: set[int] = set()
        self.herald = 0
        """Its process id; 0 while there is none."""
        self._herald_at = 0.0 if wanted(app.events) else math.inf
        """When there shall be one (monotonic)."""
        self._wake, write = os.pipe()
        for fd in (self._wake, write):
            os.set_blocking(fd, False)
        self._wake_write = write

    def serve(self) -> None:
        """Until the supervisor is gone; then its children go too."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.line.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self.line.closed:
            readable = {fd for fd, _ in poll.poll(self._tend_herald())}
            if self._wake in readable:
                os.read(self._wake, 4096)
            self._bury()
            if self.line.fileno() in readable:
                for fork in self.line.receive():
                    self._fork(fork)
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        self._end_herald()

    def _bury(self) -> None:
        while self.children or self.herald:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid == self.herald:
                self.herald = 0
                log.error("the process that tells of events is gone; another one follows")
                self._herald_at = self.app.clock.monotonic() + _HERALD_AGAIN
                continue
            self.children.discard(pid)
            self.line.send(Exited(pid, status))

    def _fork(self, fork: Fork) -> None:
        reach("template.fork")
        try:
            pid = os.fork()
        except OSError as exc:
            self.line.send(NotForked(fork.holder, str(exc)))
            return
        if pid:
            self.children.add(pid)
            reach("template.forked")
            self.line.send(Forked(fork.slot, fork.holder, pid))
            return
        self._live(lambda: self._run_child(fork))

    def _run_child(self, fork: Fork) -> int:
        queues = queues_of(self.app, self.options)
        turn = fork.slot % len(queues)
        queues = queues if self.options.strict else queues[turn:] + queues[:turn]
        birth = Birth(fork.holder, self.slots.child(fork.slot), self.permits[fork.slot], self.life, self.pid, fork.max_memory)
        if self.rosters is not None:
            return run_pooled(self.app, self.options.pool, birth, self.rosters.of(fork.slot), queues, self.options.strict)
        return run_child(self.app, birth, queues, self.options.strict)

    def _tend_herald(self) -> int | None:
        """Fork the herald if it is time; until when to wait otherwise (ms), None for ever."""
        if self.herald or self._herald_at == math.inf:
            return None
        left = self._herald_at - self.app.clock.monotonic()
        if left > 0:
            return int(left * 1000) + 1
        try:
            self.herald = os.fork()
        except OSError as exc:
            log.error("no process to tell of events could be forked (%s); trying again", exc)
            self._herald_at += _HERALD_AGAIN
            return 0
        if not self.herald:
            self._live(self._run_herald)
        return None

    def _run_herald(self) -> int:
        be_born(self.life)
        set_title("herald", self.app.settings.name)
        return run_herald(self.app.events, self.events, self.pid)

    def _end_herald(self) -> None:
        """It was told to end after the last event; a subscriber that hangs does not keep the worker."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        deadline = self.app.clock.monotonic() + _HERALD_END
        while self.herald and not os.waitpid(self.herald, os.WNOHANG)[0]:
            left = deadline - self.app.clock.monotonic()
            if left <= 0:
                os.kill(self.herald, signal.SIGKILL)
                return
            if poll.poll(left * 1000):
                os.read(self._wake, 4096)

    def _live(self, life: Callable[[], int]) -> NoReturn:
        """The whole life of a forked process."""
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            self.line.sock.close()
            status = life()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _load(options: WorkerOptions) -> Umbel:
    from ..loading import load_app

    app = load_app(options.app)
    app.conf.override(**options.settings)
    app.finalize()
    able = app.make_broker().capabilities
    if app.settings.versioned_queues and Facet.SERVES not in able.facets:
        raise ConfigError(f"versioned_queues: the {able.name} broker cannot say which workers live; leave it out")
    if app.schedules.declared() and Facet.TICKS not in able.facets:
        raise ConfigError(f"schedules: the {able.name} broker keeps none; leave them out, or use another broker")
    if not able.shared:
        raise ConfigError(f"the broker {app.settings.broker!r} lives in one process and cannot feed a worker; use sqlite:/// or redis://")
    return app


def _warm_up(app: Umbel) -> None:
    """Have what a first connection, claim and wait import and build in the memory that all children share: 3 to 5 MB for each of
    them. The supervisor connects meanwhile, so nobody waits for this. Nothing is touched: a holder that nobody admitted is
    refused, and the queue does not exist."""
    broker = app.make_broker()
    try:
        broker.open()
        broker.ping()
        broker.wait([_NOBODY], 0.001)
        broker.exchange(_NOBODY, 1, [], [_NOBODY], 1)
    except Fenced:
        pass
    except UmbelError as exc:
        log.debug("the template could not try the broker: %s", exc)
    finally:
        broker.close()  # nothing that is open may be shared


def main(argv: list[str]) -> int:
    """In a fresh interpreter, with the options and what was inherited as JSON."""
    options = msgspec.json.decode(argv[0], type=WorkerOptions)
    inherited = msgspec.json.decode(argv[1], type=Inherited)
    return live(options, inherited, socket.socket(fileno=inherited.control))


def live(options: WorkerOptions, inherited: Inherited, sock: socket.socket) -> int:
    """Import, report, fork until told to end."""
    line: Line[Fork] = Line(sock, Fork)
    set_up_logs(options)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal signals the whole group; only the supervisor decides
    faulthandler.dump_traceback_later(LONG_IMPORT)
    try:
        app = _load(options)
    except AppNotFound as exc:
        line.send(Failed(str(exc), EXIT_IMPORT))
        return EXIT_IMPORT
    except UmbelError as exc:
        line.send(Failed(str(exc), EXIT_CONFIG))
        return EXIT_CONFIG
    except Exception:
        line.send(Failed(f"the app does not import\n{traceback.format_exc()}", EXIT_IMPORT))
        return EXIT_IMPORT
    finally:
        faulthandler.cancel_dump_traceback_later()  # it has a thread, and nothing that forks may have one
    line.send(Ready(catalog_of(app, options)))
    set_title("template", app.settings.name)
    _warm_up(app)
    gc.collect()
    gc.freeze()  # what is here now is shared by all children: the collector must not touch, and so copy, its pages
    Template(app, options, inherited, line).serve()
    return 0


if __name__ == "__main__":
    arguments, sys.argv[1:] = sys.argv[1:], []  # they are not for the user's modules
    os._exit(main(arguments))
