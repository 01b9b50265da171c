"""What each call of a task with traffic options carries: the marks of its lane, and its keys, as extras of its envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .envelope import SKIPS, Extra
from .key import LATER, Key
from .lane import JOIN, LOCK, Debounce, Mark, Rule, Throttle
from .shape import Shape
from .traffic import KeySource, Traffic, debounce_spans

_ONE = Rule(concurrency=1)


def task_limit(task: str) -> str:
    """The name of a task's own limit, and of the rule that it follows."""
    return f"task:{task}"


def key_rule(task: str) -> str:
    """The rule that the limits of a task's keys follow."""
    return f"key:{task}"


def rules_of(task: str, traffic: Traffic | None) -> dict[str, Rule]:
    """The rules that a task declares, by name."""
    if traffic is None:
        return {}
    found = {task_limit(task): traffic.rule(keyed=False), key_rule(task): traffic.rule(keyed=True)}
    return {name: rule for name, rule in found.items() if rule is not None}


class Marking:
    """Makes the extras of one task's calls."""

    def __init__(self, task: str, traffic: Traffic, shape: Shape) -> None:
        self._task = task
        self._traffic = traffic
        self._own = _mark(task_limit(task), traffic.rule(keyed=False))
        self._own_packed = self._own.pack() if self._own else None
        self._numbers = traffic.rule(keyed=True)
        keyed = "rate_limit" if traffic.rate_limit and traffic.rate_limit.key else "max_concurrency"
        self._lock = self._key("lock", traffic.lock, shape)
        self._keyed = self._key(keyed, traffic.keyed, shape)
        self._unique = self._key("unique", traffic.unique, shape)
        self._debounce = self._key("debounce_key", traffic.debounce_key, shape)
        self._throttle = self._key("throttle_key", traffic.throttle_key, shape)
        self._skips = SKIPS if traffic.on_locked == "skip" else 0

    def _key(self, option: str, source: KeySource | None, shape: Shape) -> Key | None:
        return None if source is None else Key(self._task, option, source, shape)

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[int, bytes] | None, int]:
        """The extras of a call, and the flags that go with them. ``ArgumentError`` where a key cannot be made."""
        extras: dict[int, bytes] = {}
        finest, flags = self._finest(args, kwargs)
        if finest is not None:
            extras[int(Extra.LANE)] = finest.pack()
            if self._own_packed is not None:
                extras[int(Extra.GROUP)] = self._own_packed
        elif self._own_packed is not None:
            extras[int(Extra.LANE)] = self._own_packed
        self._add_key(extras, args, kwargs)
        return extras or None, flags

    def of_member(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], before: int, named: Sequence[str]
    ) -> tuple[dict[int, bytes] | None, int]:
        """The same of a member of a flow, to which others will give ``before`` arguments in front and those ``named``: no key can be
        made of them."""
        return self.of((LATER,) * before + args, {**kwargs, **dict.fromkeys(named, LATER)})

    def _finest(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Mark | None, int]:
        if self._lock is not None and (key := self._lock.of(args, kwargs)) is not None:
            return Mark(f"lock:{key}", LOCK, _ONE), self._skips
        if self._keyed is not None and self._numbers is not None and (key := self._keyed.of(args, kwargs)) is not None:
            rule = key_rule(self._task)
            return Mark(f"{rule}{JOIN}{key}", rule, self._numbers), 0
        return None, 0

    def _add_key(self, extras: dict[int, bytes], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        traffic = self._traffic
        if self._unique is not None:
            if (key := self._unique.of(args, kwargs)) is not None:
                extras[int(Extra.UNIQUE)] = self._scoped(key).encode()
                if traffic.unique_until == "start":
                    extras[int(Extra.UNIQUE_UNTIL)] = b"start"
        elif traffic.debounce is not None:
            key = self._debounce.of(args, kwargs) if self._debounce else ""
            if key is not None:
                extras[int(Extra.DEBOUNCE)] = Debounce(self._scoped(key), *debounce_spans(traffic.debounce)).pack()
        elif traffic.throttle is not None:
            key = self._throttle.of(args, kwargs) if self._throttle else ""
            if key is not None:
                extras[int(Extra.THROTTLE)] = Throttle(self._scoped(key), round(traffic.throttle * 1000)).pack()

    def _scoped(self, key: str) -> str:
        return f"{self._task}{JOIN}{key}"


def _mark(limit: str, rule: Rule | None) -> Mark | None:
    return None if rule is None else Mark(limit, limit, rule)
