"""A prefork child: claims for itself, runs one task at a time on its main thread, settles.

Interleavings with the supervisor and what wins them: ``docs/internals/interleavings.md``.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..broker import WAIT_MAX, Broker
from ..clock import Clock
from ..envelope import Delivery
from ..errors import BrokerError, Fenced
from ..facets import Remembers
from ..outcome import Outcome, Released, Retry
from .claimer import Claimer
from .endings import EXIT_FENCED, EXIT_UNSEEN
from .executor import Executor, Prepared
from .lifespan import Lifespan
from .limits import limits_of
from .permits import Permits
from .points import reach
from .settler import Settler
from .slots import POKE, ChildSlot, Command
from .softlimit import SoftLimit
from .teller import Teller
from .tether import Tether
from .title import ChildTitle
from .turns import Turns

if TYPE_CHECKING:
    from ..app import Umbel

_LONG = 1.0
"""Seconds of a run after which its child beats at once, and not only with its next batch."""

log = logging.getLogger("umbel.worker")


class Birth(NamedTuple):
    """What a child is given by its template."""

    holder: str
    slot: ChildSlot
    permits: Permits
    life: int
    """The end of a pipe that closes with the supervisor."""
    parent: int
    """The template's process id."""
    max_memory: int = 0
    """Bytes that it may have; 0: no limit."""


class Child:
    """The loop. Built after the fork; owns its broker."""

    def __init__(
        self,
        app: Umbel,
        broker: Broker,
        holder: str,
        slot: ChildSlot,
        permits: Permits,
        queues: list[str],
        strict: bool,
        max_memory: int = 0,
    ) -> None:
        self.clock: Clock = app.clock
        self.broker = broker
        self.slot = slot
        self.permits = permits
        self.quiet = False
        self.claimer = Claimer()
        self.lifespan = Lifespan(slot, app.settings.max_tasks_per_child, max_memory, random.Random())
        self.title = ChildTitle(app.settings.name, slot, self.clock)
        self.teller = Teller(app.events, self.clock)
        self.tether = Tether(broker, slot, self.clock, self.teller.reconnected)
        self.settler = Settler(self.tether, holder, self.clock, self._pause, app.producer.stored)
        self.soft = SoftLimit(slot)
        self.executor = Executor(app, self.soft, self._store_now, self._report)
        self._settings = app.settings
        self.turns = Turns.of(queues, strict, self.tether, self._settings.versioned_queues, self.clock)
        self._limits: dict[str, tuple[float, float]] = {}
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(POKE, self._poked)

    def _poked(self, signum: int, frame: Any) -> None:
        if self.slot.command != Command.RUN:
            self.quiet = True
        self.tether.on_signal()
        self.soft.on_signal(signum, frame)

    def _pause(self, span: float) -> None:
        self.slot.beat(self.clock.monotonic())
        time.sleep(span)

    def _store_now(self) -> int:
        return self.clock.now() + self.settler.offset

    def _report(self, delivery: Delivery, progress: bytes) -> bool:
        if not isinstance(self.broker, Remembers):
            return False
        return self.broker.report(delivery.receipt, delivery.envelope.id, progress)

    def connect(self) -> None:
        """Until the broker can be had."""
        while True:
            self.slot.beat(self.clock.monotonic())
            try:
                return self.tether.open()
            except BrokerError as exc:
                log.warning("broker does not open: %s", exc)
                self._pause(0.5)

    def serve(self) -> None:
        """Until told to be quiet, or fenced (``Fenced``)."""
        reach("child.before_exchange")
        while not self.quiet and self.slot.command == Command.RUN:
            self.slot.beat(self.clock.monotonic())
            answer = self.settler.exchange(self.turns.take(), self.lifespan.share(self.claimer.limit()))
            if answer.dropped:
                self.teller.removed(answer.dropped)
            if answer.deliveries:
                self.claimer.claimed(answer.deliveries)
                self.lifespan.claimed(len(answer.deliveries))
                self._batch(answer.deliveries)
                self.quiet = self.lifespan.batch_ended() or self.quiet
            else:
                self._idle(answer.next_due)
        self.settler.flush()

    def _idle(self, next_due: int | None) -> None:
        timeout = WAIT_MAX if next_due is None else min(WAIT_MAX, next_due / 1000)
        try:
            if self.tether.wait(self.turns.queues, timeout, self._wake):
                return  # whoever was woken by work is late already; what stands in the pipe ends the next wait
        except BrokerError as exc:
            log.warning("broker: %s", exc)
            self.tether.reopen()
            self._pause(0.2)
        self._drain_wake()

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass

    def let_go(self) -> None:
        """In a process that a task forked."""
        self.executor.forked = True

    # -- one batch

    def _batch(self, deliveries: list[Delivery]) -> None:
        reach("child.after_claim")
        seq = deliveries[0].receipt.seq
        if len(deliveries) != deliveries[-1].receipt.index + 1:
            return self._release(deliveries)  # a repeated exchange from which some were taken: their numbers have gaps
        self.slot.batch(seq, len(deliveries), self.clock.monotonic())
        self.permits.grant(len(deliveries))
        for at, delivery in enumerate(deliveries):
            if self.quiet:
                return self._release(deliveries[at : at + self.permits.drain()])
            prepared = self.executor.prepare(delivery)
            if isinstance(prepared, Prepared) and self.claimer.is_slow(prepared.task.name):
                self.settler.flush()
            if not self.permits.take():
                return self._taken_back(seq)
            ended = self._run(delivery, prepared)
            if ended >= self.lifespan.look_at and self.lifespan.look(ended):
                self.quiet = True
            if self.settler.due(ended):
                self.settler.flush()
        return None

    def _run(self, delivery: Delivery, prepared: Prepared | Outcome) -> float:
        """Until its outcome is in the settler's hands; answers with the time then."""
        began = self.clock.monotonic()
        if not isinstance(prepared, Prepared):
            self.settler.add(delivery.receipt, prepared, began)
            self.teller.ended("?", delivery, prepared, 0.0)
            return began
        name = prepared.task.name
        soft, hard = self._limits.get(name) or self._limits_of(prepared)
        self.slot.begin(delivery.receipt.index, began, soft, hard)
        self.title.task = name
        reach("child.running")
        if self.teller.heard:
            self.teller.began(name, delivery)
        outcome = self.executor.run(prepared, self.slot.version)
        ended = self.clock.monotonic()
        if ended - began > _LONG:
            self.slot.beat(ended)  # before the end is seen: after a run of minutes, the last beat would look like a stuck loop
        self.slot.end()
        self.title.task = ""
        self.settler.add(delivery.receipt, outcome, ended, prepared.then)
        self.claimer.ran(name, ended - began)
        if self.soft.struck:
            self.soft.struck = 0
            self.teller.timed_out(name, delivery)
        if self.teller.heard:
            self.teller.ended(name, delivery, outcome, ended - began)
        if isinstance(outcome, Retry):
            reach("child.retrying")
        return ended

    def _limits_of(self, prepared: Prepared) -> tuple[float, float]:
        """At a task's first run, not at birth: a module that some task imports late may declare others."""
        found = self._limits[prepared.task.name] = limits_of(prepared.task.options, self._settings)
        return found

    def _release(self, unbegun: list[Delivery]) -> None:
        """Give back what this child itself holds the permits of, or has granted none for."""
        now = self.clock.monotonic()
        for delivery in unbegun:
            self.settler.add(delivery.receipt, Released(0, "unbegun"), now)
        self.settler.flush()

    def _taken_back(self, seq: int) -> None:
        """The supervisor has taken the permits: wait until it has given the rest of the batch back."""
        self.settler.flush()
        while self.slot.returned < seq and not self.quiet:
            self._pause(0.001)


