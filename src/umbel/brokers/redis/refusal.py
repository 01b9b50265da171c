"""What an error reply of the server means: was anything done, and whose fault is it?"""

from __future__ import annotations

import redis.exceptions as wrong

from ...errors import BrokerError, BrokerUnreachable, StoreFull, StoreUnusable

_NOT_BEGUN = frozenset(
    ["LOADING", "MASTERDOWN", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "UNBLOCKED", "NOSCRIPT"]
)
"""The first word of an error that says: not begun, and it may be otherwise in a moment."""
_NO_ROOM = {
    "OOM": "Nothing was done; running work goes on. The server has reached its maxmemory: let workers empty the queues (umbel status "
    "says what waits), or raise the limit (CONFIG SET maxmemory)",
    "MISCONF": "Nothing was done. The server cannot write to its disk: free some space there, its log says more",
}
_FORBIDDEN = frozenset(("NOAUTH", "WRONGPASS", "NOPERM"))
# redis-py strips the word of errors that it has a class for
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (wrong.BusyLoadingError, "LOADING"),
    (wrong.MasterDownError, "MASTERDOWN"),
    (wrong.ReadOnlyError, "READONLY"),
    (wrong.NoScriptError, "NOSCRIPT"),
    (wrong.MovedError, "MOVED"),  # from redis-py 6 on; before, it keeps its word
    (wrong.AskError, "ASK"),
    (wrong.TryAgainError, "TRYAGAIN"),
    (wrong.ClusterDownError, "CLUSTERDOWN"),
    (wrong.OutOfMemoryError, "OOM"),
    (wrong.AuthenticationError, "WRONGPASS"),
    (wrong.NoPermissionError, "NOPERM"),
)


def word(error: Exception) -> str:
    """The error's code, such as ``READONLY``."""
    for kind, said in _WORDS:
        if isinstance(error, kind):
            return said
    text = str(error)
    # Redis 6.2 wraps what stopped a script at its first write
    for said in ("READONLY", "OOM", "NOREPLICAS"):
        if f"-{said} " in text:
            return said
    return text.partition(" ")[0]


def not_begun(error: Exception) -> bool:
    """Does this error say that nothing was done, for now?"""
    return word(error) in _NOT_BEGUN


def moved_to(error: Exception) -> tuple[str, int] | None:
    """Host (empty: the same) and port of the server that a MOVED names; None for any other error."""
    if word(error) != "MOVED":
        return None
    host, _, port = str(error).rpartition(" ")[2].rpartition(":")
    return host, int(port)


def refusal(error: Exception, at: str) -> BrokerError:
    """The error of umbel's for an error reply from the server ``at`` host:port."""
    code, text = word(error), f"redis at {at} says: {error}"
    if code in _NO_ROOM:
        return StoreFull(f"{text} {_NO_ROOM[code]}")
    if code == "READONLY":
        return BrokerUnreachable(f"redis at {at} is a replica and takes no writes: the primary has moved, or the address is wrong")
    if code in _NOT_BEGUN:
        return BrokerUnreachable(f"redis at {at} does not serve this now: {code} {str(error).removeprefix(code).strip()}")
    if code in _FORBIDDEN:
        return StoreUnusable(f"{text} (umbel doctor tells which rights are missing)")
    if code == "WRONGTYPE":
        return StoreUnusable(f"{text} (somebody else writes to this app's keys)")
    return BrokerError(text)
