"""A worker on threads of a process that is somebody else's: a web server's, mostly.

The keeper does here what a supervisor does for children: it has the heartbeat (``lease.py``) and the clerk (``clerk.py``) on
threads of their own, has a holder admitted, gives back what waits behind long tasks, does its share of the upkeep, and
takes leave. The differences: the lease is renewed by a thread of this very process, so a task that holds the interpreter for longer
than ``lease_ttl`` loses it; no signal is touched; and nobody is killed (``resident.py``). A fork copies none of it.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING
from weakref import WeakSet

from ..broker import Facet
from ..errors import ConfigError, WorkerError
from ..events import LeaseLost, Reconnected
from ..message import new_id
from ..request import current
from .banner import about
from .cancels import Cancels
from .clerk import Clerk
from .declaring import Declaring
from .hostages import Hostages
from .lease import Lease
from .options import WorkerOptions
from .resident import Resident
from .scheduler import Scheduler
from .slots import Command
from .template import catalog_of
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..app import Umbel

_TICK_BUSY, _TICK_IDLE = 0.05, 0.5
_GRACE = 3.0
"""Seconds that interrupted tasks have to clean up."""
_AGAIN = 1.0
"""Seconds before a holder is asked for again."""
_FAREWELL, _FAREWELL_AWAY = 5.0, 0.5
"""Seconds for the broker's answer to the last calls: when it answered of late, and when it is known to be away."""

_LATE = "tasks did not end when interrupted: they are given back, though they go on until this process ends"
_UNSETTLED = "the broker does not answer: what was finished last is not settled, and runs again elsewhere"

log = logging.getLogger("umbel.worker")


class Phase(IntEnum):
    """How far the shutdown has come."""

    RUNNING = 0
    DRAINING = 1
    INTERRUPTING = 2
    LEAVING = 3


