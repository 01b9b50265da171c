"""The supervisor: runs no user code; owns the lease, the children's lives, limits, rescue and the shutdown.

One thread does everything here, and never calls the broker: the heartbeat (``lease.py``) and all other calls (``clerk.py``)
have threads of their own, and only hand over what they heard. Signals only set flags and wake the loop.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable
from enum import IntEnum

import msgspec

from ..broker import BrokerSettings
from ..brokers import make_broker
from ..clock import SYSTEM, Clock
from ..errors import BrokerError
from ..events import Emitter, LeaseLost, Reconnected
from ..message import new_id
from .banner import about, concerns_of, print_banner, tell_concerns
from .catalog import Catalog
from .clerk import Clerk
from .declaring import Declaring
from .dispatch import Dispatch
from .lease import Lease
from .logs import LINES, set_up_logs
from .memory import shown
from .nursery import Pipes
from .options import WorkerOptions
from .points import reach
from .reload import SourceWatch, drop_bytecode, named
from .scheduler import Scheduler
from .shift import INTERRUPT_GRACE, Shift
from .templates import TemplateProcess
from .title import set_title
from .twin import Twin, split
from .upkeep import Upkeep
from .wire import Failed, Ready

EXIT_UNREACHABLE, EXIT_DRAIN = 69, 75
_TICK_BUSY, _TICK_IDLE = 0.05, 0.2
_BURIAL = 5.0
"""Seconds for a broker that is away, or a template that does not answer, before a killed worker ends without them."""

_FAREWELL, _FAREWELL_AWAY = 5.0, 0.5
"""Seconds for the broker's answer to each of the last calls: when it answered of late, and when it is known to be away."""

log = logging.getLogger("umbel.worker")


def run_worker(options: WorkerOptions) -> int:
    """A worker in this process, until it ends. Its exit code."""
    return Supervisor(options, split(options)).run()


class Phase(IntEnum):
    """How far the shutdown has come."""

    RUNNING = 0
    DRAINING = 1
    INTERRUPTING = 2
    KILLING = 3


