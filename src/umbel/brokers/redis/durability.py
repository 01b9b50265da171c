"""Will the server keep what it accepted? What it says of its persistence and of its memory."""

from __future__ import annotations

from typing import NamedTuple

from ...checkup import Finding, Grade, bytes_text
from ...errors import StoreUnusable
from .connection import Line

_DOCS = "docs/redis.md, 'What the server must be told'"
_NEARLY_FULL = 0.8
"""Of its memory: time for an operator to act before calls are refused."""


class Server(NamedTuple):
    """What a server says of itself: INFO, and the settings that it shows to this user (None: it shows none)."""

    info: dict[str, str]
    settings: dict[str, str] | None

    def number(self, key: str) -> int:
        text = self.info.get(key, "")
        return int(text) if text.isdecimal() else 0


def look(line: Line) -> Server:
    """Ask: two or three round trips."""
    settings: dict[str, str] = {}
    for name in ("save", "appendfsync"):
        answer = line.ask("CONFIG", "GET", name)  # one name a question: Redis 6.2 takes no more
        if isinstance(answer, Exception) or len(answer) != 2:
            return Server(_info(line), None)
        settings[name] = answer[1].decode()
    return Server(_info(line), settings)


def _info(line: Line) -> dict[str, str]:
    rows = line.call("INFO").decode("utf-8", "replace").splitlines()
    return {name: value for name, colon, value in (row.partition(":") for row in rows) if colon}


def persistence(server: Server) -> Finding:
    """AOF, snapshots, or nothing."""
    check, info = "persistence", server.info
    if info.get("aof_enabled") == "1":
        return _append_only(server)
    if server.settings is None:
        means = "a restart may lose everything, or nothing: this user may not ask (CONFIG GET), or the provider hides it"
        return Finding(check, Grade.WARN, "no append-only file, and whether snapshots are taken cannot be seen", means, f"see {_DOCS}")
    if not server.settings["save"]:
        means = "when the server ends, by a crash or a restart, every waiting task is lost"
        remedy = "CONFIG SET appendonly yes, and CONFIG REWRITE (or appendonly yes in redis.conf)"
        return Finding(check, Grade.FAIL, "off: neither an append-only file nor snapshots", means, remedy)
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        means = "what is waiting is not on the disk, and the server may refuse writes (MISCONF)"
        return Finding(check, Grade.FAIL, "snapshots only, and the last one failed", means, "look into the server's log; free its disk")
    means = "when the server ends without its goodbye, what came since the last snapshot is lost: minutes of accepted tasks"
    return Finding(
        check, Grade.WARN, f"snapshots only (save {server.settings['save']})", means, "CONFIG SET appendonly yes, and CONFIG REWRITE"
    )


def _append_only(server: Server) -> Finding:
    check = "persistence"
    if server.info.get("aof_last_write_status", "ok") != "ok":
        means = "what is accepted now is not on the disk"
        return Finding(check, Grade.FAIL, "append-only file, and its last write failed", means, "free the server's disk")
    fsync = (server.settings or {}).get("appendfsync", "")
    if fsync == "no":
        means = "when the machine dies, what came in the last half minute or so is lost; the death of the server alone loses nothing"
        return Finding(check, Grade.WARN, "append-only file, appendfsync no", means, "CONFIG SET appendfsync everysec")
    kept = {
        "always": "neither the death of the server nor that of its machine loses what was accepted",
        "everysec": "the death of the server loses nothing unless its disk lags; the death of its machine, the last second or two",
    }
    return Finding(check, Grade.OK, f"append-only file, appendfsync {fsync or '(not shown)'}", kept.get(fsync, ""))


def eviction(server: Server) -> Finding:
    """Does the server throw away keys when it is full?"""
    check, policy = "eviction", server.info.get("maxmemory_policy", "")
    if policy == "noeviction":
        return Finding(check, Grade.OK, "maxmemory-policy noeviction", "a full server refuses new calls and keeps what it has")
    means = "when its memory is full, the server throws away waiting tasks without a word"
    remedy = "CONFIG SET maxmemory-policy noeviction, and CONFIG REWRITE; a cache needs a server of its own"
    return Finding(check, Grade.FAIL, f"maxmemory-policy {policy or '(not shown)'}", means, remedy)


def memory(server: Server) -> Finding:
    """How full is it?"""
    used, limit, machine = (server.number(key) for key in ("used_memory", "maxmemory", "total_system_memory"))
    found = f"{bytes_text(used)} of {bytes_text(limit)}" if limit else f"{bytes_text(used)}, without a limit"
    if limit and used > limit * _NEARLY_FULL:
        means = "when it is full, new calls are refused; running tasks finish"
        return Finding("memory", Grade.WARN, found, means, "raise maxmemory, start more workers, or purge what nobody needs: umbel status")
    if not limit and machine and used > machine * _NEARLY_FULL:
        means = "the kernel ends a server that takes all memory of the machine"
        return Finding(
            "memory", Grade.WARN, f"{found}, on a machine of {bytes_text(machine)}", means, "set maxmemory below the machine's memory"
        )
    return Finding("memory", Grade.OK, found)


def dangers(line: Line) -> list[Finding]:
    """What may lose messages."""
    server = look(line)
    return [one for one in (persistence(server), eviction(server)) if one.grade is Grade.FAIL]


def insist(line: Line) -> None:
    """For ``strict``: raise ``StoreUnusable`` unless the server shows that it keeps what it accepted."""
    server = look(line)
    wrong = [one for one in (persistence(server), eviction(server)) if one.grade is Grade.FAIL]
    if not wrong and server.settings is None and server.info.get("aof_enabled") != "1":
        wrong = [persistence(server)]
    if wrong:
        said = "; ".join(f"{one.check}: {one.found} ({one.remedy})" for one in wrong)
        raise StoreUnusable(f"redis at {line.where} may lose messages, and strict=true refuses that: {said}")