class EmbeddedWorker:
    """See ``embedding.StartedWorker``. What is not public belongs to the keeper's thread."""

    def __init__(self, app: Umbel, options: WorkerOptions) -> None:
        self._app, self._options, self._clock = app, options, app.clock
        self._catalog = catalog_of(app, options)
        self.worker = f"{options.name or os.uname().nodename}.{os.getpid()}.{new_id(app.clock.now())[-12:]}"
        self._news = threading.Event()
        self._stop_asked = threading.Event()
        self._over = threading.Event()
        self._span = app.settings.shutdown_timeout
        self._phase, self._deadline = Phase.RUNNING, 0.0
        self._clean = True
        self._forked = False
        self._numbers = itertools.count(1)
        self._resident: Resident | None = None
        self._asking, self._not_before = False, 0.0
        info = about(options, self._catalog, app.clock.now())
        self._clerk = Clerk(app.make_broker(), self._news.set)
        heart = app.make_broker(reply_timeout=self._catalog.heartbeat)
        self._lease = Lease(heart, self.worker, self._catalog.lease_ttl, self._catalog.heartbeat, info, self._clock, self._news.set)
        self._say_served()
        self._upkeep = Upkeep(self._clerk, self._lease, self._catalog.lease_ttl, self._clock, app.events.emit)
        self._declaring = Declaring(self._clerk, self._clock)
        self._declaring.say(self._catalog.rules)
        self._scheduler = Scheduler(self._clerk, self._lease, self._clock, app.events.emit)
        self._scheduler.declare(self._catalog.schedules, self._catalog.stamp)
        self._hostages = Hostages(self._clerk, self._clock)
        self._cancels: Cancels[Resident] = Cancels(self._clerk, self._clock, lambda resident, receipt, _: resident.end_run(receipt))
        self._unretired: list[str] = []
        """Holders of the past that the store has not given up yet, for all that is known."""
        self._retire_at = 0.0
        self._thread = threading.Thread(target=self._keep, name="umbel-keeper", daemon=True)

    # -- for everybody

    @property
    def running(self) -> bool:
        """See ``embedding.StartedWorker``."""
        return not self._forked and self._thread.is_alive() and not self._stop_asked.is_set()

    @property
    def ready(self) -> bool:
        """See ``embedding.StartedWorker``."""
        return self.running and self._resident is not None and self._resident.settler.seq > 0

    def start(self) -> None:
        """Begin; the broker may be away. Once."""
        _all.add(self)
        atexit.register(self.stop)
        self._clerk.start()
        self._lease.start()
        self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """See ``embedding.StartedWorker``."""
        if self._forked:
            return True
        resident = self._resident
        if threading.current_thread() in ([self._thread] + (resident.threads() if resident is not None else [])):
            raise WorkerError("a task cannot stop the worker that runs it: it would wait for its own end")
        if timeout is not None and not self._stop_asked.is_set():
            self._span = max(0.0, timeout)
        self._stop_asked.set()
        self._news.set()
        self._over.wait()
        self._thread.join()
        atexit.unregister(self.stop)
        return self._clean

    def __enter__(self) -> EmbeddedWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<worker {self.worker}, {'running' if self.running else 'not running'} in process {os.getpid()}>"

    # -- forks

    def forked(self) -> None:
        """In a process that was forked from this one: its threads are not here, and what is open is the other's."""
        was, self._forked = not self._stop_asked.is_set() and not self._over.is_set(), True
        resident = self._resident
        if resident is not None:
            resident.let_go()
        if was and current.get() is None:  # a task that forks knows what it does
            log.warning(
                "worker %s was not forked with its process: call app.start_worker() in the new process (%d) if it is to run tasks",
                self.worker,
                os.getpid(),
            )

    # -- the keeper's thread

    def _keep(self) -> None:
        try:
            while not self._done():
                self._news.wait(min(_TICK_BUSY if self._busy else _TICK_IDLE, self._scheduler.left(self._phase is Phase.RUNNING)))
                self._news.clear()
                self._turn()
        except BaseException:
            log.exception("embedded worker: its keeper failed; others will rescue what is left")
            self._clean = False
        finally:
            self._end()

    @property
    def _busy(self) -> bool:
        resident = self._resident
        return self._phase > Phase.RUNNING or (resident is not None and not resident.hand.empty)

    def _done(self) -> bool:
        return self._phase > Phase.RUNNING and self._resident is None

    def _turn(self) -> None:
        self._clerk.deliver()
        self._take_news()
        self._upkeep.turn()
        self._declaring.turn()
        self._cancels.turn([self._resident] if self._resident is not None else [])
        self._retire_left()
        self._scheduler.turn(self._phase is Phase.RUNNING)
        if self._stop_asked.is_set():
            self._advance_shutdown()
        if self._resident is not None:
            self._tend(self._resident)
        elif self._phase is Phase.RUNNING and self._lease.began and not self._asking and self._clock.monotonic() >= self._not_before:
            self._apply(f"{self.worker}/{next(self._numbers)}")

    def _take_news(self) -> None:
        if self._lease.forgotten:
            self._lease.forgotten = False
            log.error("this worker's lease was taken: its threads begin anew, and what still runs counts for nothing")
            self._app.events.emit(LeaseLost(worker=self.worker, holders=1))
            self._lose()
        while self._lease.lost:
            self._lose(self._lease.lost.popleft())
        while self._lease.away:
            away = self._lease.away.popleft()
            log.warning("broker: it answers again after %.1f s", away)
            self._app.events.emit(Reconnected(away=away))
        while self._lease.commands:
            command = self._lease.commands.popleft()
            if command.do == "cancel":
                self._cancels.add(command.id)

    def _lose(self, holder: str | None = None) -> None:
        """What the resident holds is not ours any more; None: whatever its name is."""
        resident = self._resident
        if resident is not None and holder in (None, resident.holder) and not resident.fenced:
            resident.lose()

    # -- the resident

    def _apply(self, holder: str) -> None:
        self._asking = True
        self._clerk.ask(
            lambda broker: broker.admit(self.worker, holder),
            lambda _: self._admitted(holder),
            lambda error: self._not_admitted(holder, error),
        )

    def _admitted(self, holder: str) -> None:
        self._asking = False
        if self._phase > Phase.RUNNING:
            return  # taking leave withdraws the admission
        queues = list(self._catalog.queues)
        self._resident = Resident(self._app, holder, self._options.concurrency, queues, self._options.strict, self._news.set)
        self._resident.thread.start()
        log.info("%s: at work on %d threads of process %d", self.worker, self._options.concurrency, os.getpid())

    def _not_admitted(self, holder: str, error: Exception) -> None:
        """Whether it was done is not known: the name is given up."""
        self._asking, self._not_before = False, self._clock.monotonic() + _AGAIN
        log.warning("embedded worker is not admitted yet: %s", error)
        self._retire(holder)

    def _retire(self, holder: str) -> None:
        """Until the store says that it is done: what that holder had would stay with us for as long as we live."""
        self._clerk.ask(lambda broker: broker.retire(holder), lambda _: None, lambda error: self._not_retired(holder, error))

    def _not_retired(self, holder: str, error: Exception) -> None:
        log.warning("what was in hand is given back later: %s", error)
        self._unretired.append(holder)
        self._retire_at = self._clock.monotonic() + _AGAIN

    def _retire_left(self) -> None:
        if self._unretired and self._clock.monotonic() >= self._retire_at:
            left, self._unretired = self._unretired, []
            for holder in left:
                self._retire(holder)

    def _tend(self, resident: Resident) -> None:
        if resident.over.is_set():
            self._resident = None
            self._not_before = self._clock.monotonic() + _AGAIN
            self._clean = resident.dismiss(_FAREWELL) and self._clean
            return self._retire(resident.holder)
        if resident.overdue(self._clock.monotonic()):
            resident.notify()
        self._hostages.turn(resident, leaving=self._phase > Phase.RUNNING)

    # -- the shutdown

    def _advance_shutdown(self) -> None:
        now = self._clock.monotonic()
        if self._phase is Phase.RUNNING:
            self._phase, self._deadline = Phase.DRAINING, now + self._span
            self._say_served()
            log.info("%s: shutting down: up to %g s for what runs", self.worker, self._span)
            self._order(Command.QUIET)
        elif self._phase is Phase.DRAINING and now >= self._deadline:
            self._phase, self._deadline, self._clean = Phase.INTERRUPTING, now + _GRACE, False
            log.warning("the drain ran out of time: interrupting what runs; it is given back, uncharged")
            self._order(Command.INTERRUPT)
        elif self._phase is Phase.INTERRUPTING and now >= self._deadline:
            self._phase = Phase.LEAVING
            if self._resident is not None:
                log.error("%s", _LATE if self._resident.hand.running else _UNSETTLED)
                self._resident.abandon()

    def _say_served(self) -> None:
        """With versioned queues callers must know which ones have a worker; one that drains has none."""
        if self._catalog.versioned:
            self._lease.serves = self._catalog.queues if self._phase is Phase.RUNNING else ()

    def _order(self, command: Command) -> None:
        if self._resident is not None:
            self._resident.order(command)

    def _end(self) -> None:
        try:
            self._take_leave()
        finally:
            self._clerk.stop()
            _all.discard(self)
            self._over.set()

    def _take_leave(self) -> None:
        span = _FAREWELL if self._lease.answering_since() is not None else _FAREWELL_AWAY
        quiet = self._lease.stop(span)  # first, lest a late heartbeat makes the worker known again
        left = self._clerk.last(lambda broker: broker.leave(self.worker), span)
        if left and not quiet and self._lease.stop(span):
            left = self._clerk.last(lambda broker: broker.leave(self.worker), span)
        if not left:
            log.warning("could not take leave of the broker: others will rescue what is left, after %g s", self._catalog.lease_ttl)


