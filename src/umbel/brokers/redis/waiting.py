"""Waiting for work without asking again and again.

Whatever makes a message claimable puts a token into its queue's token list unless one is there, in the same step; here is
who takes it. The second connection is there so that the first is never in the middle of something.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any

from ...broker import WAIT_MAX
from ...clock import Clock
from ...errors import BrokerUnreachable, ReplyLost
from .connection import Address, Line
from .keys import Keys
from .scripts import RING, WAITING

# a server that is slower than this to end a wait is taken for dead
_GRACE = 5.0
# the shortest that BLPOP is asked for; it takes 0 for for ever
_SHORTEST = 0.001


class Waiter:
    """Blocks on token lists, on a connection of its own."""

    def __init__(self, address: Address, main: Line, keys: Keys, clock: Clock) -> None:
        self._line = Line(address)
        self._main = main
        self._keys = keys
        self._clock = clock

    def drop(self) -> None:
        self._line.drop()

    def wait(self, queues: Sequence[bytes], timeout: float, stop: int | None, alone: bool) -> bool:
        tokens = [*map(self._keys.token, queues), *(map(self._keys.alone_token, queues) if alone else ())]
        deadline = self._clock.monotonic() + timeout
        while True:
            # A token may have been taken by someone who then claimed nothing, so the queues are asked as well. Nothing is
            # missed between the question and BLPOP: what comes in meanwhile leaves its token.
            due = self._next_claimable(queues, alone)
            left = deadline - self._clock.monotonic()
            if due == 0 or left < _SHORTEST:
                return due == 0
            span = left if due is None else min(left, due)
            if not queues:
                self._rest(span, stop)
                return False
            self._line.send("BLPOP", *tokens, f"{max(span, _SHORTEST):.3f}")
            if not self._answered(span, stop):
                self._give_up(queues)
                return False
            token = self._ended()
            if token is not None and (alone or self._is_mine(queues, self._keys.queue_of_token(token[0]))):
                return True

    @staticmethod
    def _rest(span: float, stop: int | None) -> None:
        """Nothing is waited for but ``stop``."""
        poll = select.poll()
        if stop is not None:
            poll.register(stop, select.POLLIN)
        poll.poll(span * 1000)

    def _is_mine(self, queues: Sequence[bytes], queue: bytes) -> bool:
        """Is there something for one who holds deliveries already? If not, a token of ``queue`` is passed on to one who does not."""
        if self._next_claimable(queues, False) == 0:
            return True
        if self._next_claimable([queue], True) == 0:
            self._main.run(RING, 1, self._keys.root, queue, "a:")
        return False

    def news(self, key: bytes, after: bytes, timeout: float) -> bytes | None:
        """Block until the stream ``key`` has an entry after the one called ``after``: its name, or None after ``timeout`` (s).

        A stream is read, not taken from, so one entry wakes everybody; and whoever begins late finds it there.
        """
        self._line.send("XREAD", "COUNT", 1, "BLOCK", max(1, int(timeout * 1000)), "STREAMS", key, after)
        self._answered(timeout, None)
        reply = self._ended()
        return None if reply is None else reply[0][1][0][0]

    def _answered(self, span: float, stop: int | None) -> bool:
        """True when the reply is there, False when ``stop`` is readable and it is not."""
        poll = select.poll()
        poll.register(self._line.fileno(), select.POLLIN)
        if stop is not None:
            poll.register(stop, select.POLLIN)
        try:
            ready = poll.poll((span + _GRACE) * 1000)
        except BaseException:
            self._line.drop()
            raise
        if not ready:
            self._line.drop()
            raise BrokerUnreachable(f"redis did not end a wait of {span:.3f} s")
        return any(fd != stop for fd, _ in ready)

    def _give_up(self, queues: Sequence[bytes]) -> None:
        """Nobody will read the reply. Whether a token is on its way cannot be known, and one lost costs another waiter up
        to 5 s, so each queue that has something gets its token again; so does one that will have something before the waits
        of others end: perhaps nobody but this one was told of it."""
        self._line.drop()
        for queue in queues:
            due = self._next_claimable([queue], True)
            if due is not None and due <= WAIT_MAX:
                self._main.run(RING, 1, self._keys.root, queue, "t:")

    def _ended(self) -> Any:
        """The reply to a blocking command."""
        try:
            reply: Any = self._line.read()
        except ReplyLost as exc:
            raise BrokerUnreachable(str(exc)) from exc  # a token is all that can be lost, and it is made good; news stay
        if isinstance(reply, Exception):
            self._line.drop()
            raise BrokerUnreachable(f"redis ended a wait: {reply}") from reply
        return reply

    def _next_claimable(self, queues: Sequence[bytes], alone: bool) -> float | None:
        """Seconds until something is claimable; None if nothing is to be."""
        ms = int(self._main.run(WAITING, 1, self._keys.root, int(alone), *queues))
        return None if ms < 0 else ms / 1000
