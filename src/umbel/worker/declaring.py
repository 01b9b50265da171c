"""Telling the store which limits the code declares: at start, and after each reload."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..broker import Broker
from ..clock import Clock
from ..errors import NotSupported
from ..facets import Limits
from ..lane import Rule
from ..marking import rules_of
from .clerk import Clerk

if TYPE_CHECKING:
    from ..app import Umbel

_AGAIN = 1.0
"""Seconds until a store that could not be told is told again."""

log = logging.getLogger("umbel.worker")


def declared_rules(app: Umbel) -> dict[str, Rule]:
    """The numbers of all limits that the app's tasks declare, by rule."""
    return {name: rule for task in app.tasks.values() for name, rule in rules_of(task.name, task.options.traffic).items()}


def declare(broker: Broker, rules: Mapping[str, Rule]) -> None:
    """Raises ``NotSupported`` for a store that keeps no limits: calls of the tasks that have any are refused by it too."""
    if not isinstance(broker, Limits):
        raise NotSupported(f"the {broker.capabilities.name} broker keeps no limits, and {', '.join(sorted(rules))} are declared")
    broker.declare(rules)


class Declaring:
    """Call ``turn()`` often: it asks until the store has heard. Numbers that an operator set are the store's to keep."""

    def __init__(self, clerk: Clerk, clock: Clock) -> None:
        self._clerk = clerk
        self._clock = clock
        self._rules: Mapping[str, Rule] = {}
        self._failing = False
        self._next: float | None = None
        """When to ask (monotonic); None while there is nothing to say."""

    def say(self, rules: Mapping[str, Rule]) -> None:
        """These are declared now."""
        if rules and rules != self._rules:
            self._next = 0.0
        self._rules = rules

    def turn(self) -> None:
        """Ask if it is time."""
        if self._next is None or self._clock.monotonic() < self._next:
            return
        self._next = None
        rules = self._rules
        self._clerk.ask(lambda broker: declare(broker, rules), self._heard, self._failed)

    def _heard(self, _: None) -> None:
        self._failing = False

    def _failed(self, error: Exception) -> None:
        if isinstance(error, NotSupported):
            log.error("%s", error)
            return
        if not self._failing:
            log.warning("limits are not declared yet: %s", error)
        self._failing = True
        self._next = self._clock.monotonic() + _AGAIN
