"""Flows in a broker: messages that wait for others, as the facet ``Joins``. Only the contract; the canvas is built on it.

A **flow** has an id that its client chose, and **nodes**, each with a number below 2**53 that its client chose. A node is a
message (a *task*), or has none (a *gate*: it passes on at once what arrives). Its **edges** stand with it, as ranges of the
numbers of its followers. Node and flow go through the states of ``docs/internals/flows.md``, which also has the interleavings.

*An arrival*: when a task ends, by whatever way, each of its edges **says** something to the follower: ``ok`` after ``Done``, and
after any other end if the node has ``CONTINUE``; else ``never``. All edges of a node speak together and what was said is noted
with the node, so nothing is counted twice, whatever is redelivered, redriven or retried. A follower whose ``needs`` edges have all
said ``ok`` is made ready **in the step in which the last one spoke**; one of whose edges says ``never`` is ``ABANDONED``, and
its own edges say ``never``. At most :data:`MAX_ARRIVALS` edges speak in one step; what is left over is gone on with by
``maintain`` and by later settles of members, and nothing else of the flow waits for that.

*Made ready* means: enqueued as ``enqueue`` would do it in that moment (``after`` counts from there), with ``enqueued`` set to that
moment, ``expires`` to that moment + ``expires_after`` where the node has one, and its record begun. Until then it is in no queue,
and no timer touches it.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntFlag, StrEnum

import msgspec

from .envelope import Envelope, Extra
from .outcome import Node

MAX_NODES = 1_000
"""Nodes per ``add_nodes`` and ``close_flow``; numbers per ``inputs``; entries of a page."""
MAX_ARRIVALS = 1_000
"""Edges that speak, and nodes that are looked at, in one step."""
RIDE_MAX = 16 * 1024
"""Bytes of an input that may ride along with its message; a larger one is read with ``inputs``."""

OPEN_REASON = "producer_lost"
STUCK_REASON = "stuck"

_PLACE = struct.Struct(">QB")


class NodeFlag(IntFlag):
    """Bits of a node."""

    CONTINUE = 0x01
    """Its failure is a value: whatever its end, its edges say ``ok``."""
    KEEP = 0x02
    """What it ended with is kept until the flow is forgotten, since followers or the flow's result need it."""
    RIDE = 0x04
    """A task with one parent whose message takes the parent's kept value along as ``Extra.INPUT`` if it has at most ``RIDE_MAX``
    bytes and is at hand in the step that makes it ready. A store need not; the worker then asks ``inputs``."""
    HELD = 0x08
    """Only its place and its edges are known yet (its ``needs`` are not looked at): it is not ready before ``close_flow`` has said
    the rest."""
    GATE = 0x10
    """No task, so not counted in ``total``."""


class NodeState(StrEnum):
    """Where a node stands."""

    BLOCKED = "BLOCKED"
    """It waits for arrivals."""
    READY = "READY"
    """Its message is in the hands of the queues: waiting, scheduled, running, between two attempts."""
    DONE = "DONE"
    FAILED = "FAILED"
    """Its last attempt failed: it is a dead letter, unless that was forgotten."""
    DROPPED = "DROPPED"
    """It ended without an end of its own: expired, cancelled, discarded, purged."""
    ABANDONED = "ABANDONED"
    """It never starts, since one before it failed, or the flow was ended."""


class FlowState(StrEnum):
    """How a flow stands."""

    OPEN = "OPEN"
    """Its producer still adds to it; members may run already."""
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    """All has ended, and no failure was other than a value."""
    FAILURE = "FAILURE"
    """A node failed that stops what follows it; other branches may still run. Or its producer was lost."""
    REVOKED = "REVOKED"
    """It was cancelled."""
    UNKNOWN = "UNKNOWN"
    """The broker does not know it (any more)."""

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset((FlowState.SUCCESS, FlowState.FAILURE, FlowState.REVOKED))


class Flow(msgspec.Struct, frozen=True, gc=False):
    """What a flow is opened with. ``label`` and ``result`` are the client's, kept unread."""

    id: str
    label: str = ""
    result: bytes = b""
    """Of which nodes' values its result is made."""
    on_error: str = "stop"
    """Shown only; each node has its own word."""
    handler: Envelope | None = None
    """Enqueued when the flow first fails, with ``Extra.FAILURE`` (:func:`pack_failed`) and that moment as ``enqueued``."""
    ttl: float | None = None
    """Seconds for which it is kept after its end; None: as the store's ``record_ttl`` says."""


