"""The workers that the store knows, read from what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..broker import Broker
from ..facets import Inspects, WorkerSeen
from ..release import base_of


class About(msgspec.Struct, omit_defaults=True):
    """What a worker says of itself; a newer one may say more, a foreign one nothing."""

    host: str = ""
    pid: int = 0
    app: str = ""
    release: str = ""
    queues: list[str] = []
    pool: str = ""
    concurrency: int = 0
    """Children of prefork; of the others, tasks that each child runs at once."""
    children: int = 0
    started: int = 0
    tasks: list[str] = []

    def slots(self) -> str:
        """How many tasks it runs at once, in words: children, and where each runs many, how many those are."""
        if not self.concurrency or self.pool in ("", "prefork"):
            return str(self.concurrency or "-")
        return f"{self.children or 1} x {self.concurrency} {self.pool}"


class Seen(msgspec.Struct):
    """One worker. ``left`` ms until its lease ends; negative if it ended."""

    worker: str
    left: int
    holders: int
    about: About

    @property
    def alive(self) -> bool:
        return self.left > 0


class Roster:
    """All workers; None for ``seen`` where the broker cannot say."""

    def __init__(self, seen: list[Seen] | None) -> None:
        self.seen = seen

    @classmethod
    def of(cls, broker: Broker, now: int) -> Roster:
        """Ask the store."""
        return cls([_read(one, now) for one in broker.workers()] if isinstance(broker, Inspects) else None)

    def alive(self) -> list[Seen]:
        return [one for one in self.seen or () if one.alive]

    def serving(self, queue: str) -> list[Seen]:
        """Live workers that take from ``queue``: where it is a release's own and no worker of that lives, those that take it over."""
        own = [one for one in self.alive() if queue in one.about.queues]
        return own or [one for one in self.alive() if base_of(queue) in one.about.queues]

    def served(self) -> list[str]:
        """Every queue that a live worker takes from."""
        return sorted({queue for one in self.alive() for queue in one.about.queues})

    def get(self, worker: str) -> Seen | None:
        return next((one for one in self.seen or () if one.worker == worker), None)


def knows(workers: Iterable[Seen], task: str) -> bool:
    """Does any of them know the task? One that does not say its tasks is given the benefit of the doubt."""
    return any(not one.about.tasks or task in one.about.tasks for one in workers)


def _read(one: WorkerSeen, now: int) -> Seen:
    try:
        about = msgspec.json.decode(one.about, type=About)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        about = About()
    return Seen(one.worker, one.expires - now, len(one.holders), about)
