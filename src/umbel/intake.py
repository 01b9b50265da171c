"""What every store asks of envelopes before it takes any: here, so that no two brokers refuse differently.

A broker packs new envelopes with an :class:`Intake` of its capabilities, before it opens its step: what cannot be stored is
refused while nothing has been done.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from .broker import MAX_ENQUEUE, MAX_THEN, Capabilities, Facet, Settle
from .envelope import TRACKED, Envelope, Extra, pack
from .errors import NotSupported, WireError
from .joins import MAX_NODES, place_of
from .lane import check_extras
from .outcome import Node, Replaced

QUEUE_MAX = 255
"""Bytes of a queue's name: stores may keep its length in one."""
PRIORITY_MAX = 9
NUMBER_END = 2**53
"""Of nodes: what Lua and JSON count exactly."""
_NO_MEMBER = (Extra.UNIQUE, Extra.UNIQUE_UNTIL, Extra.DEBOUNCE, Extra.THROTTLE)

_FACET_OF_EXTRA = {
    Extra.LANE: Facet.LIMITS,
    Extra.GROUP: Facet.LIMITS,
    Extra.UNIQUE: Facet.LIMITS,
    Extra.UNIQUE_UNTIL: Facet.LIMITS,
    Extra.DEBOUNCE: Facet.LIMITS,
    Extra.THROTTLE: Facet.LIMITS,
    Extra.FLOW: Facet.JOINS,
    Extra.NODE: Facet.JOINS,
    Extra.FAILURE: Facet.JOINS,
}


class Intake:
    """Looks at envelopes on their way into one broker.

    Both verbs raise ``ValueError`` (too many, a priority or a queue's name that cannot be), ``NotSupported`` (a facet that the
    broker lacks) and ``WireError`` (what cannot be packed).
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._name = capabilities.name
        self._lacked = {int(tag): facet for tag, facet in _FACET_OF_EXTRA.items() if facet not in capabilities.facets}
        self._remembers = Facet.REMEMBERS in capabilities.facets

    def enqueued(self, envelopes: Sequence[Envelope]) -> list[bytes]:
        """The packed forms of one enqueue, in order."""
        if len(envelopes) > MAX_ENQUEUE:
            raise ValueError(f"{len(envelopes)} envelopes in one enqueue, at most {MAX_ENQUEUE} are allowed: send them in several")
        return self._packed(envelopes)

    def carried(self, settle: Settle) -> list[bytes]:
        """The packed forms of what a settle brings along."""
        if len(settle.then) > MAX_THEN:
            raise ValueError(f"a settle carries {len(settle.then)} envelopes, at most {MAX_THEN} are allowed")
        if isinstance(settle.outcome, Replaced):
            self.noded(settle.outcome.nodes)
        return self._packed(settle.then)

    def noded(self, nodes: Sequence[Node]) -> list[bytes | None]:
        """The packed forms of the messages of nodes, None for a gate. ``ValueError`` also for what cannot be a node."""
        if len(nodes) > MAX_NODES:
            raise ValueError(f"{len(nodes)} nodes in one step, at most {MAX_NODES} are allowed: add them in several")
        for node in nodes:
            _check_node(node)
        packed = iter(self._packed([node.envelope for node in nodes if node.envelope is not None]))
        return [None if node.envelope is None else next(packed) for node in nodes]

    def _packed(self, envelopes: Sequence[Envelope]) -> list[bytes]:
        packed: list[bytes] = []
        queue = None
        for e in envelopes:
            if e.queue != queue:
                queue_bytes(e.queue)
                queue = e.queue
            if not 0 <= e.priority <= PRIORITY_MAX:
                raise ValueError(f"message {e.id!r} has priority {e.priority}; there are 0 to {PRIORITY_MAX}")
            if e.extras or e.flags & TRACKED:
                self._refuse_lacking(e)
                if e.extras:
                    check_extras(e.id, e.extras)
            try:
                packed.append(pack(e))
            except (struct.error, UnicodeEncodeError, OverflowError) as exc:
                raise WireError(f"message {e.id!r} cannot be packed: {exc}") from exc
        return packed

    def _refuse_lacking(self, e: Envelope) -> None:
        if e.flags & TRACKED and not self._remembers:
            raise NotSupported(f"the {self._name} broker does not support 'remembers', which message {e.id!r} needs: its task is tracked")
        for tag in e.extras or ():
            if tag in self._lacked:
                raise NotSupported(f"the {self._name} broker does not support '{self._lacked[tag]}', which message {e.id!r} needs")


def _check_node(node: Node) -> None:
    envelope = node.envelope
    numbers = (node.number, *(number for edge in node.followers for number in edge))
    if not all(0 <= number < NUMBER_END for number in numbers) or any(first > last for first, last in node.followers):
        raise ValueError(f"node {node.number} with followers {node.followers}: numbers are 0 to 2**53 - 1, ranges (first, last)")
    if envelope is None:
        return
    place = place_of(envelope.extras)
    if place is None or place[1] != node.number:
        raise ValueError(f"node {node.number}: its message {envelope.id!r} says it is at {place[1] if place else 'no place'}")
    if any(tag in (envelope.extras or ()) for tag in _NO_MEMBER) or envelope.explicit:
        raise ValueError(f"message {envelope.id!r}: a member of a flow is not unique, debounced or throttled, and has no explicit id")


@lru_cache(maxsize=1000)  # an app sends to a few queues, all day long
def queue_bytes(queue: str) -> bytes:
    """A queue's name as stored. ``ValueError`` for one that cannot be: empty, over 255 bytes, or not UTF-8 text."""
    try:
        name = queue.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"queue name {queue!r} is not text that UTF-8 can carry") from exc
    if not 0 < len(name) <= QUEUE_MAX:
        raise ValueError(f"a queue's name must have 1 to {QUEUE_MAX} bytes, {queue[:40]!r} has {len(name)}")
    return name