_all: WeakSet[EmbeddedWorker] = WeakSet()
_of_the_parent: list[EmbeddedWorker] = []
"""Kept, so that no destructor closes, in a forked process, what the other one still uses."""


def _after_fork() -> None:
    for worker in list(_all):
        worker.forked()
        _of_the_parent.append(worker)
        _all.discard(worker)


os.register_at_fork(after_in_child=_after_fork)


def start(app: Umbel, *, threads: int, queues: tuple[str, ...], strict: bool, name: str) -> EmbeddedWorker:
    """See ``Umbel.start_worker``."""
    if any(worker._app is app and worker.running for worker in _all):
        raise WorkerError("a worker of this app runs in this process already; keep what start_worker() returned, and stop that one first")
    if app.settings.broker in ("memory:", "memory://"):
        raise ConfigError(
            "memory:// is a store of its own for each who opens it: give it a name, memory://NAME, that sender and worker share"
        )
    able = app.make_broker().capabilities
    if app.settings.versioned_queues and Facet.SERVES not in able.facets:
        raise ConfigError(f"versioned_queues: the {able.name} broker cannot say which workers live; leave it out")
    app.finalize()
    options = WorkerOptions(app="", pool="threads", concurrency=threads, queues=queues, strict=strict, name=name)
    worker = EmbeddedWorker(app, options)
    worker.start()
    return worker
