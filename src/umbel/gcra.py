"""The generic cell rate algorithm: a rate is one number, the *theoretical arrival time* (``tat``) of the next hand-out.

Pure, in ms of the store's clock; fractions of a ms count, so that rates over 1000/s work. Stores that have a language of their own
(Lua) say the same there, and the conformance suite holds them to it.
"""

from __future__ import annotations

from .lane import Rule

CATCH_UP = 100.0
"""Ms of unused rate that may be used later, besides the burst: what a worker that was late by a round trip or a collection may
make good, so that a rate is met and not merely never exceeded."""


def sane(tat: float, rule: Rule, now: int) -> float:
    """``tat`` as it may be: no further ahead than a full burst. Only a clock that stepped back, or a rule that became faster, lets it be
    further. To be **kept**: what is worked out anew at each look would go on ahead of the clock for as long as the step was.
    """
    interval = rule.interval
    return tat if interval is None or interval == float("inf") else min(tat, now + rule.burst * interval)


def room_at(tat: float, rule: Rule, now: int) -> float:
    """When the next token is there; ``now`` or earlier: at once; infinite: never, while the rule is this one. Of a sane ``tat``."""
    interval = rule.interval
    if interval is None:
        return 0.0
    if interval == float("inf"):
        return interval
    return sane(tat, rule, now) - (rule.burst - 1) * interval


def taken(tat: float, rule: Rule, now: int) -> float:
    """``tat`` after one more hand-out."""
    interval = rule.interval
    if interval is None or interval == float("inf"):
        return 0.0
    return max(sane(tat, rule, now), now - CATCH_UP) + interval


def returned(tat: float, rule: Rule) -> float:
    """``tat`` after one hand-out was given back unbegun."""
    interval = rule.interval
    return tat if interval is None or interval == float("inf") else tat - interval


def is_full(tat: float, now: int) -> bool:
    """Is the state the same as none at all? Then a store need not keep it."""
    return tat <= now - CATCH_UP