class Supervisor:
    """One worker. ``run()`` returns its exit code."""

    def __init__(self, options: WorkerOptions, twin: Twin | None = None, clock: Clock = SYSTEM) -> None:
        """``twin`` becomes the first template, if there is one."""
        self.options = options
        self._twin = twin
        self.clock = clock
        self.worker = f"{options.name or os.uname().nodename}.{os.getpid()}.{new_id(clock.now())[-12:]}"
        self._started = clock.now()
        self._described: Catalog | None = None
        self.phase = Phase.RUNNING
        self.deadline = 0.0
        self.forced = False
        self._asked: list[int] = []
        self._wake, self._wake_write = os.pipe()
        self._life, self._life_write = os.pipe()
        for fd in (self._wake, self._wake_write):
            os.set_blocking(fd, False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self._wake, selectors.EVENT_READ, self._drain_wake)
        self.shift: Shift
        self.events = Emitter()
        """What happens here, for whoever counts it in this process. Users' subscribers: ``dispatch``, ``docs/internals/events.md``."""
        self.dispatch = Dispatch()
        self.dispatch.listen(self.events, lambda: self.shift.catalog.listens)
        self.sources = SourceWatch(options.reload, options.reload_include, self._notify) if options.reload else None
        self.clerk: Clerk
        self.lease: Lease
        self.upkeep: Upkeep
        self.declaring: Declaring
        self.scheduler: Scheduler

    # -- the whole life

    def run(self) -> int:
        """Start, serve, shut down."""
        set_up_logs(self.options)
        self._catch_signals()
        self._write_pidfile()
        if self.sources is not None:
            self.sources.start()  # before anything is imported: no edit falls between
        pipes = Pipes(self._life, self.dispatch.read_fd)
        self.shift = Shift(self.options, self.worker, self.clock, pipes, self.selector, self._twin)
        try:
            failed = self._await_template()
            if failed is not None:
                log.error("%s", failed.error, extra=LINES)
                return failed.exit
            if not self._connect():
                return EXIT_UNREACHABLE
            self._serve()
        finally:
            self._end()
        return EXIT_DRAIN if self.forced else 0

    def _await_template(self) -> Failed | None:
        """Wait for the first template: the app as data, or why there is none. Who watches sources waits for mended ones."""
        nursery = self.shift.nursery
        while self.phase == Phase.RUNNING:
            if self._take_edits(nursery.abandon):
                nursery.start_over()
            nursery.mind_imports()
            failed = None if nursery.template.gone() else self._first_words(nursery.template)
            if failed is None and nursery.ready:
                return None
            if failed is not None:
                if self.sources is None:
                    return failed
                log.error("the worker waits for an edit: %s", failed.error, extra=LINES)
                nursery.abandon()
            self._turn(0.1, on_template=False)
        return Failed("stopped before it was ready", 0)

    def _first_words(self, template: TemplateProcess) -> Failed | None:
        for message in template.receive():
            if isinstance(message, Failed):
                return message
            if isinstance(message, Ready):
                allowed = template.introduced(message.catalog, self.options.children)
                if allowed.warning:
                    log.warning("%s", allowed.warning)
                elif allowed.limit:
                    log.info("each child may have %s of memory", shown(allowed.limit))
                if allowed.refused:
                    return Failed(allowed.refused, 2)
        return Failed("the template process ended before it was ready", 3) if template.gone() else None

    def _take_edits(self, stop_reading: Callable[[], None]) -> bool:
        """Did sources change? If so, who may be reading them is stopped first, lest it keeps what it read as bytecode."""
        edits = self.sources.take() if self.sources is not None else []
        if edits:
            log.info("%s changed", named(edits))
            stop_reading()
            drop_bytecode(edits)
        return bool(edits)

    def _connect(self) -> bool:
        """Reach the broker, and begin; False if this worker is to end without it."""
        catalog = self.shift.catalog
        settings = BrokerSettings(
            catalog.app, catalog.record_ttl, dead_letter_bytes=catalog.dead_letter_bytes, dead_letter_ttl=catalog.dead_letter_ttl
        )
        self.clerk = Clerk(make_broker(catalog.broker, settings, self.clock), self._notify)
        self.clerk.start()
        if not self._reach_broker():
            return False
        self.clerk.ask(concerns_of, tell_concerns, lambda error: log.warning("broker: %s", error))
        # A connection may die unseen: a heartbeat is sent anew, on another one, when the next one is due
        hurried = msgspec.structs.replace(settings, reply_timeout=catalog.heartbeat)
        heart = make_broker(catalog.broker, hurried, self.clock)
        self.lease = Lease(heart, self.worker, catalog.lease_ttl, catalog.heartbeat, b"", self.clock, self._notify)
        self.declaring = Declaring(self.clerk, self.clock)
        self.scheduler = Scheduler(self.clerk, self.lease, self.clock, self.events.emit)
        self._describe()
        self.lease.start()
        self.upkeep = Upkeep(self.clerk, self.lease, catalog.lease_ttl, self.clock, self.events.emit)
        self.shift.begin(self.clerk, self.events.emit, self.lease.answering_since)
        set_title("supervisor", catalog.app, f"queues {', '.join(catalog.queues)}")
        print_banner(self.options, catalog, self.worker)
        return True

    def _describe(self) -> None:
        """What the next heartbeat says: after a reload, of the new code; a worker that begins nothing more serves nothing."""
        catalog = self.shift.catalog
        if catalog is not self._described:
            self._described = catalog
            self.lease.about = about(self.options, catalog, self._started)
            self.declaring.say(catalog.rules)
            self.scheduler.declare(catalog.schedules, catalog.stamp)
        if catalog.versioned or self.lease.serves is not None:
            self.lease.serves = catalog.queues if catalog.versioned and not self.shift.is_quiet else ()

    def _reach_broker(self) -> bool:
        told = False
        while True:
            heard: list[Exception | None] = []
            self.clerk.ask(lambda _: None, heard.append, heard.append)
            while not heard and self.phase == Phase.RUNNING:
                self._turn(0.5)
            error = heard[0] if heard else BrokerError("stopped before it answered")
            if error is None:
                return True
            if not isinstance(error, BrokerError):
                raise error
            if self.options.fail_fast or self.phase != Phase.RUNNING:
                log.error("broker: %s", error)
                return False
            if not told:
                log.warning("broker: %s; waiting for it", error)
            told = True
            self._turn(0.5)

    def _serve(self) -> None:
        ready = False
        while not self._over():
            upholding = self.phase == Phase.RUNNING and not self.shift.is_quiet
            self._turn(min(_TICK_BUSY if self.shift.busy else _TICK_IDLE, self.scheduler.left(upholding)))
            self._take_news()
            if self._take_edits(self.shift.nursery.forget_next) and self.phase == Phase.RUNNING:
                self.shift.renew()
            self.shift.tend(hire=self.phase == Phase.RUNNING and self.lease.began)
            self.upkeep.turn()
            self.declaring.turn()
            self.scheduler.turn(upholding)
            self._advance_shutdown()
            if not ready and self.shift.staffed:
                ready = True
                log.info("%s ready", self.worker)
                reach("supervisor.ready")

    def _over(self) -> bool:
        if self.phase == Phase.KILLING and self.clock.monotonic() >= self.deadline:
            log.error("%d children could not be accounted for in time; what they held is given back later", len(self.shift.members))
            return True
        return self.phase > Phase.RUNNING and self.shift.deserted

    def _take_news(self) -> None:
        self._describe()
        if self.lease.forgotten:
            self.lease.forgotten = False
            log.error("this worker's lease was taken: all its children are made anew")
            self.events.emit(LeaseLost(worker=self.worker, holders=len(self.shift.members)))
            self.shift.lose_all()
        while self.lease.lost:
            self.shift.lose(self.lease.lost.popleft())
        while self.lease.away:
            away = self.lease.away.popleft()
            log.warning("broker: it answers again after %.1f s", away)
            self.events.emit(Reconnected(away=away))
        while self.lease.commands:
            command = self.lease.commands.popleft()
            if command.do == "cancel":
                self.shift.cancel(command.id)

    def _end(self) -> None:
        reach("supervisor.leaving")
        if self.sources is not None:
            self.sources.stop()
        self.dispatch.end()
        self.shift.end()  # first: nobody may run what is given back here
        if hasattr(self, "lease"):
            self._take_leave()
        if hasattr(self, "clerk"):
            self.clerk.stop()
        if self.options.pidfile:
            try:
                os.unlink(self.options.pidfile)
            except FileNotFoundError:
                pass

    def _take_leave(self) -> None:
        """Forget this worker in the store, and give back what is still held."""
        span = _FAREWELL if self.lease.answering_since() is not None else _FAREWELL_AWAY
        quiet = self.lease.stop(span)  # first, lest a late heartbeat makes the worker known again
        left = self.clerk.last(lambda broker: broker.leave(self.worker), span)
        if left and not quiet and self.lease.stop(span):  # it was carried out late, before or after we left
            left = self.clerk.last(lambda broker: broker.leave(self.worker), span)
        if not left:
            log.warning("could not take leave of the broker: others will rescue what is left, after %g s", self.shift.catalog.lease_ttl)

    # -- the loop

    def _turn(self, timeout: float, on_template: bool = True) -> None:
        for key, _ in self.selector.select(timeout):
            if key.data is not None and (on_template or key.data == self._drain_wake):
                key.data()
        while self._asked:
            self._on_signal(self._asked.pop(0))
        if hasattr(self, "clerk"):
            self.clerk.deliver()

    def _notify(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # it is being woken already

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass

    # -- signals and shutdown

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGUSR1):
            signal.signal(number, lambda given, _: self._asked.append(given))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGQUIT or (number == signal.SIGINT and self.phase > Phase.RUNNING):
            self._kill_now(signal.Signals(number).name)
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self.phase == Phase.RUNNING:
                self._drain("; a second Ctrl-C ends it now" if number == signal.SIGINT else "")
        elif hasattr(self, "lease"):
            self._on_shift_signal(number)

    def _on_shift_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            log.info("SIGHUP: new children, the old ones finish what they run")
            self.shift.renew()
        elif number == signal.SIGTSTP:
            log.info("SIGTSTP: quiet; nothing more is begun, TERM ends this worker")
            self.shift.quiet()
        elif number == signal.SIGUSR1:
            self.shift.dump()

    def _drain(self, hint: str) -> None:
        self.phase = Phase.DRAINING
        if not hasattr(self, "lease"):
            return
        limit = self.shift.catalog.shutdown_timeout
        self.deadline = self.clock.monotonic() + limit
        log.info("shutting down: up to %g s for what runs%s", limit, hint)
        self.shift.quiet()
        reach("supervisor.draining")

    def _kill_now(self, why: str) -> None:
        log.warning("%s: giving back everything at once", why)
        self.forced = self.forced or self.phase > Phase.DRAINING
        if self.phase < Phase.KILLING:
            self.deadline = self.clock.monotonic() + _BURIAL
        self.phase = Phase.KILLING
        if hasattr(self, "lease"):
            self.shift.kill_all()

    def _advance_shutdown(self) -> None:
        over = self.clock.monotonic() >= self.deadline
        if self.phase == Phase.KILLING:
            self.shift.kill_all()  # again: one may have been forked since
        elif self.phase == Phase.INTERRUPTING:
            if over:
                self._kill_now("tasks did not end when interrupted")
            else:
                self.shift.interrupt()  # again: a signal just before a run is armed is lost
        elif self.phase == Phase.DRAINING and over:
            self.phase, self.forced = Phase.INTERRUPTING, True
            self.deadline = self.clock.monotonic() + INTERRUPT_GRACE
            log.warning("the drain ran out of time: interrupting what runs; it is given back, uncharged")
            self.shift.interrupt()

    def _write_pidfile(self) -> None:
        if self.options.pidfile:
            with open(self.options.pidfile, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
