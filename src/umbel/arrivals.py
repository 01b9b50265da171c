"""Nodes that wait for each other, and what their edges say: the machine that stores of ``joins`` run. The rules are in ``joins`` and
``docs/internals/flows.md``.

Pure: called in the very steps that move messages, while nobody else touches the flow. Nothing here looks at a queue, nor walks
over all nodes of a flow, so ``Entry.nodes`` may be a mapping that reads a node when it is first looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from .envelope import Envelope, Extra
from .joins import (
    MAX_ARRIVALS,
    RIDE_MAX,
    STUCK_REASON,
    Flow,
    FlowSeen,
    FlowState,
    NodeFlag,
    NodeSeen,
    NodeState,
    pack_error,
    pack_failed,
    pack_value,
    place_of,
)
from .outcome import Node

Put = Callable[[Envelope, int, float], None]
"""Enqueue a message at this moment, its record kept for so many seconds."""

_WAITS = (NodeState.BLOCKED, NodeState.ABANDONED)


class Word(IntEnum):
    """What an edge has said to the follower."""

    NOTHING = 0
    OK = 1
    NEVER = 2


@dataclass(slots=True, eq=False)
class Member:
    """A node. ``said`` is what all its edges had said before the pass in which the first ``at`` of them say ``saying``."""

    number: int
    envelope: Envelope | None
    left: int
    followers: tuple[tuple[int, int], ...]
    flags: int
    expires_after: int
    label: str
    id: str
    state: NodeState = NodeState.BLOCKED
    never: int = 0
    said: Word = Word.NOTHING
    saying: Word = Word.NOTHING
    at: int = 0
    value: bytes | None = None
    reason: str = ""
    queued: bool = False

    @classmethod
    def of(cls, node: Node) -> Member:
        left = 0 if node.flags & NodeFlag.HELD else node.needs
        id = node.envelope.id if node.envelope else ""
        return cls(node.number, node.envelope, left, node.followers, node.flags, node.expires_after, node.label, id)

    @property
    def edges(self) -> int:
        return sum(last - first + 1 for first, last in self.followers)

    @property
    def wants(self) -> Word:
        """What its edges shall say. ``OK`` is said once and for all, whatever a retry brings."""
        if Word.OK in (self.said, self.saying) or self.state == NodeState.DONE:
            return Word.OK
        if self.state in (NodeState.FAILED, NodeState.DROPPED):
            return Word.OK if self.flags & NodeFlag.CONTINUE else Word.NEVER
        return Word.NEVER if self.state == NodeState.ABANDONED else Word.NOTHING

    def edge(self, at: int) -> int:
        for first, last in self.followers:
            if at <= last - first:
                return first + at
            at -= last - first + 1
        raise IndexError(at)


@dataclass(slots=True, eq=False)
class Entry:
    """A flow. ``waits`` counts blocked nodes, gates too; ``moving`` those whose message is in the queues' hands."""

    flow: Flow
    created: int
    touched: int
    record_ttl: float
    failed_ttl: float
    nodes: dict[int, Member] = field(default_factory=dict)
    open: bool = True
    ended: FlowState | None = None
    """How it was ended from outside: nothing of it starts any more."""
    waits: int = 0
    moving: int = 0
    total: int = 0
    done: int = 0
    failed: int = 0
    abandoned: int = 0
    stopped: int = 0
    """Failed nodes whose failure is no value."""
    told: bool = False
    """Has the failure handler been sent?"""
    first: tuple[int | None, str, str, bytes] = (None, "", "", b"")
    finished: int = 0
    speaking: deque[int] = field(default_factory=deque)

    @property
    def state(self) -> FlowState:
        if self.ended is not None:
            return self.ended
        if self.stopped:
            return FlowState.FAILURE
        return FlowState.OPEN if self.open else FlowState.SUCCESS if self.finished else FlowState.RUNNING

    @property
    def ends(self) -> int:
        """When it may be forgotten; 0 while it has not finished."""
        ttl = self.flow.ttl if self.flow.ttl is not None else self.record_ttl
        if self.flow.ttl is None and self.state is FlowState.FAILURE:
            ttl = max(ttl, self.failed_ttl)
        return self.finished + int(ttl * 1000) if self.finished else 0

    def seen(self) -> FlowSeen:
        number, id, reason, error = self.first
        flow, abandoned = self.flow, self.abandoned
        if self.ended is not None:  # what is blocked never starts, and nobody walks over it to say so
            abandoned = self.total - self.done - self.failed - self.moving
        return FlowSeen(
            flow.id, self.state, flow.label, flow.result, flow.on_error, self.total, self.done, self.failed, abandoned, self.moving,
            reason, number, id, error, self.created, self.touched, self.finished,
        )  # fmt: skip

    def seen_node(self, node: Member) -> NodeSeen:
        state = NodeState.ABANDONED if self.ended is not None and node.state == NodeState.BLOCKED else node.state
        return NodeSeen(node.number, state, node.id, node.label, node.flags, max(0, node.left), node.followers, node.reason)


