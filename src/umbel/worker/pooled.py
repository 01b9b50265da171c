"""A child that runs many tasks at once: one thread claims and settles, the tasks run in a pool beside it.

Interleavings with the supervisor and what wins them: ``docs/internals/interleavings.md``.
"""

from __future__ import annotations

import logging
import os
import random
import select
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..broker import WAIT_MAX, Broker
from ..clock import Clock
from ..envelope import Delivery
from ..errors import BrokerError, TaskInterrupted
from ..facets import Remembers
from ..outcome import Outcome, Released, Retry
from .claimer import Claimer
from .endings import EXIT_OVERDUE
from .executor import Executor, Guard, Prepared
from .hand import Ended, Hand
from .lifespan import Lifespan
from .limits import limits_of
from .lookout import Lookout
from .permits import Permits
from .points import reach
from .room import Room
from .roster import Roster
from .run import Host, Run
from .settler import LATEST, Settler
from .slots import ChildSlot, Command
from .supply import Supply
from .teller import Teller
from .tether import Tether
from .turns import Turns
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..app import Umbel

_GATHER = LATEST * 0.8
"""Seconds for which outcomes are gathered while other tasks run: they must be settled within ``LATEST``."""
_HOLD = 1.0
"""Seconds without a claim after the pool, with room, began nothing for so long that it was taken back: it hangs, or did."""
_STRIKE_AGAIN = 0.02
"""Seconds until a run that could not be interrupted is tried again."""
_DRAIN_LOOK = 0.05
"""Seconds between two looks at orders while the child drains."""
_NO_GUARD: Any = None
"""Of an executor that only prepares."""

log = logging.getLogger("umbel.worker")


class Pool(Protocol):
    """Where tasks run. It takes from the hand what is to be begun, and hands over what ended."""

    def start(self) -> None: ...
    def poke(self, count: int) -> None:
        """``count`` deliveries wait in the hand."""
        ...

    def stop(self) -> None:
        """Once nothing runs any more: end all threads. Twice is once."""
        ...

    def blocked(self, now: float) -> str: ...
    def describe(self) -> list[str]:
        """Where tasks are that the threads' stacks do not show."""
        ...

    @property
    def executors(self) -> list[Executor]: ...


class Place(NamedTuple):
    """What a child of many tasks is given: shared with its supervisor, or its own where there is none."""

    slot: ChildSlot
    roster: Roster
    permits: Permits
    max_tasks: int = 0
    """After so many it wishes to be replaced; 0: never, as where nobody could replace it."""
    max_memory: int = 0
    """The same, in bytes."""