def _die_with(life: int) -> None:
    """Block until the supervisor, which alone holds the other end, is gone; then end this process at once."""
    while True:
        try:
            if not os.read(life, 1):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    os.kill(os.getpid(), signal.SIGKILL)


def _ignore(signum: int, frame: Any) -> None:
    """Not ``SIG_IGN``, which programs that a task starts would inherit: they could not be terminated."""


def let_go(mark: Callable[[], None]) -> None:
    """In a process that a task forks. ``mark`` says so to the executors."""
    mark()
    signal.set_wakeup_fd(-1)
    signal.signal(POKE, signal.SIG_IGN)
    if signal.getsignal(signal.SIGTERM) is _ignore:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def is_seen(slot: ChildSlot, parent: int) -> bool:
    """Wait until the supervisor watches this process; False if it never will, since the template died before it could tell.
    Until then nothing is claimed and nothing written into the slot, which another child may have been given since."""
    pause = 0.0005
    while slot.seen != os.getpid():
        if os.getppid() != parent:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def be_born(life: int) -> None:
    """Signals and the end of a process that was forked from the template."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a terminal signals the whole group; only the supervisor decides
    signal.signal(signal.SIGTERM, _ignore)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=False)
    threading.Thread(target=_die_with, args=(life,), daemon=True, name="umbel-life").start()


def run_child(app: Umbel, birth: Birth, queues: list[str], strict: bool) -> int:
    """The whole life of a child, right after the fork. Returns its exit status."""
    be_born(birth.life)
    reach("child.born")
    if not is_seen(birth.slot, birth.parent):
        return EXIT_UNSEEN
    broker = app.make_broker()
    child = Child(app, broker, birth.holder, birth.slot, birth.permits, queues, strict, birth.max_memory)
    child.title.start()
    os.register_at_fork(after_in_child=partial(let_go, child.let_go))
    try:
        child.connect()
        child.serve()
    except Fenced as fence:
        log.warning("child ends: %s", fence)
        return EXIT_FENCED
    except Exception:
        child.settler.flush()  # what is finished must not run again because this process cannot go on
        raise
    finally:
        broker.close()
    reach("child.leaving")
    return 0
