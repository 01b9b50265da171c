"""Keys that let one message stand for several: unique, debounce, throttle. Whoever calls holds the store's lock."""

from __future__ import annotations

from dataclasses import dataclass

from ...envelope import Envelope, Extra
from ...lane import Debounce, Throttle
from .row import Row


@dataclass(slots=True, eq=False)
class Bounced:
    """The message that waits for a debounce key."""

    id: str
    row: Row
    first: int


class Keys:
    """Who has which key."""

    def __init__(self) -> None:
        self.uniques: dict[str, str] = {}
        self.debounced: dict[str, Bounced] = {}
        self.throttled: dict[str, tuple[str, int]] = {}
        """Key to the id that was accepted, and the end of its span."""

    def owner(self, envelope: Envelope, now: int) -> str | None:
        """The message that stands for this one; None if it would be the first."""
        extras = envelope.extras
        if not extras:
            return None
        if (key := extras.get(Extra.UNIQUE)) is not None:
            return self.uniques.get(key.decode())
        if (value := extras.get(Extra.DEBOUNCE)) is not None:
            waits = self.debounced.get(Debounce.read(value).key)
            return waits.id if waits else None
        if (value := extras.get(Extra.THROTTLE)) is not None:
            id, until = self.throttled.get(Throttle.read(value).key, ("", 0))
            return id if until > now else None
        return None

    def take(self, envelope: Envelope, row: Row, now: int) -> None:
        """This one is stored, and stands for what follows."""
        extras = envelope.extras or {}
        if (key := extras.get(Extra.UNIQUE)) is not None:
            self.uniques[key.decode()] = envelope.id
        elif (value := extras.get(Extra.DEBOUNCE)) is not None:
            self.debounced[Debounce.read(value).key] = Bounced(envelope.id, row, now)
        elif (value := extras.get(Extra.THROTTLE)) is not None:
            throttle = Throttle.read(value)
            self.throttled[throttle.key] = (envelope.id, now + throttle.span)

    def take_again(self, envelope: Envelope) -> bool:
        """The unique key for a redriven letter; False where another message has it."""
        key = (envelope.extras or {}).get(Extra.UNIQUE)
        return key is None or self.uniques.setdefault(key.decode(), envelope.id) == envelope.id

    def handed(self, envelope: Envelope) -> None:
        """It is in a hand: what it stood for only while it waited is free."""
        extras = envelope.extras
        if extras and Extra.UNIQUE_UNTIL in extras:
            self._free_unique(envelope)
        if extras and Extra.DEBOUNCE in extras:
            self._free_debounce(envelope)

    def ended(self, envelope: Envelope) -> None:
        """It is over, in whatever way."""
        extras = envelope.extras
        if extras and Extra.UNIQUE in extras:
            self._free_unique(envelope)
        if extras and Extra.DEBOUNCE in extras:
            self._free_debounce(envelope)

    def _free_unique(self, envelope: Envelope) -> None:
        key = (envelope.extras or {})[Extra.UNIQUE].decode()
        if self.uniques.get(key) == envelope.id:
            del self.uniques[key]

    def _free_debounce(self, envelope: Envelope) -> None:
        key = Debounce.read((envelope.extras or {})[Extra.DEBOUNCE]).key
        waits = self.debounced.get(key)
        if waits is not None and waits.id == envelope.id:
            del self.debounced[key]

    def prune(self, now: int) -> int:
        """Forget spans that are over."""
        over = [key for key, (_, until) in self.throttled.items() if until <= now]
        for key in over:
            del self.throttled[key]
        return len(over)