class PooledChild:
    """The loop. ``serve`` belongs to the thread that called ``connect``."""

    def __init__(
        self,
        app: Umbel,
        kind: str,
        broker: Broker,
        waits: Broker,
        holder: str,
        place: Place,
        queues: list[str],
        strict: bool,
    ) -> None:
        """``kind``: ``threads`` or ``asyncio``. ``waits``: another object on the same store, to wait with."""
        self.clock: Clock = app.clock
        self.broker = broker
        self.slot = place.slot
        self.roster = place.roster
        self._app = app
        self._wake, self.wake_fd = os.pipe()
        for fd in (self._wake, self.wake_fd):
            os.set_blocking(fd, False)
        self._asleep = False
        self._fatal: BaseException | None = None
        self.teller = Teller(app.events, self.clock)
        self.tether = Tether(broker, place.slot, self.clock, self.teller.reconnected)
        self.settler = Settler(self.tether, holder, self.clock, self._pause, app.producer.stored)
        self.turns = Turns.of(queues, strict, self.tether, app.settings.versioned_queues, self.clock)
        self.claimer = Claimer()
        self.lifespan = Lifespan(place.slot, place.max_tasks, place.max_memory, random.Random())
        self.room = Room(self.claimer, place.roster.capacity)
        self.hand = Hand(place.roster, place.permits, self.clock.monotonic, self._limits, self.notify)
        self.lookout = Lookout(waits, self.notify)
        self.prepares = Executor(app, _NO_GUARD, self._store_now, self._report)
        self.supply = Supply(self.lookout)
        self.pool = _make_pool(kind, self, self.hand, place.roster.capacity)
        self.watchdog = Watchdog(self.hand, self.pool, self.clock.monotonic, has_loop=kind == "asyncio")
        self._hold = 0.0
        """Nothing is claimed before then (monotonic)."""
        self._known_limits: dict[str, tuple[float, float]] = {}
        self._reports: dict[str, tuple[Delivery, bytes]] = {}
        self._cancelled: list[int] = []  # runs that are to be interrupted and could not be yet

    # -- for all threads

    def notify(self) -> None:
        """There is something to do."""
        if self._asleep:
            self._asleep = False
            try:
                os.write(self.wake_fd, b"\0")
            except BlockingIOError:
                pass  # it is being woken already

    def _store_now(self) -> int:
        return self.clock.now() + self.settler.offset

    def _limits(self, prepared: Prepared) -> tuple[float, float]:
        name = prepared.task.name
        found = self._known_limits.get(name)
        if found is None:
            found = self._known_limits[name] = limits_of(prepared.task.options, self._app.settings)
        return found

    def _report(self, delivery: Delivery, progress: bytes) -> bool:
        """Progress is sent by the loop, and the newest is enough; a coroutine that tells it must not block its loop."""
        if not delivery.envelope.tracked or not isinstance(self.broker, Remembers):
            return False
        self._reports[delivery.envelope.id] = (delivery, progress)
        self.notify()
        return True

    # -- for the pool, see ``Host``

    def executor(self, guard: Guard) -> Executor:
        return Executor(self._app, guard, self._store_now, self._report)

    def began(self, run: Run) -> None:
        reach("child.running")
        if self.teller.heard:
            self.teller.began(run.name, run.prepared.delivery)

    def ended(self, run: Run, outcome: Outcome) -> None:
        if run.was_told():
            self.teller.timed_out(run.name, run.prepared.delivery)
        if self.teller.heard:
            self.teller.ended(run.name, run.prepared.delivery, outcome, self.clock.monotonic() - run.began)
        self.hand.end(run, outcome)
        if isinstance(outcome, Retry):
            reach("child.retrying")

    def broken(self, exc: BaseException) -> None:
        self._fatal = exc
        self.notify()

    def let_go(self) -> None:
        """In a process that a task forked."""
        for executor in self.pool.executors:
            executor.forked = True

    # -- the loop

    def connect(self) -> None:
        """Until the broker can be had."""
        while True:
            self.slot.beat(self.clock.monotonic())
            try:
                return self.tether.open()
            except BrokerError as exc:
                log.warning("broker does not open: %s", exc)
                self._pause(0.5)

    def serve(self) -> int:
        """Until told to be quiet, and nothing runs any more, or fenced (``Fenced``). Answers with the exit status."""
        reach("child.before_exchange")
        self.pool.start()
        self.watchdog.start()
        while self.slot.command == Command.RUN:
            self._turn()
        return self._drain()

    def stop(self) -> None:
        """Let all threads end, once ``serve`` has. Twice is once."""
        self.lookout.stop()
        self.watchdog.stop()
        self.pool.stop()

    @property
    def pipes(self) -> tuple[int, ...]:
        """What is to be closed once no thread of it is left, by who goes on without it in the same process."""
        return (self._wake, self.wake_fd, *self.lookout.pipe)

    def settle_last(self) -> None:
        """What is finished must not run again because this process cannot go on."""
        try:
            self._gather()
        finally:
            self.settler.flush()

    def _pause(self, span: float) -> None:
        """Between two tries of the broker, which may be away for long: what runs does not wait for it to be interrupted."""
        self.slot.beat(self.clock.monotonic())
        if self.slot.command == Command.INTERRUPT:
            self._interrupt_all()
        time.sleep(span)

    def _turn(self) -> None:
        self._asleep = True  # from here on whoever has news says so, and the sleep below does not begin
        now = self.clock.monotonic()
        self.slot.beat(now)
        self._look_at_orders()
        self._gather()
        wanted = self._wanted(now)
        more = self.supply.more(now, self.turns.queues, empty=self.hand.empty) and not self.hand.taken
        if (more and wanted) or self.settler.due(now + LATEST - _GATHER) or (self.settler.pending and self.hand.empty):
            self._exchange(wanted)
        else:
            self._rest(now, more)

    def _look_at_orders(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        if self.hand.tidy(self.slot.returned):
            self.room.stingy = True
            self._hold = self.clock.monotonic() + _HOLD if self.hand.free else 0.0
        self._cancelled = [key for key in (*self._cancelled, *self.roster.cancels()) if not self._interrupted(key)]

    def _interrupted(self, key: int) -> bool:
        """Interrupt one run. False if that is to be tried again: its first line, or the end of a log handler, is to come."""
        run = self.hand.runs.get(key)
        return run is None or run.strike(TaskInterrupted)

    def _interrupt_all(self) -> None:
        for run in list(self.hand.runs.values()):
            run.strike(TaskInterrupted)

    def _send_reports(self) -> None:
        while self._reports:
            _, (delivery, progress) = self._reports.popitem()  # one by one: others put more in meanwhile
            try:
                if isinstance(self.broker, Remembers):
                    self.broker.report(delivery.receipt, delivery.envelope.id, progress)
            except BrokerError as exc:  # the next exchange tells of it, and mends it
                log.debug("progress is not told: %s", exc)

    def _gather(self) -> None:
        """What has ended; and before it is settled, what it had said of its progress."""
        ended = self._collect()
        if self._reports:
            self._send_reports()
        for run, outcome, at in ended:
            self.settler.add(run.prepared.delivery.receipt, outcome, at, run.prepared.then)
            self.claimer.ran(run.name, at - run.began)
        if ended:
            self.room.stingy = False
            if ended[-1][2] >= self.lifespan.look_at:
                self.lifespan.look(ended[-1][2])

    def _collect(self) -> list[Ended]:
        """What has ended and is to be settled."""
        return self.hand.collect()

    def _wanted(self, now: float) -> int:
        """How many to ask for, if the broker is asked. Beside what must run alone, nothing."""
        if self.hand.taken or self.hand.alone or self.lifespan.over or now < self._hold:
            return 0
        return self.lifespan.share(self.room.wanted(self.hand.free, self.hand.waiting))

    def _exchange(self, wanted: int) -> None:
        answer = self.settler.exchange(self.turns.take() if wanted else (), wanted)
        if answer.dropped:
            self.teller.removed(answer.dropped)
        if answer.deliveries:
            self.claimer.claimed(answer.deliveries)
            self.lifespan.claimed(len(answer.deliveries))
            self._take_in(answer.deliveries)
        if len(answer.deliveries) < wanted:
            self.supply.ran_out(self.clock.monotonic(), answer.next_due, empty=self.hand.empty)

    def _take_in(self, deliveries: list[Delivery]) -> None:
        reach("child.after_claim")
        now = self.clock.monotonic()
        ready: list[Prepared] = []
        for delivery in deliveries:
            prepared = self.prepares.prepare(delivery)
            if isinstance(prepared, Prepared):
                ready.append(prepared)
            else:
                self.settler.add(delivery.receipt, prepared, now)
                self.teller.ended("?", delivery, prepared, 0.0)
        if ready and not self.hand.add(ready, now):
            return self._release(ready)
        self.pool.poke(len(ready))

    def _release(self, unbegun: list[Prepared]) -> None:
        now = self.clock.monotonic()
        for prepared in unbegun:
            self.settler.add(prepared.delivery.receipt, Released(0, "unbegun"), now)

    def _rest(self, now: float, more: bool) -> None:
        """Until there is something to do."""
        self.hand.low = self.room.low if more else -1
        self.hand.alert = not self.settler.pending
        until = now + WAIT_MAX if more else self.supply.look_again()
        if self._hold > now:
            until = min(until, self._hold)
        if self._cancelled:
            until = min(until, now + _STRIKE_AGAIN)
        if self.settler.pending:
            until = min(until, self.settler.since + _GATHER)
        self._sleep(min(until - now, WAIT_MAX))

    def _sleep(self, span: float) -> None:
        if span > 0:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            poll.poll(span * 1000)
        self._asleep = False
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass

    # -- the end

    def _drain(self) -> int:
        """Begin nothing more, and wait for all that runs. Returns the exit status."""
        self._release(self.hand.close())
        self.hand.low = -1
        self.lookout.wake()
        self.hand.alert = True
        while True:
            self._asleep = True
            now = self.clock.monotonic()
            self.slot.beat(now)
            self._look_at_orders()
            if self.slot.command == Command.INTERRUPT:
                self._interrupt_all()
            running = self.hand.running
            self._gather()
            self.settler.flush()
            if not running:
                return 0
            if self.hand.abandon(now):
                return EXIT_OVERDUE
            self._sleep(_DRAIN_LOOK)


def _make_pool(kind: str, host: Host, hand: Hand, most: int) -> Pool:
    """Late imports: who has one pool does not load the other."""
    if kind == "asyncio":
        from .pools.loop import LoopPool

        return LoopPool(host, hand, most)
    from .pools.threads import ThreadsPool

    return ThreadsPool(host, hand, most)
