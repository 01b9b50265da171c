"""The Lua scripts: one file per operation, loaded whole.

A file may say ``-- @include name …``; those parts (``lua/parts/``) are put there, in that order. What stands above such a line
and returns has not made their functions.
Redis 7 lets a script run over ``maxmemory`` only if its first line says so. Redis 6.2 does not know that line, so it is
added here, by the version of the server: a script refused for lack of room has then done nothing, and one that frees room
or holds what was accepted is never refused. (On 6.2 the same follows from each script's first write: see there.)
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

_INCLUDE = re.compile(r"^-- @include ([a-z_ ]+)$", re.MULTILINE)
_HEADERS_SINCE = 7


class Script(NamedTuple):
    """One operation, and whether it may go on while the server is over its memory limit."""

    name: str
    over_limit: bool = True

    def text(self, server_major: int) -> bytes:
        """What is sent to a server of this major version."""
        return _text(self, server_major >= _HEADERS_SINCE)

    def sha(self, server_major: int) -> bytes:
        return _sha(self, server_major >= _HEADERS_SINCE)


PUT = Script("put", over_limit=False)
"""``ENQUEUE`` for what needs nothing but a place in one list."""
ENQUEUE = Script("enqueue", over_limit=False)
EXCHANGE = Script("exchange")
EXCHANGE_THEN = Script("exchange", over_limit=False)
"""An exchange whose settles carry new calls: refused whole when there is no room."""
ADMIT = Script("admit")
RENEW = Script("renew")
WAITING = Script("waiting")
RING = Script("ring")
GIVE_BACK = Script("give_back")
RETIRE = Script("retire")
LEAVE = Script("leave")
MAINTAIN = Script("maintain")
STATS = Script("stats")
PURGE = Script("purge")
RIGHTS = Script("rights")

CANCEL = Script("cancel")
CANCEL_HELD = Script("cancel_held")
FIND = Script("find")
SEARCH = Script("search")
BROWSE_READY = Script("browse_ready")
BROWSE_SCHEDULED = Script("browse_scheduled")
BROWSE_DEAD = Script("browse_dead")
WORKERS = Script("workers")
REDRIVE = Script("redrive")
FORGET_DEAD = Script("forget_dead")
PAUSE = Script("pause")
UNPAUSE = Script("unpause")
LOOK = Script("look")
REPORT = Script("report")
FORGET = Script("forget")
SERVE = Script("serve")
SERVED = Script("served")
DECLARE = Script("declare")
OVERRIDE = Script("override")
REST = Script("rest")
RULES = Script("rules")
LANES = Script("lanes")
BACKLOG = Script("backlog")
OPEN_FLOW = Script("open_flow", over_limit=False)
ADD_NODES = Script("add_nodes", over_limit=False)
CLOSE_FLOW = Script("close_flow", over_limit=False)
LOOK_FLOW = Script("look_flow")
FLOWS = Script("flows")
FLOW_NODES = Script("flow_nodes")
INPUTS = Script("inputs")
CANCEL_FLOW = Script("cancel_flow")
RETRY_FLOW = Script("retry_flow")
FORGET_FLOW = Script("forget_flow")
TIMETABLE = Script("timetable")
DECLARE_SCHEDULES = Script("declare_schedules", over_limit=False)
FIRE = Script("fire", over_limit=False)
SCHEDULE_ADD = Script("schedule_add", over_limit=False)
SCHEDULE_REMOVE = Script("schedule_remove")
SCHEDULE_PAUSE = Script("schedule_pause")

_CORE = (PUT, ENQUEUE, EXCHANGE, EXCHANGE_THEN, ADMIT, RENEW, WAITING, RING, GIVE_BACK, RETIRE, LEAVE, MAINTAIN, STATS, PURGE, RIGHTS)
_INSPECTS = (CANCEL, CANCEL_HELD, FIND, SEARCH, BROWSE_READY, BROWSE_SCHEDULED, BROWSE_DEAD, WORKERS, REDRIVE, FORGET_DEAD, PAUSE, UNPAUSE)
_REMEMBERS = (LOOK, REPORT, FORGET)
_SERVES = (SERVE, SERVED)
_LIMITS = (DECLARE, OVERRIDE, REST, RULES, LANES, BACKLOG)
_JOINS = (OPEN_FLOW, ADD_NODES, CLOSE_FLOW, LOOK_FLOW, FLOWS, FLOW_NODES, INPUTS, CANCEL_FLOW, RETRY_FLOW, FORGET_FLOW)
_TICKS = (TIMETABLE, DECLARE_SCHEDULES, FIRE, SCHEDULE_ADD, SCHEDULE_REMOVE, SCHEDULE_PAUSE)
ALL = (*_CORE, *_INSPECTS, *_REMEMBERS, *_SERVES, *_LIMITS, *_JOINS, *_TICKS)


def _text(script: Script, header: bool) -> bytes:
    folder = files(__package__) / "lua"

    def parts(line: re.Match[str]) -> str:
        return "".join((folder / "parts" / f"{part}.lua").read_text("utf-8") for part in line[1].split())

    first = ("#!lua flags=allow-oom\n" if script.over_limit else "#!lua\n") if header else ""
    return (first + _INCLUDE.sub(parts, (folder / f"{script.name}.lua").read_text("utf-8"))).encode()


@cache
def _sha(script: Script, header: bool) -> bytes:
    """Kept, unlike the text: a process names a script at each call and sends it once, if ever."""
    return sha1(_text(script, header), usedforsecurity=False).hexdigest().encode()