class FlowSeen(msgspec.Struct, gc=False):
    """A flow as it stands. Times in ms, 0 for not yet."""

    id: str
    state: FlowState
    label: str = ""
    result: bytes = b""
    on_error: str = "stop"
    total: int = 0
    """Tasks added so far."""
    done: int = 0
    failed: int = 0
    """Failed and dropped ones, also those whose failure is a value."""
    abandoned: int = 0
    ready: int = 0
    reason: str = ""
    """Of a failure: that of the first node that failed, or ``producer_lost`` or ``stuck``."""
    failed_node: int | None = None
    """The first node whose failure stopped what follows it, since it was last retried."""
    failed_id: str = ""
    error: bytes = b""
    created: int = 0
    touched: int = 0
    finished: int = 0
    """When nothing of it could move any more; a flow that failed may still run until then."""


class NodeSeen(msgspec.Struct, gc=False):
    """A node as it stands."""

    number: int
    state: NodeState
    id: str = ""
    label: str = ""
    flags: int = 0
    needs: int = 0
    """Arrivals that are still missing."""
    followers: tuple[tuple[int, int], ...] = ()
    reason: str = ""


class FlowPage(msgspec.Struct, gc=False):
    """Some flows, newest first, and where to go on (None: that was all)."""

    flows: list[FlowSeen]
    cursor: str | None = None


class NodePage(msgspec.Struct, gc=False):
    """Some nodes, in any order that stays the same, and where to go on (None: that was all)."""

    nodes: list[NodeSeen]
    cursor: str | None = None


class FlowCancelled(msgspec.Struct, gc=False):
    """What a cancel found."""

    found: bool
    """False: not there, or ended already; nothing was changed."""
    running: list[str] = []
    """Ids of members that are in a worker's hands: they will not run again after this run."""
    more: bool = False
    """A bound was reached: call again for the rest of those that wait in queues or run. None of them starts a follower any more."""


class FlowRetried(msgspec.Struct, gc=False):
    """What a retry did."""

    found: bool
    """False: not there, or ended in a way that leaves nothing to retry (cancelled, or never closed)."""
    retried: int = 0
    """Failed and dropped nodes that are ready again."""
    more: bool = False
    """A bound was reached, or what was said before is still on its way: call again."""


