"""Where an app's primary is. All keys of an app share one slot, so there is one primary, however many servers there are.

It is asked for anew whenever a connection is made, and a connection is made anew whenever one broke or a server said that
it is not the one. So a failover needs nobody who watches for it.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

from redis.crc import key_slot

from ...errors import BrokerError, BrokerUnreachable, StoreUnusable
from .address import Address, Form, Node
from .wire import Wire, data_wire, question, sentinel_wire, where


class Primary(Protocol):
    """Finds the primary."""

    def connect(self) -> Wire:
        """An open connection to the primary. ``BrokerUnreachable`` if none is found for now, ``StoreUnusable`` if none can be."""
        ...

    def moved(self, node: Node) -> None:
        """A server said that ``node`` serves the app's keys. ``StoreUnusable`` where the address knows of no cluster."""
        ...


def primary_of(address: Address, root: bytes) -> Primary:
    """By the form of the address. ``root``: any key of the app."""
    if address.form is Form.SENTINEL:
        return _Watched(address)
    if address.form is Form.CLUSTER:
        return _Slotted(address, key_slot(root))
    return _Fixed(address)


class _Fixed:
    """The server that the address names; its name is looked up each time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._node = address.nodes[0] if address.nodes else None

    def connect(self) -> Wire:
        return data_wire(self._address, self._node)

    def moved(self, node: Node) -> None:
        raise StoreUnusable(
            f"this redis is one node of a cluster, and the app's keys lie on {node}: write redis+cluster:// instead of redis://"
        )


class _Watched:
    """The server that the sentinels name; it must itself say that it is the primary, since they may not have noticed yet."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sentinels = list(address.nodes)
        random.shuffle(self._sentinels)  # not every process asks the same one

    def connect(self) -> Wire:
        troubles: list[BrokerError] = []
        strangers: list[BrokerError] = []
        for sentinel in tuple(self._sentinels):
            try:
                node = self._ask(sentinel)
                if node is None:
                    strangers.append(BrokerUnreachable(f"the sentinel at {sentinel} does not know it"))
                    continue
                wire = _checked(self._address, node)
            except BrokerUnreachable as exc:
                troubles.append(exc)
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return wire
        if strangers and not troubles:
            raise StoreUnusable(f"no sentinel knows a service {self._address.service!r}: see SENTINEL MASTERS for those that they watch")
        raise BrokerUnreachable(f"no primary for the service {self._address.service!r} now: {_sum(strangers + troubles)}")

    def _ask(self, sentinel: Node) -> Node | None:
        wire = sentinel_wire(self._address, sentinel)
        try:
            answer = question(wire, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
        finally:
            wire.disconnect()
        return None if answer is None else Node(answer[0].decode(), int(answer[1]))

    def moved(self, node: Node) -> None:
        raise StoreUnusable("the sentinels watch a node of a cluster: write redis+cluster:// and the nodes' addresses")


class _Slotted:
    """The node of a cluster that serves the app's slot, by what any node that answers says of it."""

    def __init__(self, address: Address, slot: int) -> None:
        self._address = address
        self._slot = slot
        self._others: list[Node] = []
        self._hint: Node | None = None

    def connect(self) -> Wire:
        troubles: list[BrokerError] = []
        hint, self._hint = self._hint, None
        if hint is not None:
            try:
                return _checked(self._address, hint)
            except BrokerUnreachable as exc:
                troubles.append(exc)
        seeds = list(self._address.nodes)
        random.shuffle(seeds)
        for node in dict.fromkeys([*seeds, *self._others]):
            try:
                owner, known = self._ask(node)
                wire = _checked(self._address, owner)
            except BrokerUnreachable as exc:
                troubles.append(exc)
                continue
            self._others = known
            return wire
        raise BrokerUnreachable(f"no node of the cluster serves the app's slot {self._slot} now: {_sum(troubles)}")

    def _ask(self, node: Node) -> tuple[Node, list[Node]]:
        """Who serves the slot, and all nodes."""
        wire = data_wire(self._address, node)
        try:
            ranges: list[Any] = question(wire, "CLUSTER", "SLOTS")
        except BrokerError as exc:
            if "cluster support disabled" in str(exc):
                raise StoreUnusable(f"redis at {node} is no node of a cluster: write redis:// instead of redis+cluster://") from exc
            raise
        finally:
            wire.disconnect()
        known, owner = list[Node](), None
        for first, last, *servers in ranges:
            nodes = [_announced(server, node) for server in servers]
            known += nodes
            if first <= self._slot <= last:
                owner = nodes[0]
        if owner is None:
            raise BrokerUnreachable(f"by what {node} knows, nobody serves slot {self._slot}")
        return owner, list(dict.fromkeys(known))

    def moved(self, node: Node) -> None:
        self._hint = node


def _announced(server: Any, asked: Node) -> Node:
    """A server as the cluster tells of it; one without an address is found where the one that was asked is."""
    host = (server[0] or b"").decode()
    return Node(asked.host if host in ("", "?") else host, int(server[1]))


def _checked(address: Address, node: Node) -> Wire:
    """A connection to a server that says that it is a primary."""
    wire = data_wire(address, node)
    try:
        info: bytes = question(wire, "INFO", "replication")
        if b"role:master" not in info:
            raise BrokerUnreachable(f"redis at {where(wire)} is not the primary (any more, or yet)")
    except BaseException:
        wire.disconnect()
        raise
    return wire


def _sum(troubles: list[BrokerError]) -> str:
    return "; ".join(dict.fromkeys(map(str, troubles))) or "none was asked"
