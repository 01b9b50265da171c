"""A task's time limits: its own, else the app's."""

from __future__ import annotations

from msgspec import UNSET

from ..options import TaskOptions
from ..settings import Settings


def limits_of(options: TaskOptions, settings: Settings) -> tuple[float, float]:
    """(soft, hard) in seconds, 0 for none. A soft limit at or beyond the hard one would never be reached, and is none."""
    soft = settings.soft_time_limit if options.soft_time_limit is UNSET else options.soft_time_limit
    hard = settings.time_limit if options.time_limit is UNSET else options.time_limit
    if soft and hard and soft >= hard:
        soft = None
    return soft or 0.0, hard or 0.0
