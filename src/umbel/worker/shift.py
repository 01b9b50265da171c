"""The shift: all children of a worker, the templates they come from, and what must be done about each of them."""

from __future__ import annotations

import itertools
import logging
import os
import select
import selectors
import signal
import time

from ..broker import Broker
from ..clock import Clock
from ..envelope import Receipt
from ..errors import BrokerError, Fenced
from .catalog import Catalog
from .child import POKE
from .crew import Killed, Member, blame_for, describe_end
from .judge import Sentence, holds_hostages, judge
from .options import WorkerOptions
from .permits import Permits
from .points import reach
from .slots import Command, Running, Slots
from .templates import TemplateProcess
from .wire import Exited, Failed, Forked, FromTemplate, NotForked, Ready

_DUMP_GAP = 0.05
"""Seconds between two children's stacks: they all write to the same place."""
_LAST_WORD = 0.05
"""Seconds to wait for a template to say how its child ended."""
_EARLY_DEATH = 1.0
"""Seconds: a child that dies younger, without a task, was not killed by its work; the next one waits a little."""
_AWAY = 0.5
"""Seconds without another call when one has failed: each may take long to fail, and limits are due meanwhile."""

log = logging.getLogger("umbel.worker")


class Shift:
    """Everything the supervisor's loop does about children."""

    def __init__(self, options: WorkerOptions, worker: str, clock: Clock, life: int, selector: selectors.BaseSelector) -> None:
        self._options = options
        self._worker = worker
        self._clock = clock
        self._life = life
        self._selector = selector
        count = options.concurrency * 2 + 4  # two generations at a reload, and a few whose end is not certain yet
        self.slots = Slots.create(count)
        self.permits = [Permits.create() for _ in range(count)]
        self._free = list(range(count))
        self._numbers = itertools.count(1)
        self.members: list[Member] = []
        self.template = self._new_template()
        self._last_catalog: Catalog | None = None
        self._old_templates: list[TemplateProcess] = []
        self._next_template: TemplateProcess | None = None
        self._statuses: dict[int, int] = {}
        self._not_before = 0.0
        self._away_until = 0.0
        self._hiring = True
        self._broker: Broker

    def begin(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def catalog(self) -> Catalog:
        catalog = self.template.catalog or self._last_catalog  # while a dead template is replaced: what it said
        assert catalog is not None
        return catalog

    @property
    def busy(self) -> bool:
        """Does any child run something?"""
        return any((r := self.slots.running(m.slot)) is None or r.busy for m in self.members)

    @property
    def staffed(self) -> bool:
        """Are all children there?"""
        return sum(1 for m in self.members if m.pid and not m.leaving) >= self._options.concurrency

    # -- templates

    def _new_template(self) -> TemplateProcess:
        template = TemplateProcess(self._options, self.slots, self.permits, self._life)
        self._selector.register(template.line, selectors.EVENT_READ, lambda: self._hear(template))
        return template

    def _hear(self, template: TemplateProcess) -> None:
        if template.gone():
            return  # heard of already in this round, while a dead child's status was waited for
        for message in template.receive():
            self._heard(template, message)
        if template.gone():
            self._template_gone(template)

    def _heard(self, template: TemplateProcess, message: FromTemplate) -> None:
        if isinstance(message, Forked):
            self._forked(template, message)
        elif isinstance(message, NotForked):
            self._not_forked(message)
        elif isinstance(message, Exited):
            self._statuses[message.pid] = message.status
        elif isinstance(message, Ready):
            template.catalog = message.catalog
            self._template_ready(template)
        elif isinstance(message, Failed):
            log.error("new children cannot be made: %s", message.error)

    def _template_ready(self, template: TemplateProcess) -> None:
        if template is self._next_template:
            self._old_templates.append(self.template)
            self.template, self._next_template = template, None
            self._dismiss([m for m in self.members if m.template is not template])

    def _template_gone(self, template: TemplateProcess) -> None:
        self._selector.unregister(template.line)
        template.end()
        for member in self.members:
            if member.template is template and not member.pid:
                member.last = self.slots.last_words(member.slot)  # it may live unseen: retiring its name fences it
        if template in self._old_templates:
            self._old_templates.remove(template)
        elif template is self._next_template:
            self._next_template = None
        else:
            log.warning("the template is gone; a new one is started, children that run go on")
            self._last_catalog = template.catalog or self._last_catalog
            self._not_before = self._clock.monotonic() + (0.0 if template.catalog else 1.0)
            self.template = self._new_template()

    def renew(self) -> None:
        """New code: a new template; when it is ready its children replace the old ones."""
        if self._next_template is not None:  # it may have read code that is older than this order
            self._selector.unregister(self._next_template.line)
            self._next_template.process.kill()
            self._next_template.end()
        self._next_template = self._new_template()

    # -- hiring

    def tend(self, *, hire: bool) -> None:
        """One round over all children."""
        now = self._clock.monotonic()
        for member in list(self.members):
            if member.last is None:
                self._watch(member, now)
            if member.last is not None:
                self._bury(member)
        if hire and self._hiring and self.template.ready and now >= self._not_before:
            self._fill(now)
        for template in list(self._old_templates):
            if not any(m.template is template for m in self.members):
                self._old_templates.remove(template)
                self._selector.unregister(template.line)
                template.end()

    def _fill(self, now: float) -> None:
        while sum(1 for m in self.members if not m.leaving) < self._options.concurrency and self._free:
            if not self._hire(now):
                return

    def _hire(self, now: float) -> bool:
        holder = f"{self._worker}/{next(self._numbers)}"
        try:
            self._broker.admit(self._worker, holder)
        except (BrokerError, Fenced) as exc:
            log.warning("a new child is not admitted yet: %s", exc)
            self._not_before = now + 0.5
            return False
        slot = self._free.pop(0)
        self.slots.clear(slot)
        self.permits[slot].drain()
        member = Member(slot, holder, self.template, now)
        self.members.append(member)
        reach("supervisor.hired")
        if not self.template.fork(slot, holder):
            member.unborn, member.last = True, self.slots.last_words(slot)
        return True

    def _forked(self, template: TemplateProcess, message: Forked) -> None:
        member = next((m for m in self.members if m.holder == message.holder), None)
        if member is None or member.last is not None:
            return
        member.pid = message.pid
        try:
            member.pidfd = os.pidfd_open(message.pid)
        except ProcessLookupError:
            member.last = self.slots.last_words(member.slot)
            return
        self._selector.register(member.pidfd, selectors.EVENT_READ, lambda: self._died(member))
        if member.leaving:
            self._dismiss([member])

    def _not_forked(self, message: NotForked) -> None:
        log.error("no child could be forked (%s); trying again in a second", message.error)
        self._not_before = self._clock.monotonic() + 1.0
        for member in self.members:
            if member.holder == message.holder:
                member.unborn, member.last = True, self.slots.last_words(member.slot)

    # -- watching

    def _watch(self, member: Member, now: float) -> None:
        if member.owed:
            self._give_back(member)
        running = self.slots.running(member.slot)
        if running is None or not member.pid:
            return
        sentence = judge(running, now, self.slots.soft_done(member.slot), self.slots.beat(member.slot))
        if sentence is Sentence.SOFT:
            self._interrupt(member, running)
        elif sentence is Sentence.HARD:
            if self.slots.running(member.slot) == running:
                member.kill(Killed.HARD, running.version)
        elif sentence is Sentence.STUCK:
            log.error("child %d does not turn its loop: killed", member.pid)
            member.kill(Killed.STUCK)
        if (holds_hostages(running, now) or (member.leaving and running.busy)) and not member.owed and member.owed_seq != running.seq:
            self._take_back(member)

    def _interrupt(self, member: Member, running: Running) -> None:
        self.slots.want_soft(member.slot, running.version)
        member.signal(POKE)

    def _take_back(self, member: Member) -> None:
        """Take the permits that are left; they belong to the batch that the slot shows afterwards, since a child whose
        permits were taken goes no further than that batch."""
        taken = self.permits[member.slot].drain()
        if not taken:
            return
        running = None
        while running is None:
            running = self.slots.running(member.slot)
        member.owed = [Receipt(member.holder, running.seq, i) for i in range(running.size - taken, running.size)]
        member.owed_seq = running.seq
        reach("supervisor.took_permits")
        self._give_back(member)

    def _give_back(self, member: Member) -> None:
        if self._clock.monotonic() < self._away_until:
            return
        try:
            returned = self._broker.give_back(member.holder, member.owed)
        except BrokerError as exc:
            self._away_until = self._clock.monotonic() + _AWAY
            log.warning("giving back is delayed: %s", exc)  # tried again: whether it was done is not known, and it may be repeated
            return
        log.debug("%d messages that child %d had not begun were given back", returned, member.pid)
        member.owed = []
        self.slots.returned(member.slot, member.owed_seq)

    # -- deaths

    def _died(self, member: Member) -> None:
        if member.pidfd >= 0:
            self._selector.unregister(member.pidfd)
        member.close()
        member.status = self._status_of(member)
        member.last = self.slots.last_words(member.slot)
        self._bury(member)

    def _status_of(self, member: Member) -> int | None:
        """How it ended. The pidfd is a little faster than the template's word, which is worth a short wait."""
        line = member.template.line
        while member.pid not in self._statuses and not line.closed and select.select([line], [], [], _LAST_WORD)[0]:
            self._hear(member.template)
        return self._statuses.pop(member.pid, None)

    def _bury(self, member: Member) -> None:
        """Retire the holder; repeated until the broker has answered."""
        if self._clock.monotonic() < self._away_until:
            return
        try:
            blame = blame_for(member, self._broker, self.catalog_of(member).tasks)
            reach("supervisor.before_retire")
            retired = self._broker.retire(member.holder, blame, describe_end(member))
        except BrokerError as exc:
            self._away_until = self._clock.monotonic() + _AWAY
            log.warning("a dead child's messages are given back later: %s", exc)
            return
        if member not in self.members:
            return
        self.members.remove(member)
        self._statuses.pop(member.pid, None)
        if member.pid or member.unborn:
            self._free.append(member.slot)  # else it may be in use by a child that nobody has seen
        expected = member.leaving or member.unborn or member.killed is not Killed.NO
        if not expected:
            running = f" while running delivery {blame.receipt}" if blame else ""
            log.error("child %d %s%s; %d messages given back", member.pid, describe_end(member), running, retired.returned)
            if blame is None and self._clock.monotonic() - member.born < _EARLY_DEATH:
                self._not_before = self._clock.monotonic() + 0.2
        if retired.blamed is not None:
            log.error("%s became a dead letter: %s", retired.blamed.id, retired.blamed.reason)

    def catalog_of(self, member: Member) -> Catalog:
        catalog = member.template.catalog
        assert catalog is not None, "a child comes from a template that was ready"
        return catalog

    # -- orders

    def quiet(self) -> None:
        """All children begin nothing more; none is hired."""
        self._hiring = False
        self._dismiss(self.members)

    def _dismiss(self, members: list[Member]) -> None:
        for member in members:
            member.leaving = True
            self.slots.command(member.slot, Command.QUIET)
            member.signal(POKE)

    def interrupt(self) -> None:
        """Interrupt what runs; it is given back uncharged."""
        for member in self.members:
            self.slots.command(member.slot, Command.INTERRUPT)
            running = self.slots.running(member.slot)
            if running is not None and running.busy:
                self._interrupt(member, running)

    def kill_all(self) -> None:
        for member in self.members:
            member.leaving = True
            member.kill(Killed.SHUTDOWN, (self.slots.running(member.slot) or self.slots.last_words(member.slot)).version)

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
        """Kill the child that runs message ``id``, if one does."""
        for member in self.members:
            running = self.slots.running(member.slot)
            if running is None or not running.busy:
                continue
            receipt = Receipt(member.holder, running.seq, running.at)
            try:
                held = self._broker.resume(member.holder)
            except BrokerError as exc:
                log.warning("cannot cancel %s: %s", id, exc)
                return
            if any(d.receipt == receipt and d.envelope.id == id for d in held) and self.slots.running(member.slot) == running:
                log.warning("%s is cancelled: child %d is killed", id, member.pid)
                member.kill(Killed.CANCEL, running.version)

    def dump(self) -> None:
        """Say what runs, and have each child write its stacks."""
        now = self._clock.monotonic()
        for member in self.members:
            running = self.slots.running(member.slot)
            what = f"delivery {running.seq}:{running.at} for {now - running.started:.1f} s" if running and running.busy else "nothing"
            log.warning("child %d runs %s", member.pid, what)
            member.signal(signal.SIGUSR1)
            time.sleep(_DUMP_GAP)

    def end(self) -> None:
        """Let templates, and with them all children, end."""
        for member in self.members:
            member.signal(signal.SIGKILL)
            member.close()
        for template in (self.template, self._next_template, *self._old_templates):
            if template is not None:
                template.end()
