"""One connection to the primary, with what went wrong said in umbel's words.

The line between "nothing was done" and "it may have been done" runs through here. redis-py's client hides it: by default it
sends a command again when the reply is lost, so its commands may run twice. This uses its connections, one command and one
reply at a time, with retries off, and drops the connection whenever a reply is outstanding that nobody will read.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable
from typing import Any, NoReturn

import redis.exceptions as wrong

from ...errors import BrokerUnreachable, ReplyLost
from .address import Address, Node
from .keys import Keys
from .options import CONNECT_TIMEOUT
from .primary import primary_of
from .refusal import moved_to, not_begun, refusal
from .scripts import Script
from .seats import take_seat
from .wire import Wire, question, send, trouble, where

__all__ = ["Address", "Line"]

_DETOURS = 5
"""So often a command may be sent elsewhere (MOVED) or its script be loaded (NOSCRIPT) before its answer is taken as it is."""


class Line:
    """A connection that is made when it is needed and made anew after it broke, or after a fork."""

    def __init__(self, address: Address) -> None:
        self._connection: Wire | None = None
        self._leave: Callable[[], object] = _nothing
        self._address = address
        self._primary = primary_of(address, Keys(address.app).root)
        self._forks = _forks
        self._poll = select.poll()
        self._unread = False
        """Was something asked whose reply nobody has read? Between two lines of ours, too, a signal may end the call."""
        self._version = (0, 0)

    def drop(self) -> None:
        """Close the connection, if there is one. The next command makes a new one."""
        connection, self._connection = self._connection, None
        self._leave()
        if connection is None:
            return
        if self._forks != _forks:
            _of_the_parent.append(connection)
        else:
            connection.disconnect()

    def fileno(self) -> int:
        assert self._connection is not None
        return self._connection._sock.fileno()

    @property
    def version(self) -> tuple[int, int]:
        """The server's version, read once for each connection that is made."""
        if self._connection is None:
            self._connect()
        return self._version

    @property
    def where(self) -> str:
        """The server that is, or would be, talked to."""
        self._ready()
        assert self._connection is not None
        return where(self._connection)

    def call(self, *command: bytes | str | int) -> Any:
        """Send one command and read its reply; errors of the server are raised as umbel's."""
        reply = self.ask(*command)
        if isinstance(reply, Exception) and self._follow(reply):
            reply = self.ask(*command)
        if isinstance(reply, Exception):
            self._refused(reply)
        return reply

    def run(self, script: Script, *arguments: bytes | str | int) -> Any:
        """Run a script by its hash: ``arguments`` are the number of keys, the keys, the rest. A server that does not know
        it (restarted, flushed, promoted) has done nothing, so it is told and asked once more."""
        reply = self.ask("EVALSHA", script.sha(self.version[0]), *arguments)
        return self._detour(reply, script, arguments) if isinstance(reply, Exception) else reply

    def _detour(self, reply: Any, script: Script, arguments: tuple[bytes | str | int, ...]) -> Any:
        for _ in range(_DETOURS):
            if isinstance(reply, wrong.NoScriptError):
                self.call("SCRIPT", "LOAD", script.text(self.version[0]))
            elif not isinstance(reply, Exception) or not self._follow(reply):
                break
            reply = self.ask("EVALSHA", script.sha(self.version[0]), *arguments)
        if isinstance(reply, wrong.NoScriptError):  # forgotten again and again between the two: what is sent whole cannot be
            reply = self.ask("EVAL", script.text(self.version[0]), *arguments)
        if isinstance(reply, Exception):
            self._refused(reply)
        return reply

    def ask(self, *command: bytes | str | int) -> Any:
        """As ``call``, but an error of the server is the answer."""
        self.send(*command)
        return self.read()

    def send(self, *command: bytes | str | int) -> None:
        """Send without waiting for the reply. ``BrokerUnreachable``: nothing was done."""
        connection = self._ready()
        self._unread = True
        try:
            send(connection, command)
        except (wrong.RedisError, OSError) as exc:
            # An incomplete command is not executed.
            self.drop()
            raise BrokerUnreachable(f"redis at {where(connection)}: {trouble(exc)}") from exc
        except BaseException:
            self.drop()
            raise

    def read(self) -> Any:
        """The reply to what was sent. ``ReplyLost`` if it does not come."""
        connection = self._connection
        assert connection is not None
        try:
            reply = connection.read_response(disable_decoding=True)
            self._unread = False
            return reply
        except wrong.ResponseError as exc:
            self._unread = False
            # Its traceback would hold our callers' frames, they it, and so a thread's connection long after the thread.
            return exc.with_traceback(None)
        except (wrong.RedisError, OSError) as exc:
            self.drop()
            if isinstance(exc, wrong.ConnectionError) and not_begun(exc):
                raise BrokerUnreachable(f"redis at {where(connection)} does not serve now: {exc}") from exc
            raise ReplyLost(f"redis at {where(connection)} did not answer: {trouble(exc)}") from exc
        except BaseException:
            # Somebody interrupted the wait (a signal, a time limit): the reply would be the next command's.
            self.drop()
            raise

    def _ready(self) -> Wire:
        connection = self._connection
        if connection is not None and (self._forks != _forks or self._unread or self._poll.poll(0)):
            # Nothing was asked: what is there to be read is the server's goodbye. Or it is the parent's connection, or somebody
            # was interrupted before he read his reply, which would be taken for ours.
            self.drop()
            connection = None
        return connection or self._connect()

    def _connect(self) -> Wire:
        if self._address.max_connections:
            self._leave()
            timeout = self._address.options.get("socket_connect_timeout", CONNECT_TIMEOUT)
            self._leave = take_seat(self, self._address.url, self._address.max_connections, timeout)
        try:
            return self._connected()
        except BaseException:
            self._leave()
            raise

    def _connected(self) -> Wire:
        connection = self._primary.connect()
        try:
            self._version = _version(question(connection, "INFO", "server"))
            self._poll = select.poll()
            self._poll.register(connection._sock.fileno(), select.POLLIN)
        except BaseException:
            connection.disconnect()
            raise
        self._connection, self._forks, self._unread = connection, _forks, False
        return connection

    def _follow(self, reply: Exception) -> bool:
        """If it says that the slot is served elsewhere, and so nothing was done: go there."""
        place = moved_to(reply)
        if place is None:
            return False
        self.drop()
        self._primary.moved(Node(place[0] or self._address.nodes[0].host, place[1]))
        return True

    def _refused(self, exc: Exception) -> NoReturn:
        error = refusal(exc, where(self._connection) if self._connection is not None else "the server")
        if isinstance(error, BrokerUnreachable):
            self.drop()
        raise error from exc


_forks = 0
"""How often this process is a fork of one that had imported this."""
_of_the_parent: list[Wire] = []
"""Kept, so that nothing closes, in a child, what the parent still uses."""


def _after_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_after_fork)


def _nothing() -> None:
    """Where there is no seat to leave."""


def _version(info: bytes) -> tuple[int, int]:
    found = re.search(rb"redis_version:(\d+)\.(\d+)", info)
    return (int(found[1]), int(found[2])) if found else (0, 0)
