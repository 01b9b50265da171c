"""The supervisor: runs no user code; owns the lease, the children's lives, limits, rescue and the shutdown.

One thread does everything here; the heartbeat has its own (``lease.py``). Signals only set flags and wake the loop.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from enum import IntEnum

from ..broker import Broker, BrokerSettings
from ..brokers import make_broker
from ..clock import SYSTEM, Clock
from ..errors import BrokerError, UmbelError
from ..message import new_id
from .banner import about, print_banner, tell_concerns
from .lease import Lease
from .logs import set_up_logs
from .options import WorkerOptions
from .points import reach
from .shift import Shift
from .upkeep import Upkeep
from .wire import Failed, Ready

EXIT_UNREACHABLE, EXIT_DRAIN = 69, 75
_TICK_BUSY, _TICK_IDLE = 0.05, 0.2
_GRACE = 3.0
"""Seconds that an interrupted task has to clean up before its child is killed."""

_BURIAL = 5.0
"""Seconds for a broker that is away, or a template that does not answer, before a killed worker ends without them."""

log = logging.getLogger("umbel.worker")


class Phase(IntEnum):
    """How far the shutdown has come."""

    RUNNING = 0
    DRAINING = 1
    INTERRUPTING = 2
    KILLING = 3


class Supervisor:
    """One worker. ``run()`` returns its exit code."""

    def __init__(self, options: WorkerOptions, clock: Clock = SYSTEM) -> None:
        self.options = options
        self.clock = clock
        self.worker = f"{options.name or os.uname().nodename}.{os.getpid()}.{new_id(clock.now())[-12:]}"
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
        self.broker: Broker
        self.lease: Lease
        self.upkeep: Upkeep

    # -- the whole life

    def run(self) -> int:
        """Start, serve, shut down."""
        set_up_logs(self.options)
        self._catch_signals()
        self._write_pidfile()
        self.shift = Shift(self.options, self.worker, self.clock, self._life, self.selector)
        try:
            failed = self._await_template()
            if failed is not None:
                log.error("%s", failed.error)
                return failed.exit
            if not self._connect():
                return EXIT_UNREACHABLE
            self._serve()
        finally:
            self._end()
        return EXIT_DRAIN if self.forced else 0

    def _await_template(self) -> Failed | None:
        """Wait for the first template: the app as data, or why there is none."""
        template = self.shift.template
        while self.phase == Phase.RUNNING:
            for message in template.receive():
                if isinstance(message, Failed):
                    return message
                if isinstance(message, Ready):
                    template.catalog = message.catalog
                    return None
            if template.line.closed:
                return Failed("the template process ended before it was ready", 3)
            self._turn(0.1, on_template=False)
        return Failed("stopped before it was ready", 0)

    def _connect(self) -> bool:
        catalog = self.shift.catalog
        settings = BrokerSettings(
            catalog.app, catalog.record_ttl, dead_letter_bytes=catalog.dead_letter_bytes, dead_letter_ttl=catalog.dead_letter_ttl
        )
        self.broker = make_broker(catalog.broker, settings, self.clock)
        told = False
        while True:
            try:
                self.broker.open()
                break
            except BrokerError as exc:
                if self.options.fail_fast or self.phase != Phase.RUNNING:
                    log.error("broker: %s", exc)
                    return False
                if not told:
                    log.warning("broker: %s; waiting for it", exc)
                told = True
                self._turn(0.5)
        tell_concerns(self.broker)
        heart = make_broker(catalog.broker, settings, self.clock)
        info = about(self.options, catalog, self.clock)
        self.lease = Lease(heart, self.worker, catalog.lease_ttl, catalog.heartbeat, info, self.clock, self._notify)
        self.lease.start()
        self.upkeep = Upkeep(self.broker, self.lease, catalog.lease_ttl, self.clock)
        self.shift.begin(self.broker)
        print_banner(self.options, catalog, self.worker)
        return True

    def _serve(self) -> None:
        ready = False
        while not self._over():
            self._turn(_TICK_BUSY if self.shift.busy else _TICK_IDLE)
            self._take_news()
            self.shift.tend(hire=self.phase == Phase.RUNNING and self.lease.began)
            self.upkeep.turn()
            self._advance_shutdown()
            if not ready and self.shift.staffed:
                ready = True
                log.info("%s ready", self.worker)
                reach("supervisor.ready")

    def _over(self) -> bool:
        if self.phase == Phase.KILLING and self.clock.monotonic() >= self.deadline:
            log.error("%d children could not be accounted for in time; what they held is given back later", len(self.shift.members))
            return True
        return self.phase > Phase.RUNNING and not self.shift.members

    def _take_news(self) -> None:
        if self.lease.forgotten:
            self.lease.forgotten = False
            log.error("this worker's lease was taken: all its children are made anew")
            self.shift.lose_all()
        while self.lease.lost:
            self.shift.lose(self.lease.lost.popleft())
        while self.lease.commands:
            command = self.lease.commands.popleft()
            if command.do == "cancel":
                self.shift.cancel(command.id)

    def _end(self) -> None:
        reach("supervisor.leaving")
        self.shift.end()  # first: nobody may run what is given back here
        if hasattr(self, "lease"):
            self.lease.stop()  # before the worker is forgotten, lest a late heartbeat makes it known again
            try:
                self.broker.leave(self.worker)
            except UmbelError as exc:
                log.warning("could not take leave of the broker (others will rescue what is left): %s", exc)
            self.broker.close()
        if self.options.pidfile:
            try:
                os.unlink(self.options.pidfile)
            except FileNotFoundError:
                pass

    # -- the loop

    def _turn(self, timeout: float, on_template: bool = True) -> None:
        for key, _ in self.selector.select(timeout):
            if key.data is not None and (on_template or key.data == self._drain_wake):
                key.data()
        while self._asked:
            self._on_signal(self._asked.pop(0))

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
                self._drain()
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

    def _drain(self) -> None:
        self.phase = Phase.DRAINING
        if not hasattr(self, "lease"):
            return
        limit = self.shift.catalog.shutdown_timeout
        self.deadline = self.clock.monotonic() + limit
        log.info("shutting down: up to %g s for what runs", limit)
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
            self.deadline = self.clock.monotonic() + _GRACE
            log.warning("the drain ran out of time: interrupting what runs; it is given back, uncharged")
            self.shift.interrupt()

    def _write_pidfile(self) -> None:
        if self.options.pidfile:
            with open(self.options.pidfile, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
