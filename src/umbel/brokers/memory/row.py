"""One message as the memory broker keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from ...envelope import Envelope, pack, unpack
from ...errors import WireError
from ...lane import Mark, marks_of


@dataclass(slots=True, eq=False)
class Row:
    """One message: its packed bytes, and what a store keeps beside them."""

    queue: str
    priority: int
    data: bytes
    limits: tuple[Mark, ...] = ()
    """Its lane's limit, and its group's: known whatever becomes of the bytes."""

    @classmethod
    def of(cls, envelope: Envelope) -> Row:
        marks = marks_of(envelope.extras)
        limits = tuple(mark for mark in marks if mark is not None) if marks else ()
        return cls(envelope.queue, envelope.priority, pack(envelope), limits)

    def read(self) -> Envelope | None:
        """The envelope, or None if the bytes are not one."""
        try:
            return unpack(self.data, self.queue)
        except WireError:
            return None

    def id(self) -> str:
        envelope = self.read()
        return envelope.id if envelope else ""
