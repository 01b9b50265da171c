"""The part of an embedded worker that claims, runs and settles: a pool of threads in a process that is not ours to end.

It is a ``PooledChild`` without a process. What it cannot do is end a task that does not hear its soft limit. At the hard limit
such a run is *written off*: its outcome is settled as that of a killed one, and its thread is left to it. When the task does
come back, what it came to is dropped, and its thread works again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import finalize

from ..envelope import Receipt
from ..errors import Fenced, SoftTimeLimitExceeded, TaskInterrupted
from ..events import TaskTimedOut
from ..failure import encode_failure
from ..outcome import Outcome
from ..policy import after_hard_limit, hard_limit_policy
from .hand import Ended
from .permits import Permits
from .pooled import Place, PooledChild
from .pools.threads import ThreadsPool
from .roster import Rosters, key_of
from .run import Run
from .slots import Command, Slots

if TYPE_CHECKING:
    from ..app import Umbel

log = logging.getLogger("umbel.worker")


class Abandoned(Exception):
    """The drain is over, and the loop is to end whatever still runs."""


class Resident(PooledChild):
    """One holder, from its admission to its retirement. ``start``, ``order`` and what follows belong to its keeper's thread."""

    def __init__(self, app: Umbel, holder: str, threads: int, queues: list[str], strict: bool, ended: Callable[[], None]) -> None:
        """``ended`` is called from the loop's thread as the last thing it does."""
        self.holder = holder
        self.slots, self.permits = Slots.create(1), Permits.create()
        self.slots.clear(0)
        self._rosters = Rosters.create(1, threads)
        for fd in (self.slots.fd, self._rosters.fd):
            os.close(fd)  # nobody else is to map this memory
        place = Place(self.slots.child(0), self._rosters.of(0), self.permits)
        super().__init__(app, "threads", app.make_broker(), app.make_broker(), holder, place, queues, strict)
        # Where a task holds a thread of it beyond our end, these are closed when that thread has ended
        self._close = finalize(self, _close_all, [*self.permits.fds, *self.pipes])
        self._close.atexit = False
        assert isinstance(self.pool, ThreadsPool)
        self._crew: ThreadsPool = self.pool
        self._written_off: dict[int, Run] = {}
        self._abandoned = False
        self._tell_end = ended
        self.fenced = False
        self.over = threading.Event()
        """The loop has ended, and settles nothing more."""
        self.thread = threading.Thread(target=self._live, name="umbel-claimer", daemon=True)

    # -- for the keeper

    def order(self, command: Command) -> None:
        """Have the loop drain, or interrupt what runs."""
        self.slots.command(0, command)
        self.notify()

    def abandon(self) -> None:
        """The loop ends now: it settles what is finished, and leaves what runs."""
        self._abandoned = True
        self.broken(Abandoned())

    def lose(self) -> None:
        """Its deliveries were given to others: settle nothing more, and interrupt what runs, which counts for nothing."""
        self.fenced = True
        self.abandon()
        for run in list(self.hand.runs.values()):
            run.strike(TaskInterrupted)

    def overdue(self, now: float) -> list[Run]:
        """What runs beyond its hard limit, and is not written off yet."""
        if not 0.0 < self.roster.hard <= now:
            return []
        return [run for run in list(self.hand.runs.values()) if 0.0 < run.hard <= now and run.key not in self._written_off]

    @property
    def at_work(self) -> bool:
        """See ``cancels.Holds``."""
        return not self.over.is_set()

    def end_run(self, receipt: Receipt) -> bool:
        """Interrupt its run of what it holds under ``receipt``. False if that is not begun: look again."""
        key = key_of(receipt)
        if key not in self.hand.runs or not self.roster.cancel(key):
            return False
        self.notify()
        return True

    def threads(self) -> list[threading.Thread]:
        """Those on which its tasks run."""
        return self._crew.threads

    def dismiss(self, timeout: float) -> bool:
        """Let go of everything, once the loop is over; False if a task still holds a thread of it."""
        self.thread.join(timeout)
        self.lookout.stop()
        self.watchdog.stop()
        if self.hand.running or self.thread.is_alive():
            self._crew.dismiss()
            return False
        self.pool.stop()
        self._close()
        return True

    # -- the loop's thread

    def _live(self) -> None:
        try:
            self.connect()
            self.serve()
        except Abandoned:
            pass
        except Fenced as fence:
            self.fenced = True
            log.warning("embedded worker: %s", fence)
        except BaseException:
            log.exception("embedded worker: its loop failed")
        finally:
            self._settle_last()
            self.over.set()
            self._tell_end()

    def _settle_last(self) -> None:
        """What is finished must not run again, whyever the loop ended."""
        try:
            if not self.fenced:
                self._gather()
                self.settler.flush()
        except (Abandoned, Fenced):
            pass
        except Exception:
            log.exception("embedded worker: what was finished could not be settled")
        finally:
            self.broker.close()

    def _pause(self, span: float) -> None:
        if self._abandoned:
            raise Abandoned
        super()._pause(span)

    def _collect(self) -> list[Ended]:
        self._write_off()
        return [one for one in super()._collect() if self._written_off.pop(one.run.key, None) is None]

    # -- hard limits

    def _write_off(self) -> None:
        now = self.clock.monotonic()
        for run in self.overdue(now):
            self._written_off[run.key] = run
            self._settle_overdue(run, now)
            if len(self._written_off) >= self.roster.capacity:
                words = "all %d threads of this process's worker hang in tasks beyond their hard limits: it runs nothing more, restart it"
                log.error(words, self.roster.capacity)

    def _settle_overdue(self, run: Run, now: float) -> None:
        delivery, span = run.prepared.delivery, run.hard - run.began
        error = SoftTimeLimitExceeded(f"{run.name} did not end at its hard time limit of {span:g} s, and its thread cannot be ended")
        policy = hard_limit_policy(run.prepared.task.options.retry)
        outcome = after_hard_limit(policy, delivery.envelope.attempt, error=encode_failure(error))
        self.settler.add(delivery.receipt, outcome, now)
        log.error(
            "%s[%s] is beyond its hard limit of %g s: settled as killed, but it goes on in its thread", run.name, delivery.envelope.id, span
        )
        if self._app.events.wanted(TaskTimedOut):
            self._app.events.emit(TaskTimedOut(id=delivery.envelope.id, task=run.name, queue=delivery.envelope.queue, kind="hard"))
        self.teller.ended(run.name, delivery, outcome, now - run.began)

    def ended(self, run: Run, outcome: Outcome) -> None:
        """See ``Host``."""
        if run.key not in self._written_off:
            return super().ended(run, outcome)
        id, late = run.prepared.delivery.envelope.id, self.clock.monotonic() - run.hard
        log.warning("%s[%s] ended %.1f s after its hard limit: what it came to is dropped, its thread works again", run.name, id, late)
        self.hand.end(run, outcome)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
