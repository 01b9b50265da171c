"""A server looked at for what makes tasks late, lost or refused: what ``umbel doctor`` shows of Redis."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...checkup import Finding, Grade
from ...clock import Clock
from ...errors import BrokerError, BrokerUnreachable, ReplyLost
from . import scripts
from .address import Address, Form
from .connection import Line
from .durability import Server, eviction, look, memory, persistence
from .keys import Keys
from .rights import COMMANDS, rule

_PINGS = 300
_CLOCKS = 9
_OFF, _FAR_OFF = 1.0, 60.0
"""Seconds between two clocks: seen in due times; and no ``eta`` or ``expires`` means what it says."""
_SLOW = 0.020
"""Seconds for a round trip that one in a hundred may take: a call waits for one."""
_SCAN_COUNT, _SCAN_STEPS = 1_000, 200


class Patient(NamedTuple):
    """What is looked at."""

    address: Address
    line: Line
    keys: Keys
    clock: Clock


def checkup(patient: Patient) -> list[Finding]:
    """Everything, the gravest first within what belongs together. Raises ``BrokerUnreachable`` and ``ReplyLost``."""
    server = look(patient.line)
    return [
        _version(patient, server),
        persistence(server),
        eviction(server),
        memory(server),
        _copies(patient, server),
        _clocks(patient),
        _latency(patient),
        _rights(patient),
        *_leases(patient),
        _strays(patient),
    ]


def _version(patient: Patient, server: Server) -> Finding:
    kind = "valkey" if "valkey_version" in server.info else "redis"
    name = f"{kind.title()} {server.info.get(f'{kind}_version', 'of an unknown version')}"
    found = f"{name} at {patient.line.where}"
    if patient.line.version < (7, 0):
        means = "tasks run; which ACL rights are missing cannot be asked of it"
        return Finding("server", Grade.WARN, found, means, "Redis 7 or later, or Valkey, when there is time")
    return Finding("server", Grade.OK, found)


def _copies(patient: Patient, server: Server) -> Finding:
    replicas = server.number("connected_slaves")
    watched = patient.address.form in (Form.SENTINEL, Form.CLUSTER)
    if watched and not replicas:
        means = "when this primary dies, there is nothing to fail over to"
        return Finding("replicas", Grade.WARN, "none is connected", means, "add a replica, or find out why it is away: INFO replication")
    means = "what was accepted in the moment before a failover may not have reached them" if replicas else ""
    return Finding("replicas", Grade.OK, str(replicas or "none"), means)


def _clocks(patient: Patient) -> Finding:
    """The offset by the quickest of some questions, which tells it best."""
    best = (float("inf"), 0.0)
    for _ in range(_CLOCKS):
        began, here = patient.clock.monotonic(), patient.clock.now()
        seconds, micros = patient.line.call("TIME")
        took = patient.clock.monotonic() - began
        best = min(best, (took, int(seconds) + int(micros) / 1e6 - here / 1000 - took / 2))
    offset = best[1]
    found = f"the server's is {abs(offset):.3f} s {'ahead' if offset > 0 else 'behind'}"
    if abs(offset) < _OFF:
        return Finding("clocks", Grade.OK, found)
    means = "eta and expires of calls made on this machine are off by that; leases are not, since the server times them"
    return Finding("clocks", Grade.FAIL if abs(offset) > _FAR_OFF else Grade.WARN, found, means, "let chrony or ntpd set both clocks")


def _latency(patient: Patient) -> Finding:
    spans = []
    for _ in range(_PINGS):
        began = patient.clock.monotonic()
        patient.line.call("PING")
        spans.append(patient.clock.monotonic() - began)
    spans.sort()
    p50, p99 = spans[len(spans) // 2], spans[len(spans) * 99 // 100]
    found = f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms of {_PINGS} round trips"
    if p99 < _SLOW:
        return Finding("latency", Grade.OK, found)
    means = "each delay() costs one round trip, and so does each batch of a worker"
    return Finding("latency", Grade.WARN, found, means, "put the server nearer, or look what blocks it: SLOWLOG GET, LATENCY DOCTOR")


def _rights(patient: Patient) -> Finding:
    if patient.line.version < (7, 0):
        return Finding("rights", Grade.OK, "not looked at: Redis before 7 cannot be asked")
    try:
        missing = [one.decode() for one in patient.line.run(scripts.RIGHTS, 1, patient.keys.root, *COMMANDS)]
    except (BrokerUnreachable, ReplyLost):
        raise
    except BrokerError as exc:
        missing = [str(exc)]
    if not missing:
        return Finding("rights", Grade.OK, f"all {len(COMMANDS)} commands are allowed on this app's keys")
    remedy = f"ACL SETUSER {patient.address.options.get('username', 'USER')} {rule(patient.keys.root)}"
    return Finding("rights", Grade.FAIL, f"missing: {', '.join(missing)}", "some steps fail with NOPERM, and not all at once", remedy)


def _leases(patient: Patient) -> list[Finding]:
    """Workers whose lease ended and whom nobody has rescued."""
    line, keys = patient.line, patient.keys
    flat = line.call("ZRANGE", keys.workers, 0, -1, "WITHSCORES")
    seconds, micros = line.call("TIME")
    now = int(seconds) * 1000 + int(micros) // 1000
    workers = [(flat[i].decode("utf-8", "replace"), float(flat[i + 1])) for i in range(0, len(flat), 2)]
    over = [name for name, end in workers if end < now]
    alive = len(workers) - len(over)
    if not over:
        return [Finding("leases", Grade.OK, f"workers: {alive}, all with a lease")]
    found = f"{len(over)} of {len(workers)} workers are gone without goodbye ({', '.join(over[:3])})"
    if alive:
        means = "another worker gives back what they held, once it has itself renewed on time for a whole lease"
        return [Finding("leases", Grade.WARN, found, means, "look again in half a minute")]
    means = "what they held is stuck until a worker runs"
    return [Finding("leases", Grade.FAIL, found, means, "start a worker: umbel worker")]


def _strays(patient: Patient) -> Finding:
    """Holders that belong to no worker: what they hold would never be given back."""
    line, keys = patient.line, patient.keys
    known = {holder for worker in line.call("ZRANGE", keys.workers, 0, -1) for holder in line.call("SMEMBERS", keys.root + b"w:" + worker)}
    cursor, strays = b"0", set[bytes]()
    prefix = keys.root + b"h:"
    for _ in range(_SCAN_STEPS):
        answer = line.ask("SCAN", cursor, "MATCH", re.sub(rb"([\\*?\[\]])", rb"\\\1", prefix) + b"*", "COUNT", _SCAN_COUNT)
        if isinstance(answer, Exception):
            return Finding("holders", Grade.OK, "not looked at: this user may not SCAN")
        cursor, found = answer
        strays.update(key[len(prefix) :] for key in found)
        if cursor == b"0":
            break
    left = sorted(strays - known)
    some = "" if cursor == b"0" else f" (of the first {_SCAN_COUNT * _SCAN_STEPS:,} keys of the server)"
    if not left:
        return Finding("holders", Grade.OK, f"no leftover{some}")
    names = ", ".join(one.decode("utf-8", "replace") for one in left[:3])
    means = "they belong to no worker, so nobody gives back what they hold"
    return Finding(
        "holders", Grade.FAIL, f"{len(left)} left over: {names}", means, "look again in a minute; if they stay, report it with this output"
    )
