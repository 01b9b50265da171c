"""Who takes from which queue, as the contract's facet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ...facets import Served, Serves
from ...intake import queue_bytes
from . import replies, scripts
from .connection import Line
from .keys import Keys


class RedisServes(Serves):
    """The facet ``Serves`` of the Redis broker."""

    _keys: Keys

    @abstractmethod
    def _open_line(self) -> Line: ...

    def serve(self, worker: str, queues: Sequence[str]) -> bool:
        line, keys = self._open_line(), self._keys
        return bool(line.run(scripts.SERVE, 3, keys.root, keys.workers, keys.served, worker, *map(queue_bytes, queues)))

    def served(self) -> list[Served]:
        line, keys = self._open_line(), self._keys
        found = line.run(scripts.SERVED, 4, keys.root, keys.workers, keys.served, keys.paused)
        said = [Served(replies.text(queue), bool(alive), bool(left), bool(paused)) for queue, alive, left, paused in found]
        return sorted(said, key=lambda one: one.queue)
