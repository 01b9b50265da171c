"""The calls that an atomic task makes: kept while it runs, and stored by the step that settles it, or by none."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker import MAX_THEN
from ..envelope import Envelope
from ..errors import EnqueueRefused
from ..producer import Collector

MAX_BYTES = 4 << 20
"""Of all bodies together: one step of a store must not keep the others waiting."""


class Gathered(Collector):
    """The calls of one run. The one that would be too much is refused where it stands."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self._task = task
        self._bytes = 0

    def add(self, envelopes: Sequence[Envelope]) -> None:
        count = len(self.envelopes) + len(envelopes)
        size = self._bytes + sum([len(envelope.body) for envelope in envelopes])
        if count > MAX_THEN or size > MAX_BYTES:
            much = f"{count:,} calls" if count > MAX_THEN else f"{size:,} bytes of calls"
            raise EnqueueRefused(
                f"{self._task} is atomic, so what it calls is stored in the one step that settles it: {much} are too many "
                f"(at most {MAX_THEN:,} calls and {MAX_BYTES:,} bytes); let it call tasks that call the rest"
            )
        self._bytes = size
        super().add(envelopes)
