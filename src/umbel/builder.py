"""``flow()``: any graph of calls, with named nodes and several parents. Cycles are refused when it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, cast

from .canvas import Canvas, checked_part
from .errors import ConfigError
from .graph import Entry, Exit, Graph, numbers_of
from .signature import Part, Signature, checked_policy


class Step:
    """One part of a flow that is being built, as ``add`` answers with it: for ``after=``."""

    __slots__ = ("name", "named", "order", "parents", "part", "policy")

    def __init__(
        self, name: str, part: Part, parents: list[str], named: dict[str, str] | None, order: list[str], policy: str | None
    ) -> None:
        self.name, self.part, self.parents, self.named, self.order, self.policy = name, part, parents, named, order, policy

    def __repr__(self) -> str:
        return f"<Step {self.name}>"


class flow(Canvas):
    """A graph, built by :meth:`add`; sent as every canvas, by ``delay`` or ``apply_async``. Its value is that of the one step that
    nothing follows, or a dict of theirs by name where there are several."""

    label = "flow"

    def __init__(self, name: str | None = None, *, on_error: str | None = None) -> None:
        """``name``: how it is shown. ``on_error``: ``"stop"`` (what follows a failure is abandoned) or ``"continue"``."""
        super().__init__()
        self.steps: dict[str, Step] = {}
        if name is not None:
            self.set(name=name)
        if on_error is not None:
            self.set(on_error=on_error)

    def add(self, part: Part, *, after: Any = None, name: str | None = None, on_error: str | None = None) -> Step:
        """Add a call, or a whole chain, group, chord.

        ``after``: the step, the name, or several, whose values are put in front of its arguments, in that order; or a dict of
        parameters and steps, whose values are given by name. A name may be of a step that is added later. ``name`` (default: the
        task's, numbered) is how it is shown and how ``FlowResult.value_of`` finds it. ``on_error``: as the flow's, for this alone.
        """
        checked_part(self, len(self.steps), part)
        called = name if name is not None else self._named_after(part)
        if called in self.steps or "=" in called or not called:
            raise ConfigError(
                f"flow: the name {called!r} "
                + ("is taken: give each step its own" if called in self.steps else "must not be empty nor have a =")
            )
        named = {key: _name(each) for key, each in after.items()} if isinstance(after, Mapping) else None
        order = list(named.values()) if named is not None else [_name(each) for each in _listed(after)]
        policy = checked_policy(on_error) if on_error is not None else None
        step = self.steps[called] = Step(called, part, list(dict.fromkeys(order)), named, order, policy)
        return step

    def _named_after(self, part: Part) -> str:
        base = part.task.rpartition(".")[2] if isinstance(part, Signature) else getattr(part, "label", "part")
        return (
            base
            if base not in self.steps
            else next(n for n in (f"{base}-{i}" for i in range(2, len(self.steps) + 3)) if n not in self.steps)
        )

    def laid(self, graph: Graph, entry: Entry) -> Exit:
        exits: dict[str, Exit] = {}
        for step in self._sorted():
            before = graph.policy
            graph.policy = step.policy or before
            first = graph.next
            exits[step.name] = step.part.lay(graph, self._entry(graph, step, exits, entry))
            graph.policy = before
            graph.kept.update(numbers_of(exits[step.name].value))
            if isinstance(step.part, Signature):
                graph.vertices[first].label = f"{step.name}={step.part.task}" if step.name != step.part.task else step.name
        followed = {parent for step in self.steps.values() for parent in step.parents}
        last = {name: exit for name, exit in exits.items() if name not in followed}
        ends = tuple(dict.fromkeys(end for exit in last.values() for end in exit.ends))
        if len(last) == 1:
            return next(iter(last.values()))
        return Exit(ends, {"d": {name: exit.value for name, exit in last.items()}})

    def _entry(self, graph: Graph, step: Step, exits: Mapping[str, Exit], entry: Entry) -> Entry:
        if not step.parents:
            return entry
        after = tuple(dict.fromkeys(end for name in step.parents for end in exits[name].ends))
        if step.named is not None:
            return Entry(after, (), {key: exits[name].value for key, name in step.named.items()})
        return Entry(after, tuple(exits[name].value for name in step.order))

    def _sorted(self) -> list[Step]:
        for step in self.steps.values():
            for parent in step.parents:
                if parent not in self.steps:
                    raise ConfigError(f"flow: {step.name!r} is to run after {parent!r}, which is not in it; it has {', '.join(self.steps)}")
        try:
            order = TopologicalSorter({step.name: step.parents for step in self.steps.values()}).static_order()
            return [self.steps[name] for name in order]
        except CycleError as exc:
            raise ConfigError(f"flow: steps wait for each other in a circle: {' → '.join(reversed(exc.args[1]))}") from None

    def given(self, args: Any, kwargs: Mapping[str, Any] | None) -> flow:
        copy = flow()
        copy.options, copy.on_error = dict(self.options), self.on_error
        for step in self.steps.values():
            part = step.part if step.parents else step.part.given(args, kwargs)
            copy.steps[step.name] = Step(step.name, part, step.parents, step.named, step.order, step.policy)
        return copy

    @property
    def app(self) -> Any:
        return next((step.part.app for step in self.steps.values() if step.part.app is not None), None)

    @property
    def kind(self) -> Any:
        followed = {parent for step in self.steps.values() for parent in step.parents}
        last = [step for step in self.steps.values() if step.name not in followed]
        return last[0].part.kind if len(last) == 1 else None

    def __repr__(self) -> str:
        return f"<flow of {', '.join(self.steps) or 'nothing'}>"


def _name(each: Any) -> str:
    if isinstance(each, Step):
        return each.name
    if isinstance(each, str):
        return each
    raise ConfigError(f"after = {each!r}: it must be what add() answered with, or the name of a step, or several")


def _listed(after: Any) -> list[Any]:
    if after is None:
        return []
    if isinstance(after, str | Step):
        return [after]
    return list(cast(Iterable[Any], after))
