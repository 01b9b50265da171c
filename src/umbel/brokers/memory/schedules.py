"""What a store keeps of schedules. Whoever calls holds the store's lock."""

from __future__ import annotations

from ...ticks import STAMPS_KEPT, Entry, Origin, Planned


class Schedules:
    """What a store keeps of schedules."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.stamps: dict[str, int] = {}
        """Each with its number, the newest last."""
        self.stamp = ""
        self.upheld_until = 0

    def write(self, planned: Planned, origin: Origin, since: int) -> None:
        """Make an entry, or change it; one that is the same is left alone."""
        entry = self.entries.get(planned.name)
        if entry is None:
            entry = Entry(planned.name, planned.rule, planned.definition, origin, 0, False, since)
            self.entries[planned.name] = entry
        elif (entry.rule, entry.definition) == (planned.rule, planned.definition):
            return
        elif entry.rule != planned.rule:
            entry.done = max(entry.done, since)
        entry.rule, entry.definition = planned.rule, planned.definition
        self.touch(entry)

    def touch(self, entry: Entry) -> None:
        self.revision += 1
        entry.revision = self.revision

    def remove(self, name: str) -> bool:
        self.revision += name in self.entries
        return self.entries.pop(name, None) is not None

    def gives_way(self, stamp: str, now: int) -> bool:
        """May the set of ``stamp`` be put in force? From now on it is known."""
        if stamp not in self.stamps:
            self.stamps[stamp] = max(self.stamps.values(), default=0) + 1
            while len(self.stamps) > STAMPS_KEPT:
                del self.stamps[min(self.stamps, key=self.stamps.__getitem__)]
        return not self.stamp or self.upheld_until <= now or self.stamps[stamp] > self.stamps.get(self.stamp, 0)
