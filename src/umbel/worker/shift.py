"""The shift: all children of a worker, from their admission to their burial, and the orders they are given."""

from __future__ import annotations

import itertools
import logging
import math
import selectors
import signal
import time
from collections.abc import Callable

from ..clock import Clock
from ..events import Event
from .burial import Burials, Retirement
from .cancels import Cancels
from .catalog import Catalog
from .clerk import Clerk
from .crew import Killed, Member, is_expected
from .judge import STUCK_AGE
from .nursery import Nursery, Pipes
from .options import WorkerOptions
from .pidfd import lives, open_pidfd
from .places import Places
from .points import reach
from .pool_watch import PoolWatch
from .reload import RELOAD_GRACE
from .scales import Scales
from .slots import IDLE, POKE, Command
from .succession import Succession, stays_no_longer
from .templates import TemplateProcess
from .twin import Twin
from .watch import Watch
from .wire import Exited, Forked, NotForked

_DUMP_GAP = 0.05
"""Seconds between two children's stacks: they all write to the same place."""
INTERRUPT_GRACE = 3.0
"""Seconds that an interrupted task has to clean up before its child is killed."""
_EARLY_DEATH = 1.0
"""Seconds: a child that dies younger, without a task, was not killed by its work; the next one waits a little."""
_CROWDED, _CROWDED_AGAIN = 5.0, 60.0
"""Seconds without a place for new children until that is told, and told again."""

log = logging.getLogger("umbel.worker")


