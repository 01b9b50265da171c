"""The lookout: waits for work on a thread and a broker of its own, while the child's loop settles what ends."""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
from collections.abc import Callable, Sequence

from ..broker import Broker
from ..errors import BrokerError

_REST = 0.2
"""Seconds until the end of a wait that failed is told."""
_NOT_ALONE, _OFTEN = 3, 500
"""Failures in a row after which they are told of: of an outage, the exchange that follows the first one says it all."""

log = logging.getLogger("umbel.worker")


class Lookout:
    """One wait at a time. All methods belong to the thread that asks; the broker belongs to the lookout's."""

    def __init__(self, broker: Broker, notify: Callable[[], None]) -> None:
        """``notify`` is called when a wait has ended."""
        self._broker = broker
        self._notify = notify
        self._orders: queue.SimpleQueue[tuple[Sequence[str], float, bool] | None] = queue.SimpleQueue()
        self._stop, self._stop_write = os.pipe()
        for fd in (self._stop, self._stop_write):
            os.set_blocking(fd, False)
        self.waits = False
        """Is a wait under way?"""
        self.alone = True
        """Is it for messages, too, that are to be handed out alone?"""
        self._opened = False
        self._failed = 0
        """Waits that failed one after the other."""
        self._thread = threading.Thread(target=self._live, name="umbel-lookout", daemon=True)

    def wait(self, queues: Sequence[str], timeout: float, *, alone: bool) -> None:
        """Begin to wait (see ``Broker.wait``); ``waits`` is false once that has ended."""
        if not self._thread.is_alive():
            self._thread.start()
        self.waits, self.alone = True, alone
        self._orders.put((tuple(queues), timeout, alone))

    def wake(self) -> None:
        """Let the wait end now."""
        if self.waits:
            os.write(self._stop_write, b"\0")

    def stop(self) -> None:
        """Twice is once."""
        self.wake()
        self._orders.put(None)
        if self._thread.is_alive():
            self._thread.join(1.0)

    @property
    def pipe(self) -> tuple[int, int]:
        """Open for as long as the process is, unless somebody else closes it after ``stop``."""
        return self._stop, self._stop_write

    def _live(self) -> None:
        while (order := self._orders.get()) is not None:
            queues, timeout, alone = order
            try:
                if not self._opened:
                    self._broker.open()
                    self._opened = True
                self._broker.wait(queues, timeout, self._stop, alone=alone)
                self._failed = 0
            except BrokerError as exc:
                self._failed += 1
                if self._failed == _NOT_ALONE or self._failed % _OFTEN == 0:
                    log.warning("waiting for work: %s; trying again", exc)
                self._rest()
            except Exception:
                log.exception("waiting for work: unexpected")
                self._rest()
            self._drain()
            self.waits = False
            self._notify()
        self._broker.close()

    def _rest(self) -> None:
        """After a failure: whoever asked tries an exchange next. If that is answered and waits go on failing, say since the server
        has no second connection for us, then nobody is to be asked again and again without a pause."""
        self._close()
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.poll(_REST * 1000)

    def _close(self) -> None:
        self._opened = False
        try:
            self._broker.close()
        except BrokerError as exc:
            log.debug("broker does not close: %s", exc)

    def _drain(self) -> None:
        try:
            os.read(self._stop, 4096)
        except BlockingIOError:
            pass
