"""The heartbeat, on a thread and a connection of its own, and the right to rescue that it earns.

Nobody rescues until it has itself renewed on time for a whole lease, with the store's clock agreeing with its own clock
that counts suspension. So an outage of the broker, a step of a clock or a suspended machine takes nobody's tasks.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable

from ..broker import Broker, Command
from ..clock import Clock
from ..errors import BrokerError
from ..facets import Serves, require

_PAUSE_LAST = 1.6
"""Seconds between tries while the broker is away: after a long outage all children wait for the first heartbeat."""

log = logging.getLogger("umbel.worker")


class RescueTrust:
    """Have our own heartbeats gone well for a whole lease?"""

    def __init__(self, ttl: float, heartbeat: float) -> None:
        self._ttl = ttl
        self._late = heartbeat * 2
        self._tolerance = max(0.25, ttl / 20)
        self._since: float | None = None
        self._last: tuple[float, int] | None = None

    @property
    def last(self) -> tuple[float, int] | None:
        """The last answer: its moment (boottime, s), and the store's clock (ms)."""
        return self._last

    def renewed(self, boottime: float, store_now: int) -> None:
        """A heartbeat was answered at ``boottime`` (s) with the store's clock (ms)."""
        last, self._last = self._last, (boottime, store_now)
        if last is None or self._since is None:
            self._since = boottime
            return
        passed = boottime - last[0]
        if passed > self._late or abs((store_now - last[1]) / 1000 - passed) > self._tolerance:
            self._since = boottime

    def failed(self) -> None:
        """A heartbeat was not answered: what others did meanwhile is not known."""
        self._since = None

    def trusted(self, boottime: float) -> bool:
        """May we rescue now?"""
        if self._since is None or self._last is None or boottime - self._last[0] > self._late:
            return False
        return boottime - self._since >= self._ttl

    def agrees(self, boottime: float, store_now: int) -> bool:
        """Has the store's clock passed like ours since the last heartbeat? Else it stepped, and leases only seem to have ended."""
        last = self._last
        return last is not None and abs((store_now - last[1]) / 1000 - (boottime - last[0])) <= self._tolerance


class Lease:
    """Renews until stopped."""

    def __init__(
        self,
        broker: Broker,
        worker: str,
        ttl: float,
        heartbeat: float,
        about: bytes,
        clock: Clock,
        notify: Callable[[], None],
    ) -> None:
        """``notify`` is called from the thread when there is something in ``lost``, ``forgotten`` or ``commands``."""
        self._broker = broker
        self._worker = worker
        self._ttl = ttl
        self._heartbeat = heartbeat
        self.about = about
        self.serves: tuple[str, ...] | None = None
        """The queues to tell callers of; None: none is said at all."""
        self._clock = clock
        self._notify = notify
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umbel-lease", daemon=True)
        self._lock = threading.Lock()
        self.trust = RescueTrust(ttl, heartbeat)
        self.lost: deque[str] = deque()
        self.commands: deque[Command] = deque()
        self.away: deque[float] = deque()
        """Spans (s) for which the broker was away, each once it answers again."""
        self.forgotten = False
        """The store forgot this worker (it was rescued): every child must be made anew."""
        self.ticks = 0
        """The revision of the store's schedules, as of the last heartbeat."""
        self.beats = 0
        """Heartbeats that were answered."""
        self._began = False
        self._answering: tuple[float, float] | None = None
        """Between which moments (monotonic) each heartbeat was answered on time."""

    def start(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """No heartbeat is begun any more. False if one still hangs after ``timeout`` seconds: the broker may yet carry it out."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def answering_since(self) -> float | None:
        """Since when (monotonic) the broker has answered each heartbeat on time; None if it does not."""
        with self._lock:
            answering = self._answering
        if answering is None or self._clock.monotonic() - answering[1] > self._heartbeat * 2:
            return None
        return answering[0]

    def may_rescue_until(self, ask: Callable[[], int]) -> int | None:
        """Until when, by the store's clock (ms), an order to rescue holds; None if we may not give one.

        ``ask`` reads the store's clock, which is done only if all else says yes. For a heartbeat's time from then on, no
        lease ends that is renewed as it should be, whatever becomes of the store and the way there.
        """
        with self._lock:
            if not self.trust.trusted(self._clock.boottime()):
                return None
        store_now = ask()
        with self._lock:
            now = self._clock.boottime()
            # Again: the answer may have taken so long that everybody's heartbeats are late, and nobody's lease is really over
            sure = self.trust.trusted(now) and self.trust.agrees(now, store_now)
        return store_now + int(self._heartbeat * 1000) if sure else None

    def _run(self) -> None:
        pause = 0.0
        failed, failing = 0, 0.0
        while not self._stop.wait(pause):
            try:
                if not self._began or failed:
                    self._broker.close()
                    self._broker.open()
                self._beat()
            except Exception as exc:  # whatever it was: without this thread the worker loses all it holds
                failing = failing or self._clock.monotonic()
                failed += 1
                self._missed(exc, failed)
                pause = min(self._heartbeat, _PAUSE_LAST, 0.1 * 2 ** min(failed, 6)) * (0.5 + random.random() / 2)
            else:
                if failed:
                    self.away.append(self._clock.monotonic() - failing)
                    self._notify()
                failed, failing = 0, 0.0
                pause = self._heartbeat * (0.95 + random.random() / 20)
        self._broker.close()

    def _missed(self, exc: Exception, failed: int) -> None:
        if not isinstance(exc, BrokerError):
            log.error("heartbeat: unexpected", exc_info=exc)
        with self._lock:
            self.trust.failed()
            self._answering = None
        if failed == 1 or failed % 20 == 0:
            log.warning("heartbeat: %s; trying again", exc)

    def _beat(self) -> None:
        answer = self._broker.renew(self._worker, self._ttl, self.about)
        # Taken in before all else: the store says some of it once, whatever becomes of the rest of this heartbeat
        self.lost.extend(answer.lost)
        self.commands.extend(answer.commands)
        if not answer.known and self._began:
            self.forgotten = True
        if answer.lost or answer.commands or self.forgotten:
            self._notify()
        if self.serves is not None:
            require(self._broker, Serves).serve(self._worker, self.serves)
        now = self._clock.monotonic()
        with self._lock:
            self.trust.renewed(self._clock.boottime(), answer.now)
            on_time = self._answering is not None and now - self._answering[1] <= self._heartbeat * 2
            self._answering = (self._answering[0] if on_time and self._answering else now, now)
        first, self._began = not self._began, True
        before, self.ticks, self.beats = self.ticks, answer.ticks, self.beats + 1
        if first or answer.ticks != before:
            self._notify()

    def store_clock(self) -> tuple[float, int] | None:
        """When a heartbeat was last answered (boottime, s), and the store's clock then (ms)."""
        with self._lock:
            return self.trust.last

    @property
    def began(self) -> bool:
        """Has the store answered a heartbeat yet?"""
        return self._began
