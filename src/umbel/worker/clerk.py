"""The clerk: the supervisor's calls of its broker, one after the other, on a thread and a connection of their own.

A broker that is away may let a call hang for many seconds, and meanwhile limits are due and children die. So the
supervisor's loop never calls: it asks the clerk, goes on, and hears of the answer in one of its next rounds. What was
asked earlier is called earlier. What fails is not repeated here: who asked knows what has changed since.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..broker import Broker
from ..errors import BrokerError, Fenced

T = TypeVar("T")
Failed = Callable[[Exception], None]

log = logging.getLogger("umbel.worker")


class _Order(NamedTuple):
    call: Callable[[Broker], Any]
    then: Callable[[Any], None]
    failed: Failed
    done: threading.Event | None = None


class Clerk:
    """Works from ``start`` to ``stop``. ``ask``, ``deliver`` and ``last`` belong to the loop's thread."""

    def __init__(self, broker: Broker, notify: Callable[[], None]) -> None:
        """``notify`` is called from the thread when there is something to ``deliver``."""
        self._broker = broker
        self._notify = notify
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._answers: deque[Callable[[], None]] = deque()
        self._opened = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="umbel-clerk", daemon=True)

    def start(self) -> None:
        """Twice is once."""
        if not self._thread.is_alive() and not self._stopping:
            self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Nothing more is begun; a call that hangs is left behind after ``timeout`` seconds. Twice is once."""
        self._stopping = True
        self._orders.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def ask(self, call: Callable[[Broker], T], then: Callable[[T], None], failed: Failed) -> None:
        """Have ``call`` made on the thread; then one of the others is called by ``deliver``, unless the clerk was stopped."""
        self._orders.put(_Order(call, then, failed))

    def deliver(self) -> None:
        """Hand over the answers that have come."""
        while self._answers:
            self._answers.popleft()()

    def last(self, call: Callable[[Broker], object], timeout: float) -> bool:
        """Have ``call`` made after all that was asked; False if it was not done well within ``timeout`` seconds. Answers to
        others are not delivered any more."""
        if self._stopping or not self._thread.is_alive():
            return False
        done = threading.Event()
        well: list[object] = []
        self._orders.put(_Order(lambda broker: well.append(call(broker)), lambda _: None, lambda _: None, done))
        done.wait(timeout)
        return bool(well)

    # -- the thread

    def _run(self) -> None:
        while (order := self._orders.get()) is not None and not self._stopping:
            self._answers.append(self._do(order))
            if order.done is not None:
                order.done.set()
            self._notify()
        self._broker.close()

    def _do(self, order: _Order) -> Callable[[], None]:
        try:
            if not self._opened:
                self._broker.open()
                self._opened = True
            answer = order.call(self._broker)
        except Exception as exc:  # whatever it was: without this thread nobody's messages are given back
            error = exc
            if not isinstance(exc, BrokerError):
                log.exception("broker: unexpected")
            if not isinstance(exc, Fenced):
                self._reopen_next_time()
            return lambda: order.failed(error)
        return lambda: order.then(answer)

    def _reopen_next_time(self) -> None:
        self._opened = False
        try:
            self._broker.close()
        except Exception as exc:
            log.debug("broker does not close: %s", exc)
