"""Looking at messages and acting on them, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from ...broker import BrokerSettings, Command
from ...clock import Clock
from ...envelope import Envelope
from ...facets import Cancelled, Inspects, Listed, Page, Place, WorkerSeen
from .ending import drop_cancelled, mark_cancelled, revive
from .row import Row
from .store import DeadLetter, Store


class MemoryInspects(Inspects):
    """The facet ``Inspects`` of the memory broker."""

    store: Store
    clock: Clock
    settings: BrokerSettings

    @abstractmethod
    def step(self) -> AbstractContextManager[int]: ...

    def browse(self, queue: str | None, place: Place, limit: int = 50, cursor: str | None = None) -> Page:
        with self.store.lock:
            found = [m for m in self._at(place) if queue is None or m.envelope.queue == queue]
        begin = int(cursor or 0)
        return Page(found[begin : begin + limit], str(begin + limit) if len(found) > begin + limit else None)

    def _at(self, place: Place) -> Iterator[Listed]:
        store = self.store
        match place:
            case Place.READY:
                yield from (Listed(shown(row), place) for queue in store.ready_queues() for row in store.ready_rows(queue))
            case Place.SCHEDULED:
                yield from (Listed(shown(row), place, due=due) for due, _, row in store.scheduled)
            case Place.LEASED:
                yield from (Listed(shown(row), place, holder=name, worker=holding.worker) for name, holding, _, row in store.leased())
            case Place.DEAD:
                for d in sorted(store.dead.values(), key=lambda d: -d.name):
                    yield Listed(shown(d.row), place, died=d.died, reason=d.reason, error=d.error)

    def find(self, id: str) -> Listed | None:
        with self.store.lock:
            return next((m for place in Place for m in self._at(place) if id and m.envelope.id == id), None)

    def cancel(self, id: str, terminate: bool = False) -> Cancelled:
        with self.step() as now:
            if row := next((row for row in self.store.waiting() if id and row.id() == id), None):
                self.store.remove_waiting({_identity(row)})
                if envelope := row.read():
                    drop_cancelled(self.store, envelope, now)
                return Cancelled.WAITING
            for _, holding, _, row in self.store.leased():
                if row.id() == id:
                    mark_cancelled(row)
                    if terminate:
                        self.store.workers[holding.worker].commands.append(Command("cancel", id))
                    return Cancelled.RUNNING
            return Cancelled.UNKNOWN

    def redrive(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        with self.step() as now:
            count = 0
            for letter in self._letters(ids, queue):
                if (envelope := letter.row.read()) is None:
                    continue  # what cannot be read would only come back
                if self.store.flows.holds(envelope):
                    continue  # its flow was ended: it must not start
                if not self.store.keys.take_again(envelope):
                    continue  # another message has its key, and does what this one was to do
                del self.store.dead[letter.name]
                envelope = revive(envelope)
                self.store.records.again(envelope, now, self.settings.record_ttl)
                self.store.flows.again(envelope, now)
                self.store.behind(Row.of(envelope), now)
                count += 1
            return count

    def forget_dead(self, ids: Sequence[str] | None = None, queue: str | None = None) -> int:
        with self.step():
            letters = self._letters(ids, queue)
            for letter in letters:
                del self.store.dead[letter.name]
            return len(letters)

    def _letters(self, ids: Sequence[str] | None, queue: str | None) -> list[DeadLetter]:
        wanted = None if ids is None else set(ids)
        letters = sorted(self.store.dead.values(), key=lambda d: d.name)
        return [d for d in letters if (wanted is None or d.row.id() in wanted) and (queue is None or d.row.queue == queue)]

    def pause_queue(self, queue: str) -> None:
        with self.step():
            self.store.paused.add(queue)

    def resume_queue(self, queue: str) -> None:
        with self.step():
            self.store.paused.discard(queue)

    def workers(self) -> list[WorkerSeen]:
        with self.store.lock:
            holders = self.store.holders
            return [
                WorkerSeen(name, lease.expires, lease.about, sorted(h for h, holding in holders.items() if holding.worker == name))
                for name, lease in sorted(self.store.workers.items())
            ]


def shown(row: Row) -> Envelope:
    """The envelope, or what can be shown of one that cannot be read: its bytes as the body, an empty id."""
    return row.read() or Envelope("", row.queue, row.data)


def _identity(row: Row) -> int:
    return id(row)