class Joins(ABC):
    """Facet: flows."""

    @abstractmethod
    def open_flow(self, flow: Flow) -> bool:
        """Begin a flow. Its state is OPEN until ``close_flow``. False, and nothing changed, if there is one of that id."""

    @abstractmethod
    def add_nodes(self, flow: str, nodes: Sequence[Node]) -> bool:
        """Add nodes, all in one step, at most ``MAX_NODES``; more, or a number beyond 2**53, is a ``ValueError``.

        A node's followers are there before it: added earlier, or standing earlier in ``nodes``. A node with ``needs`` 0 that is
        not ``HELD`` is made ready at once. A number that is there already is passed over, so the call may be repeated.
        Without nodes it only says that the producer is still there. False, and nothing changed, if the flow does not take
        nodes: it is not there, closed, cancelled, or was left behind.
        """

    @abstractmethod
    def close_flow(self, flow: str, joins: Sequence[Node] = ()) -> bool:
        """That was all. ``joins`` are the ``HELD`` nodes anew, whole, with their ``needs``: what arrived before counts. True also if it
        was closed already; False, and nothing changed, if it is not there, or was cancelled or left behind."""

    @abstractmethod
    def flow(self, id: str) -> FlowSeen | None:
        """How it stands; None if it is not there (any more)."""

    @abstractmethod
    def await_flow(self, id: str, timeout: float) -> FlowSeen | None:
        """Wait until its state is final, at most ``timeout`` seconds; answers with it as it then is. Never polls a server."""

    @abstractmethod
    def flows(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        """All flows, newest first."""

    @abstractmethod
    def flow_nodes(self, id: str, limit: int = 1_000, cursor: str | None = None) -> NodePage:
        """The nodes of a flow; an empty page if it is not there."""

    @abstractmethod
    def inputs(self, flow: str, numbers: Sequence[int]) -> list[bytes | None]:
        """The kept values of nodes (see :func:`pack_value`), in the order asked, at most ``MAX_NODES``; None for one that is not kept:
        not ended yet, without ``KEEP``, or the flow is gone."""

    @abstractmethod
    def cancel_flow(self, id: str, terminate: bool = False) -> FlowCancelled:
        """End a flow that has not ended: REVOKED at once. What is blocked never starts; what waits in queues is dropped
        (``cancelled``); what runs is marked as ``Inspects.cancel`` does it, and with ``terminate`` told to stop. Repeating it
        goes on where ``more`` was said; ``maintain`` goes on with it too."""

    @abstractmethod
    def retry_flow(self, id: str) -> FlowRetried:
        """Make every failed and dropped node ready again, counters begun anew, and what was abandoned because of them blocked
        again. A node's dead letter is taken out; a node whose edges have said ``ok`` runs again, and they say nothing more.
        ``Inspects.redrive`` of a member's dead letter does the same for that node. The failure handler is armed again."""

    @abstractmethod
    def forget_flow(self, id: str) -> bool:
        """Delete a flow that is ``finished``, with its nodes, values and its members' dead letters. False if it is not there or not
        finished."""


# -- what stands in extras


def pack_place(flow: str, number: int, flags: int = 0, takes: bytes = b"") -> dict[int, bytes]:
    """The extras of a member: FLOW is the flow's id as text; NODE the number (8 bytes, big-endian), the flags (1 byte), and what
    only workers read: of which values its arguments are made."""
    return {Extra.FLOW: flow.encode(), Extra.NODE: _PLACE.pack(number, flags & 0xFF) + takes}


def place_of(extras: dict[int, bytes] | None) -> tuple[str, int, int, bytes] | None:
    """(flow, number, flags, takes) of a member's extras; None for a message that is no member."""
    if not extras or Extra.FLOW not in extras:
        return None
    place = extras.get(Extra.NODE, b"")
    if len(place) < _PLACE.size:
        return None
    number, flags = _PLACE.unpack_from(place)
    return extras[Extra.FLOW].decode("utf-8", "replace"), number, flags, place[_PLACE.size :]


# -- values: what a node ended with

OK, ERROR, OTHERS = b"+", b"-", b"*"


def pack_value(result: bytes | None) -> bytes:
    """The kept value of a node that is done: ``+`` and the bytes of ``Done.result``. (``*`` and bytes that only clients read: made of
    the values of other nodes, see :class:`~umbel.outcome.Replaced`.)"""
    return OK + (result or b"")


def pack_error(reason: str, error: bytes) -> bytes:
    """The kept value of a node that failed or was dropped: ``-``, the length of the reason (1 byte), the reason, the error."""
    word = reason.encode()[:255]
    return b"%b%c%b%b" % (ERROR, len(word), word, error)


def unpack_error(value: bytes) -> tuple[str, bytes]:
    """(reason, error) of a value that begins with ``-``."""
    end = 2 + (value[1] if len(value) > 1 else 0)
    return value[2:end].decode("utf-8", "replace"), value[end:]


def pack_failed(number: int | None, id: str, reason: str, error: bytes, flow: str) -> bytes:
    """``Extra.FAILURE`` of a failure handler: number (8 bytes; 2**64 - 1: no node), then the flow's id, the message's id and the reason,
    each with its length (1 byte) before it, then the error, cut after ``RIDE_MAX`` bytes."""
    words = b"".join(bytes((len(part),)) + part for part in (text.encode()[:255] for text in (flow, id, reason)))
    return (_NO_NODE if number is None else number).to_bytes(8, "big") + words + error[:RIDE_MAX]


def unpack_failed(data: bytes) -> tuple[int | None, str, str, str, bytes]:
    """(number, flow, id, reason, error) of ``Extra.FAILURE``."""
    number, at, words = int.from_bytes(data[:8], "big"), 8, []
    for _ in range(3):
        end = at + 1 + (data[at] if at < len(data) else 0)
        words.append(data[at + 1 : end].decode("utf-8", "replace"))
        at = end
    return (None if number == _NO_NODE else number), words[0], words[1], words[2], data[at:]


_NO_NODE = 2**64 - 1