class Flows:
    """All flows of a store, by id, in the order of their beginning."""

    def __init__(self, put: Put) -> None:
        self.all: dict[str, Entry] = {}
        self._put = put

    # -- building

    def add(self, entry: Entry, nodes: Sequence[Node], now: int) -> None:
        self._add(entry, nodes, now)
        self.go_on(entry, now)

    def _add(self, entry: Entry, nodes: Sequence[Node], now: int) -> None:
        for node in nodes:
            if node.number in entry.nodes:
                continue
            member = Member.of(node)
            member.at = member.edges
            entry.nodes[node.number] = member
            entry.waits += 1
            entry.total += not node.flags & NodeFlag.GATE
            self._look(entry, member, None, now)

    def close(self, entry: Entry, joins: Sequence[Node], now: int) -> None:
        entry.open, entry.touched = False, now
        for node in joins:
            member = entry.nodes.get(node.number)
            if member is None:
                continue
            entry.total += bool(member.flags & NodeFlag.GATE) - bool(node.flags & NodeFlag.GATE)
            member.envelope, member.flags, member.label = node.envelope, node.flags & ~NodeFlag.HELD, node.label
            member.id, member.expires_after = node.envelope.id if node.envelope else "", node.expires_after
            member.left += node.needs
            self._look(entry, member, None, now)
        self.go_on(entry, now)

    # -- ends of messages

    def done(self, envelope: Envelope, result: bytes | None, now: int) -> None:
        """After ``Done`` of any message; does nothing for one that is no member."""
        if found := self._running(envelope):
            entry, node = found
            self._finish(entry, node, NodeState.DONE)
            node.envelope = None
            if node.flags & NodeFlag.KEEP:
                node.value = pack_value(result)
            self._speak(entry, node)
            self.go_on(entry, now)

    def failed(self, envelope: Envelope, state: NodeState, reason: str, error: bytes, now: int) -> None:
        """After any other end of any message: it is a dead letter (FAILED), or gone (DROPPED)."""
        if found := self._running(envelope):
            entry, node = found
            self._finish(entry, node, state)
            node.envelope, node.reason = envelope, reason
            if node.flags & NodeFlag.KEEP:
                node.value = pack_error(reason, error)
            entry.failed += 1
            if not node.flags & NodeFlag.CONTINUE and entry.ended is None:  # what is dropped because it was ended is no failure of its
                entry.stopped += 1
                self._first_failure(entry, node.number, envelope.id, reason, error, now)
            self._speak(entry, node)
            self.go_on(entry, now)

    def replaced(self, envelope: Envelope, needs: int, value: bytes, nodes: Sequence[Node], now: int) -> None:
        """The member is a gate from now on, before which ``nodes`` stand."""
        if found := self._running(envelope):
            entry, node = found
            if entry.ended is not None:
                return self.failed(envelope, NodeState.DROPPED, "cancelled", b"", now)
            entry.moving -= 1
            entry.waits += 1
            node.state, node.left, node.envelope, node.value = NodeState.BLOCKED, needs, None, value
            self._add(entry, nodes, now)
            self._look(entry, node, None, now)
            self.go_on(entry, now)

    def again(self, envelope: Envelope, now: int) -> None:
        """A failed or dropped member is ready once more; its message is the caller's to put."""
        if found := self.member(envelope):
            entry, node = found
            if node.state not in (NodeState.FAILED, NodeState.DROPPED):
                return
            entry.failed -= 1
            if not node.flags & NodeFlag.CONTINUE:
                entry.stopped -= 1
                entry.first = entry.first if entry.stopped else (None, "", "", b"")
            node.state, node.reason, node.envelope = NodeState.READY, "", None
            entry.moving += 1
            entry.finished, entry.told = 0, False
            self._speak(entry, node)
            self.go_on(entry, now)

    # -- ends from outside

    def end(self, entry: Entry, state: FlowState, reason: str, now: int) -> None:
        """Nothing of it starts any more."""
        entry.ended, entry.open = state, False
        entry.speaking.clear()
        if state is FlowState.FAILURE:
            self._first_failure(entry, None, "", reason, b"", now)
        self.go_on(entry, now)

    def holds(self, envelope: Envelope) -> bool:
        """Was this message's flow ended, so that it must not start?"""
        found = self.member(envelope)
        return found is not None and found[0].ended is not None

    def unfinished(self, envelope: Envelope) -> bool:
        """Is it a member of a flow that may still go on?"""
        found = self.member(envelope)
        return found is not None and not found[0].finished

    def member(self, envelope: Envelope) -> tuple[Entry, Member] | None:
        place = place_of(envelope.extras)
        entry = self.all.get(place[0]) if place else None
        if place is None or entry is None:
            return None
        node = entry.nodes.get(place[1])
        return (entry, node) if node is not None and node.id == envelope.id else None

    # -- what edges say

    def go_on(self, entry: Entry, now: int, bound: int = MAX_ARRIVALS) -> bool:
        """Let at most ``bound`` edges speak; then see whether the flow is over. True if more is to be said."""
        while entry.speaking and bound > 0:
            node = entry.nodes[entry.speaking.popleft()]
            bound = self._pass(entry, node, bound, now)
            node.queued = node.at < node.edges or node.said != node.wants
            if node.queued:
                entry.speaking.append(node.number)  # behind the others: nobody's next step waits behind a fan-out to a million
        self._see_end(entry, now)
        return bool(entry.speaking)

    def _pass(self, entry: Entry, node: Member, bound: int, now: int) -> int:
        while bound > 0:
            if node.at >= node.edges:
                node.said = node.saying
                if node.wants == node.said:
                    return bound
                node.saying, node.at = node.wants, 0
                continue
            follower = entry.nodes.get(node.edge(node.at))
            node.at += 1
            bound -= 1
            if follower is None:  # a client that adds a node before its followers; nobody else's settle shall fail for it
                continue
            follower.left -= node.saying == Word.OK
            follower.never += (node.saying == Word.NEVER) - (node.said == Word.NEVER)
            self._look(entry, follower, node, now)
        if node.at >= node.edges:
            node.said = node.saying
        return bound

    def _look(self, entry: Entry, node: Member, speaker: Member | None, now: int) -> None:
        """Is it ready, blocked or abandoned by now?"""
        if node.state not in _WAITS or entry.ended is not None:
            return
        if node.never:
            self._wait(entry, node, NodeState.ABANDONED)
        elif node.left == 0 and not node.flags & NodeFlag.HELD:
            self._wait(entry, node, NodeState.BLOCKED)
            self._release(entry, node, speaker, now)
        else:
            self._wait(entry, node, NodeState.BLOCKED)

    def _wait(self, entry: Entry, node: Member, state: NodeState) -> None:
        if node.state != state:
            step = 1 if state == NodeState.ABANDONED else -1
            entry.waits -= step
            entry.abandoned += 0 if node.flags & NodeFlag.GATE else step
            node.state = state
            self._speak(entry, node)

    def _release(self, entry: Entry, node: Member, speaker: Member | None, now: int) -> None:
        entry.waits -= 1
        if node.envelope is None:
            node.state = NodeState.DONE
            entry.done += not node.flags & NodeFlag.GATE
            return self._speak(entry, node)
        node.state = NodeState.READY
        entry.moving += 1
        envelope = msgspec.structs.replace(node.envelope, enqueued=now)
        if node.expires_after:
            envelope.expires = now + node.expires_after
        if node.flags & NodeFlag.RIDE and speaker is not None and speaker.value is not None and len(speaker.value) <= RIDE_MAX:
            envelope.extras = {**(envelope.extras or {}), Extra.INPUT: speaker.value}
        node.envelope = None
        self._put(envelope, now, entry.record_ttl)
        return None

    def _speak(self, entry: Entry, node: Member) -> None:
        if not node.queued and entry.ended is None and (node.wants != node.said or node.saying != node.said):
            node.queued = True
            entry.speaking.appendleft(node.number)

    # -- within

    def _running(self, envelope: Envelope) -> tuple[Entry, Member] | None:
        found = self.member(envelope)
        return found if found is not None and found[1].state == NodeState.READY else None

    def _finish(self, entry: Entry, node: Member, state: NodeState) -> None:
        entry.moving -= 1
        entry.done += state == NodeState.DONE
        node.state = state

    def _first_failure(self, entry: Entry, number: int | None, id: str, reason: str, error: bytes, now: int) -> None:
        if not entry.first[2]:
            entry.first = (number, id, reason, error)
        handler = entry.flow.handler
        if handler is not None and not entry.told:
            entry.told = True
            extras = {**(handler.extras or {}), Extra.FAILURE: pack_failed(number, id, reason, error, entry.flow.id)}
            self._put(msgspec.structs.replace(handler, extras=extras, enqueued=now), now, entry.record_ttl)

    def _see_end(self, entry: Entry, now: int) -> None:
        if entry.open or entry.moving or entry.speaking or entry.finished:
            return
        entry.finished = now
        if entry.waits and entry.ended is None:
            self.end(entry, FlowState.FAILURE, STUCK_REASON, now)

    # -- listing

    def newest_first(self) -> Iterator[Entry]:
        yield from reversed(list(self.all.values()))
