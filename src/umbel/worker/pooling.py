"""The life of a child that runs many tasks at once, from its fork to its exit status."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import Fenced
from .child import Birth, be_born, is_seen, let_go
from .endings import EXIT_FENCED, EXIT_UNSEEN
from .points import reach
from .pooled import Place, PooledChild
from .roster import Roster
from .slots import POKE
from .title import PoolTitle

if TYPE_CHECKING:
    from ..app import Umbel

_TURN = 0.001
"""Seconds after which a thread that computes lets another one have the interpreter: the one that exchanges needs it for
moments, several times a round trip, and with CPython's 5 ms the tasks that wait for its claim would wait for those too."""

log = logging.getLogger("umbel.worker")


def run_pooled(app: Umbel, kind: str, birth: Birth, roster: Roster, queues: list[str], strict: bool) -> int:
    """The whole life, right after the fork. Returns its exit status; threads that still run tasks end with the process."""
    be_born(birth.life)
    reach("child.born")
    if not is_seen(birth.slot, birth.parent):
        return EXIT_UNSEEN
    place = Place(birth.slot, roster, birth.permits, app.settings.max_tasks_per_child, birth.max_memory)
    PoolTitle(app.settings.name, roster).start()
    child = PooledChild(app, kind, app.make_broker(), app.make_broker(), birth.holder, place, queues, strict)
    _hear_signals(child)
    sys.setswitchinterval(_TURN)
    os.register_at_fork(after_in_child=partial(let_go, child.let_go))
    status = EXIT_FENCED
    try:
        child.connect()
        status = child.serve()
    except Fenced as fence:
        log.warning("child ends: %s", fence)
    except Exception:
        child.settler.flush()  # what is finished must not run again because this process cannot go on
        raise
    finally:
        child.broker.close()
    reach("child.leaving")
    return status


def _hear_signals(child: PooledChild) -> None:
    """Handlers run on this thread, between two instructions, and in a call of the broker that an order breaks off."""
    signal.set_wakeup_fd(child.wake_fd, warn_on_full_buffer=False)
    signal.signal(POKE, lambda number, frame: child.tether.on_signal())
    faulthandler.unregister(signal.SIGUSR1)  # anew, since it goes on to the handler that it finds when it is registered
    signal.signal(signal.SIGUSR1, partial(_describe, child))
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=True)


def _describe(child: PooledChild, number: int, frame: FrameType | None) -> None:
    for line in child.pool.describe():
        log.warning("waits: %s", line)