class Shift:
    """What the supervisor's loop does about children. Everything here runs on the loop's thread, and waits for nobody."""

    def __init__(
        self,
        options: WorkerOptions,
        worker: str,
        clock: Clock,
        pipes: Pipes,
        selector: selectors.BaseSelector,
        twin: Twin | None,
    ) -> None:
        self._children = options.children
        self._beside = options.beside
        self._worker = worker
        self._clock = clock
        self._selector = selector
        # Two generations at a renewal, more where edits follow each other or the last of many tasks keeps each one for long, and a few
        # whose end is not certain yet
        self._places = Places(options.children * (4 if options.reload or options.beside else 2) + 4, options.beside)
        self._patience = RELOAD_GRACE if options.reload else math.inf
        self.slots = self._places.slots
        self._numbers = itertools.count(1)
        self.members: list[Member] = []
        self._applicants: dict[str, int] = {}
        """Holders that the broker was asked to admit, and their places."""
        self.nursery = Nursery(options, self._places, pipes, selector, clock, twin)
        self.nursery.listen(self)
        self._succession = Succession(self.slots)
        self._scales = Scales(self.slots, clock)
        self._not_before = 0.0
        self._crowded = math.inf
        """When it is told that there is no place for new children (monotonic)."""
        self._hiring = True
        self._clerk: Clerk
        self._cancels: Cancels[Member]
        self._watch: Watch
        self._burials: Burials

    def begin(self, clerk: Clerk, tell: Callable[[Event], None], fetch_since: Callable[[], float | None]) -> None:
        """From now on children can be had. ``fetch_since``: since when the broker answers (see ``judge``)."""
        self._clerk = clerk
        if self._beside:
            self._watch = PoolWatch(clerk, self._places, self._clock, fetch_since, lambda: self.catalog.shutdown_timeout)
        else:
            self._watch = Watch(clerk, self._places, self._clock, fetch_since)
        self._burials = Burials(clerk, self._worker, self._clock, self._scales.kernel, tell)
        self._cancels = Cancels(clerk, self._clock, self._watch.end_run)

    @property
    def catalog(self) -> Catalog:
        return self.nursery.catalog

    @property
    def busy(self) -> bool:
        """Does any child run something?"""
        return any(self._watch.busy(m) for m in self.members)

    @property
    def staffed(self) -> bool:
        """Are all children there?"""
        return sum(1 for m in self.members if m.pid and not m.leaving) >= self._children

    @property
    def deserted(self) -> bool:
        """Has nobody anything in hand? (Who was not seen has begun nothing; taking leave of the broker withdraws admissions.)"""
        return all(m.unborn or not m.pid for m in self.members)

    @property
    def is_quiet(self) -> bool:
        """Is nothing more begun here?"""
        return not self._hiring

    # -- hiring

    def tend(self, *, hire: bool) -> None:
        """One round over all children."""
        self.nursery.turn()
        self._scales.turn(self.members)
        self._cancels.turn(self.members)
        for member in list(self.members):
            if member.last is None:
                self._find_dead(member)
            if member.last is None:
                self._watch.turn(member)
                if member.overdue and not member.leaving:
                    self._dismiss([member])
                self._hear_wish(member)
                self._doubt_template(member)
                self._hurry(member)
            else:
                self._burials.turn(member, member.tasks, self._buried)
        if hire and self._hiring and self.nursery.ready and self._clock.monotonic() >= self._not_before:
            self._fill()
        self.nursery.dismiss_unused({m.template for m in self.members})

    def _hear_wish(self, member: Member) -> None:
        self._succession.hear(member)
        # Many tasks may take long to end beside each other: their successor does not wait for the last of them
        if (member.wish and not member.leaving) if self._beside else self._succession.may_go(member):
            self._dismiss([member])

    def _doubt_template(self, member: Member) -> None:
        """One that hangs, or was stopped, would keep this worker from new children without a word."""
        if not member.pid and self._clock.monotonic() - member.born > STUCK_AGE and not member.template.gone():
            log.error(
                "the template %d does not fork though it was asked to: it is killed, and a new one started", member.template.process.pid
            )
            member.template.process.kill()

    def _fill(self) -> None:
        missing = self._children - len(self._applicants) - sum(1 for m in self.members if not stays_no_longer(m))
        while missing > 0 and self._places.any_free:
            missing -= 1
            self._apply(f"{self._worker}/{next(self._numbers)}")
        self._mind_crowd(missing)

    def _mind_crowd(self, missing: int) -> None:
        """Say it where there is no place for new children for long, since old ones go on and on with what they run."""
        now = self._clock.monotonic()
        if missing <= 0:
            self._crowded = math.inf
        elif self._crowded == math.inf:
            self._crowded = now + _CROWDED
        elif now >= self._crowded:
            self._crowded = now + _CROWDED_AGAIN
            leaving = sum(1 for m in self.members if m.leaving)
            words = (
                "%d of %d children cannot be made: %d old ones still run their last tasks, and more are not kept (USR1 says what they run)"
            )
            log.error(words, missing, self._children, leaving)

    def _apply(self, holder: str) -> None:
        self._applicants[holder] = self._places.take()
        self._clerk.ask(
            lambda broker: broker.admit(self._worker, holder),
            lambda _: self._admitted(holder),
            lambda error: self._not_admitted(holder, error),
        )

    def _admitted(self, holder: str) -> None:
        member = self._engage(holder)
        reach("supervisor.hired")
        # While the broker was asked, the shift may have become quiet, or the template may have died
        if not self._hiring or not self.nursery.ready or not self.nursery.template.fork(member.slot, holder):
            member.unborn, member.last = True, IDLE

    def _not_admitted(self, holder: str, error: Exception) -> None:
        """Whether it was done is not known: the name is given up, and retired until the broker answers."""
        log.warning("a new child is not admitted yet: %s", error)
        self._not_before = self._clock.monotonic() + 0.5
        member = self._engage(holder)
        member.unborn, member.last = True, IDLE

    def _engage(self, holder: str) -> Member:
        place = self._applicants.pop(holder)
        template = self.nursery.template
        member = Member(place, holder, template, self.catalog.facts(), self._clock.monotonic(), template.limit)
        self._succession.born(member, self.members)
        self.members.append(member)
        return member

    # -- what templates say

    def forked(self, template: TemplateProcess, message: Forked) -> None:
        """Watch a new child, then let it begin, unless another one must end first."""
        member = next((m for m in self.members if m.holder == message.holder), None)
        if member is None or member.last is not None:
            return
        member.pid = message.pid
        try:
            member.pidfd = open_pidfd(message.pid)
        except ProcessLookupError:
            self._died(member)
            return
        if member.pidfd >= 0:
            self._selector.register(member.pidfd, selectors.EVENT_READ, lambda: self._died(member))
        if member.leaving:
            self._dismiss([member])
        if not self._succession.must_wait(member):
            self._let_begin(member)

    def _let_begin(self, member: Member) -> None:
        member.seen = self._clock.monotonic()
        self.slots.seen(member.slot, member.pid)

    def not_forked(self, message: NotForked) -> None:
        log.error("no child could be forked (%s); trying again in a second", message.error)
        self._not_before = self._clock.monotonic() + 1.0
        for member in self.members:
            if member.holder == message.holder:
                member.unborn, member.last = True, IDLE

    def exited(self, message: Exited) -> None:
        for member in self.members:
            if member.pid == message.pid and member.status is None:
                member.status = message.status
                if member.last is None and member.pidfd < 0:
                    self._died(member)

    def orphaned(self, template: TemplateProcess) -> None:
        """Who was asked for and not heard of may live; it was not seen, so it has begun nothing, and ends by itself."""
        for member in self.members:
            if member.template is template and not member.pid and member.last is None:
                member.unborn, member.last = True, IDLE

    def replaced(self, template: TemplateProcess) -> None:
        old = [m for m in self.members if m.template is not template]
        now = self._clock.monotonic()
        for member in old:  # one that was to leave for the code before this one has had its time
            member.until = min(member.until, now if member.leaving and self._patience < math.inf else now + self._patience)
        self._dismiss(old)

    # -- deaths

    def _find_dead(self, member: Member) -> None:
        """Where nothing else tells: without a pidfd, and without the template that would have said it."""
        if member.pid and member.pidfd < 0 and member.template.gone() and not lives(member.pid):
            self._died(member)

    def _died(self, member: Member) -> None:
        if member.pidfd >= 0:
            self._selector.unregister(member.pidfd)
        member.close()
        member.ended = self._clock.monotonic()
        member.rows = self._watch.last_rows(member)
        member.last = self.slots.last_words(member.slot)
        self._succession.hear(member)
        heir = self._succession.ended(member)
        if heir is not None and heir.pid and heir.last is None:
            self._let_begin(heir)

    def _buried(self, member: Member, done: Retirement) -> None:
        self.members.remove(member)
        self._succession.free(member)
        self._places.free(member.slot)
        if not is_expected(member) and not done.inquest.blamed and member.ended - member.born < _EARLY_DEATH:
            self._not_before = self._clock.monotonic() + 0.2

    # -- orders

    def renew(self) -> None:
        """New code: children of a new template take the place of all that are here."""
        self.nursery.renew()

    def quiet(self) -> None:
        """All children begin nothing more; none is hired."""
        self._hiring = False
        self._dismiss(self.members)

    def _dismiss(self, members: list[Member]) -> None:
        for member in members:
            member.leaving = True
            self.slots.command(member.slot, Command.QUIET)
            member.signal(POKE)
            if self._succession.must_wait(member):  # it shall see that it is to go
                self._succession.free(member)
                if member.pid and member.last is None:
                    self._let_begin(member)

    def interrupt(self) -> None:
        """Interrupt what runs; it is given back uncharged."""
        for member in self.members:
            self._interrupt(member)

    def _interrupt(self, member: Member) -> None:
        self.slots.command(member.slot, Command.INTERRUPT)
        self._watch.interrupt(member)

    def kill_all(self) -> None:
        for member in self.members:
            self._kill(member)

    def _kill(self, member: Member) -> None:
        member.leaving = True
        member.kill(Killed.SHUTDOWN, (self.slots.running(member.slot) or self.slots.last_words(member.slot)).version)

    def _hurry(self, member: Member) -> None:
        """The time of a child of old code is over: what it runs is interrupted, each round anew, then killed; it is given back."""
        over = self._clock.monotonic() - member.until
        if over >= INTERRUPT_GRACE:
            self._kill(member)
        elif over >= 0:
            self._interrupt(member)

    def lose(self, holder: str) -> None:
        """A holder of ours is admitted no longer: what it does counts for nothing."""
        for member in self.members:
            if member.holder == holder and member.killed is Killed.NO and member.last is None:
                log.error("the lease of child %d was taken: it is killed, and what it held runs elsewhere", member.pid)
                member.kill(Killed.LOST)

    def lose_all(self) -> None:
        for member in self.members:
            member.kill(Killed.LOST)

    def cancel(self, id: str) -> None:
        """Kill the child that runs message ``id``, if one does or is about to."""
        self._cancels.add(id)

    def dump(self) -> None:
        """Say what runs, and have each child write its stacks."""
        for member in self.members:
            log.warning("child %d runs %s", member.pid, self._watch.say(member))
            member.signal(signal.SIGUSR1)
            time.sleep(_DUMP_GAP)

    def end(self) -> None:
        """Let templates, and with them all children, end."""
        for member in self.members:
            member.signal(signal.SIGKILL)
            member.close()
        self.nursery.end()
