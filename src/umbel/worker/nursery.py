"""The nursery: the template that children come from now, the one that shall replace it, and those whose children are still out."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from ..clock import Clock
from .catalog import Catalog
from .logs import LINES
from .options import WorkerOptions
from .places import Places
from .reload import difference, needs_restart
from .templates import TemplateProcess
from .twin import Twin
from .wire import LONG_IMPORT, Exited, Failed, Forked, FromTemplate, NotForked, Ready

_START_AGAIN = 1.0
"""Seconds until another try when a template ended before it was ready."""

log = logging.getLogger("umbel.worker")


class Listener(Protocol):
    """Who hears what templates say of children."""

    def forked(self, template: TemplateProcess, message: Forked) -> None: ...
    def not_forked(self, message: NotForked) -> None: ...
    def exited(self, message: Exited) -> None: ...
    def orphaned(self, template: TemplateProcess) -> None:
        """The template is gone, with what it had not said."""
        ...

    def replaced(self, template: TemplateProcess) -> None:
        """Children come from ``template`` from now on."""
        ...


class Pipes(NamedTuple):
    """Ends of pipes that all templates inherit."""

    life: int
    """Closes with the supervisor, which alone holds the other end."""
    events: int
    """What happened in the supervisor, for heralds."""


class Nursery:
    """Hears templates through the supervisor's selector, replaces a dead one, and ends those that nobody needs."""

    def __init__(
        self,
        options: WorkerOptions,
        places: Places,
        pipes: Pipes,
        selector: selectors.BaseSelector,
        clock: Clock,
        twin: Twin | None = None,
    ) -> None:
        """``twin`` becomes the first template, if there is one."""
        self._make: Callable[[Twin | None], TemplateProcess] = lambda twin: TemplateProcess(options, places, *pipes, twin)
        self._children = options.children
        self._selector = selector
        self._clock = clock
        self._listener: Listener
        self._last_catalog: Catalog | None = None
        self._old: list[TemplateProcess] = []
        self._next: TemplateProcess | None = None
        self._start_at: float | None = None
        self._importing: dict[TemplateProcess, tuple[float, float]] = {}
        """Templates that have not said what the app is: since when (monotonic), and when that is told."""
        self.template = self._start(twin)

    def listen(self, listener: Listener) -> None:
        """Once, before the first child is asked for."""
        self._listener = listener

    @property
    def catalog(self) -> Catalog:
        """What the present template said of the app; while a dead one is replaced, what that one said."""
        catalog = self.template.catalog or self._last_catalog
        assert catalog is not None
        return catalog

    @property
    def ready(self) -> bool:
        return self.template.ready

    def _start(self, twin: Twin | None = None) -> TemplateProcess:
        template = self._make(twin)
        now = self._clock.monotonic()
        self._importing[template] = now, now + LONG_IMPORT
        self._selector.register(template.line, selectors.EVENT_READ, lambda: self._hear(template))
        return template

    def _end(self, template: TemplateProcess) -> None:
        self._importing.pop(template, None)
        self._selector.unregister(template.line)
        template.end()

    # -- what they say

    def _hear(self, template: TemplateProcess) -> None:
        if template.gone():
            return
        for message in template.receive():
            self._heard(template, message)
        if template.gone():
            self._is_gone(template)

    def _heard(self, template: TemplateProcess, message: FromTemplate) -> None:
        if isinstance(message, Forked):
            self._listener.forked(template, message)
        elif isinstance(message, NotForked):
            self._listener.not_forked(message)
        elif isinstance(message, Exited):
            self._listener.exited(message)
        elif isinstance(message, Ready):
            self._weigh(template, message.catalog)
            self._is_ready(template)
        elif isinstance(message, Failed):
            stay = "the old code goes on" if template is self._next else "none are made until this is mended"
            log.error("new children cannot be made, %s: %s", stay, message.error, extra=LINES)

    def _weigh(self, template: TemplateProcess, catalog: Catalog) -> None:
        """Nobody is to lose a worker that runs because its new code imports more."""
        allowed = template.introduced(catalog, self._children)
        if allowed.refused or allowed.warning:
            log.error("children of the new template have no limit of memory: %s", allowed.refused or allowed.warning)

    def _is_ready(self, template: TemplateProcess) -> None:
        if template is not self._next or template.catalog is None:
            return
        if fixed := needs_restart(self.catalog, template.catalog):
            log.error("the new code says another %s, which only a restart of the worker changes: the old code goes on", " and ".join(fixed))
            template.process.kill()
        else:
            news = difference(self.catalog, template.catalog)
            self._old.append(self.template)
            self.template, self._next = template, None
            self._listener.replaced(template)
            log.info("children come from new code: %s", news)  # not before the old ones are told to take nothing more

    def _is_gone(self, template: TemplateProcess) -> None:
        self._end(template)
        self._listener.orphaned(template)
        if template in self._old:
            self._old.remove(template)
        elif template is self._next:
            self._next = None
        else:
            log.warning("the template is gone; a new one is started, children that run go on")
            self._last_catalog = template.catalog or self._last_catalog
            # One that does not even come to say what the app is would be started over and over
            self._start_at = self._clock.monotonic() + (0.0 if template.catalog else _START_AGAIN)
            self.turn()

    def mind_imports(self) -> None:
        """Tell of modules that take very long to import, each time after twice as long. The template says where it is."""
        now = self._clock.monotonic()
        for template, (since, told_at) in list(self._importing.items()):
            if template.catalog is not None or template.gone():
                del self._importing[template]
            elif now >= told_at:
                self._importing[template] = since, now + (now - since)
                words = "the app has been importing for %.0f s (process %d), and no children can be made from it before that has ended"
                log.warning(words, now - since, template.process.pid)

    def turn(self) -> None:
        """Start the template that is due."""
        self.mind_imports()
        if self._start_at is not None and self._clock.monotonic() >= self._start_at:
            self._start_at = None
            try:
                self.template = self._start()
            except OSError as exc:  # no room for another process just now: the children that run are not to pay for it
                log.error("no template can be started (%s); trying again in a second", exc)
                self._start_at = self._clock.monotonic() + _START_AGAIN

    # -- orders

    def renew(self) -> None:
        """New code: a new template. When it is ready it takes the place of the present one."""
        self.forget_next()
        try:
            self._next = self._start()
        except OSError as exc:
            log.error("no new template can be started (%s); the children that are here stay", exc)

    def forget_next(self) -> None:
        """The template that is under way is not wanted any more: it may have read code that is older than the next order."""
        if self._next is not None:
            self._next.process.kill()
            self._end(self._next)
            self._next = None

    def abandon(self) -> None:
        """Before there are children: the first template failed, or read code that is out of date. Twice is once."""
        if not self.template.gone():
            self.template.process.kill()
        if self.template.line.fileno() >= 0:
            self._end(self.template)

    def start_over(self) -> None:
        """After ``abandon``: another first template."""
        self.template = self._start()

    def dismiss_unused(self, needed: Collection[TemplateProcess]) -> None:
        """End old templates that have no child left."""
        for template in [one for one in self._old if one not in needed]:
            self._old.remove(template)
            template.process.kill()  # it has nothing to do any more, and nothing here may wait for it
            self._end(template)

    def end(self) -> None:
        """Let templates end; they kill the children of theirs that are left."""
        for template in (self.template, self._next, *self._old):
            if template is not None:
                template.end()
