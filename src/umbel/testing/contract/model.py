"""What the random walk of ``machine.py`` knows: where each message is, and who consumes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...broker import Exchanged, Settle
from ...envelope import Delivery
from .harness import Hand


@dataclass
class Known:
    """What the model knows of one accepted message. ``place``: waiting, leased, dead, gone."""

    id: str
    queue: str
    place: str = "waiting"
    holder: str = ""
    attempt: int = 1
    delivery: int = 0
    crashes: int = 0
    losses: int = 0
    lost_dead: bool = False
    cancelled: bool = False
    not_before: int = 0

    @property
    def counters(self) -> tuple[int, int, int, int]:
        return self.attempt, self.delivery, self.crashes, self.losses


@dataclass
class Consumer:
    """A holder as the model sees it."""

    hand: Hand
    held: list[Delivery] = field(default_factory=list)
    past: list[Delivery] = field(default_factory=list)
    """Deliveries that it has no more."""
    last: tuple[list[Settle], list[str], int] | None = None
    answer: Exchanged | None = None
