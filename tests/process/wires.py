"""What the fault tests on Redis ask of a store and of a caller who does not give up."""

from __future__ import annotations

from tests.process.arena import Arena
from tests.waiting import wait_for
from umbel import EnqueueRefused, EnqueueUnknown


def nothing_is_left(arena: Arena, dead: int = 0) -> None:
    """All that was sent is settled: no message waits, none is held, ``dead`` are dead letters."""
    broker = arena.app.make_broker()
    broker.open()
    try:
        wait_for(lambda: _standing(broker) == (0, 0, 0, dead), 30)
    finally:
        broker.close()


def _standing(broker) -> tuple[int, int, int, int]:
    stats = broker.stats()
    return sum(q.ready for q in stats), sum(q.leased for q in stats), sum(q.scheduled for q in stats), sum(q.dead for q in stats)


def insist(arena: Arena, task: str, name: str, *args: object) -> None:
    """Send under ``name`` as id until the store has said that it has it."""

    def sent() -> bool:
        try:
            arena.send(task, name, *args, task_id=name)
        except (EnqueueRefused, EnqueueUnknown):
            return False
        return True

    wait_for(sent, 60, every=0.05)
