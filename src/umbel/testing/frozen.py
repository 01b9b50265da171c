"""The clock of a sandbox: it stands still until the test moves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..clock import SYSTEM, seconds, to_datetime, to_ms
from .clock import ManualClock


class FrozenClock:
    """A :class:`~umbel.clock.Clock` that stands at one moment, and moves only forwards and only when told to.

    It begins at the machine's time, or at ``start`` (a naive one is UTC). Safe to share between threads. (``ManualClock``
    is for authors of brokers: it counts milliseconds, can be set back, and knows of suspended machines.)
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._follows = start is None
        self._hand = ManualClock(SYSTEM.now() if start is None else to_ms(start))

    @property
    def time(self) -> datetime:
        """The moment at which it stands, in UTC."""
        return to_datetime(self._hand.now())

    def advance(self, span: float | timedelta) -> None:
        """Let ``span`` (seconds or a ``timedelta``) pass. ``ValueError`` for a negative one."""
        passed = seconds(span)
        if not 0 <= passed < float("inf"):
            raise ValueError(f"clock.advance({span!r}): it must be 0 seconds or more; time does not run backwards")
        self._hand.advance(round(passed * 1000))

    def move_to(self, moment: datetime) -> None:
        """Let the time pass until ``moment`` (a naive one is UTC). ``ValueError`` for one that is over."""
        left = to_ms(moment) - self._hand.now()
        if left < 0:
            raise ValueError(f"clock.move_to({moment}): it is {self.time} already; time does not run backwards")
        self._hand.advance(left)

    def catch_up(self) -> None:
        """Move to the machine's time, if that is later. Not after a ``start`` of one's own.

        Called where somebody names an absolute time: he took it from the machine's clock, which has gone on meanwhile, so
        that "in an hour" would else be some milliseconds more than an hour here.
        """
        # The next millisecond: his moment lies within the present one, and may have been rounded up
        behind = SYSTEM.now() + 1 - self._hand.now()
        if self._follows and behind > 0:
            self._hand.advance(behind)

    # -- as a clock

    def now(self) -> int:
        return self._hand.now()

    def monotonic(self) -> float:
        return self._hand.monotonic()

    def boottime(self) -> float:
        return self._hand.boottime()

    def __repr__(self) -> str:
        return f"<FrozenClock at {self.time.isoformat(sep=' ', timespec='milliseconds')}>"
