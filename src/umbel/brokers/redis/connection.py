"""One connection to a server, with what went wrong said in umbel's words.

The line between "nothing was done" and "it may have been done" runs through here. redis-py's client hides it: by default it
sends a command again when the reply is lost, so its commands may run twice. This uses its connections, one command and one
reply at a time, with retries off, and drops the connection whenever a reply is outstanding that nobody will read.
"""

from __future__ import annotations

import inspect
import re
import select
import socket
from collections.abc import Callable
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qs, urlsplit

import redis.exceptions as wrong
from redis import connection as wire
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...errors import BrokerError, BrokerUnreachable, ConfigError, ReplyLost, StoreFull, StoreUnusable
from .scripts import Script

CONNECT_TIMEOUT = 5.0
REPLY_TIMEOUT = 10.0
"""Seconds. No script runs for a tenth of one; a server that forks or loads may stand still for longer than that."""

_PLAIN_QUERY = ("db", "username", "password", "client_name", "socket_timeout", "socket_connect_timeout", "socket_keepalive")
_TLS_QUERY = ("ca_certs", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")
_QUERY = frozenset((*_PLAIN_QUERY, *(f"ssl_{name}" for name in _TLS_QUERY)))
# The first word of an error reply that says: not begun.
_NOT_BEGUN = frozenset(("LOADING", "MASTERDOWN", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "UNBLOCKED"))
_OVER_LIMIT = "The server has reached its maxmemory: let workers empty the queues, or raise the limit (CONFIG SET maxmemory)"
_CANNOT_SAVE = "The server cannot write to its disk: free some space there, its log says more"
_NAME_REFUSED = re.compile(r"[^!-~]+")


class Wire(Protocol):
    """What is used of redis-py's connections, which are not typed."""

    _sock: socket.socket

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_command(self, *command: bytes | str | int) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self, disable_decoding: bool) -> Any: ...
    def _host_error(self) -> str: ...


_parse_url: Callable[[str], dict[str, Any]] = wire.parse_url


class Address:
    """Where the server is and how to talk to it. Raises ``ConfigError`` for an address that cannot be used."""

    def __init__(self, url: str, app: str, reply_timeout: float | None = None) -> None:
        """``reply_timeout``: seconds; a shorter one of the address's own stands."""
        unknown = sorted(parse_qs(urlsplit(url).query).keys() - _QUERY)
        if unknown:
            raise ConfigError(f"the broker address has an option {unknown[0]!r}; there are: {', '.join(sorted(_QUERY))}")
        try:
            given: dict[str, Any] = _parse_url(url)
        except ValueError as exc:
            raise ConfigError(f"broker address: {exc}") from exc
        self._make: Callable[..., Wire] = given.pop("connection_class", wire.Connection)
        parameters = inspect.signature(wire.AbstractConnection.__init__).parameters
        # Each option on purpose; what is not named here is the address's own business (host, port, db, user, TLS).
        self._options: dict[str, Any] = {
            "socket_timeout": REPLY_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "health_check_interval": 0,
            "decode_responses": False,
            "protocol": 2,
            "client_name": _NAME_REFUSED.sub("_", f"umbel:{app}"),
            # two round trips to tell the server which library this is: not for every child of every worker
            ("driver_info" if "driver_info" in parameters else "lib_name"): None,
        } | given
        if reply_timeout is not None:
            self._options["socket_timeout"] = min(self._options["socket_timeout"] or reply_timeout, reply_timeout)

    def connection(self) -> Wire:
        return self._make(**self._options)


class Line:
    """A connection that is made when it is needed and made anew after it broke."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Wire | None = None
        self._poll = select.poll()
        self._version = (0, 0)

    def drop(self) -> None:
        """Close the connection, if there is one. The next command makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
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

    def call(self, *command: bytes | str | int) -> Any:
        """Send one command and read its reply; errors of the server are raised as umbel's."""
        reply = self.ask(*command)
        if isinstance(reply, Exception):
            self._refused(reply)
        return reply

    def run(self, script: Script, *arguments: bytes | str | int) -> Any:
        """Run a script by its hash: ``arguments`` are the number of keys, the keys, the rest. A server that does not know
        it (restarted, flushed) has done nothing, so it is told and asked once more."""
        sha = script.sha(self.version[0])
        reply = self.ask("EVALSHA", sha, *arguments)
        if isinstance(reply, wrong.NoScriptError):
            self.call("SCRIPT", "LOAD", script.text(self.version[0]))
            reply = self.ask("EVALSHA", script.sha(self.version[0]), *arguments)
        if isinstance(reply, wrong.NoScriptError):  # forgotten again between the two: what is sent whole cannot be
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
        try:
            connection.send_packed_command(connection.pack_command(*command), check_health=False)
        except (wrong.RedisError, OSError) as exc:
            # An incomplete command is not executed.
            self.drop()
            raise BrokerUnreachable(f"redis at {_where(connection)}: {exc}") from exc
        except BaseException:
            self.drop()
            raise

    def read(self) -> Any:
        """The reply to what was sent. ``ReplyLost`` if it does not come."""
        connection = self._connection
        assert connection is not None
        try:
            return connection.read_response(disable_decoding=True)
        except wrong.ResponseError as exc:
            return exc
        except (wrong.RedisError, OSError) as exc:
            self.drop()
            if isinstance(exc, wrong.ConnectionError) and _word(exc) in _NOT_BEGUN:
                raise BrokerUnreachable(f"redis at {_where(connection)} does not serve now: {exc}") from exc
            raise ReplyLost(f"redis at {_where(connection)} did not answer: {exc}") from exc
        except BaseException:
            # Somebody interrupted the wait (a signal, a time limit): the reply would be the next command's.
            self.drop()
            raise

    def _ready(self) -> Wire:
        connection = self._connection
        if connection is not None and self._poll.poll(0):
            # Nothing was asked: what is there to be read is the server's goodbye.
            self.drop()
            connection = None
        return connection or self._connect()

    def _connect(self) -> Wire:
        connection = self._address.connection()
        try:
            connection.connect()
            self._connection = connection
            connection.send_packed_command(connection.pack_command("INFO", "server"), check_health=False)
            self._version = _version(connection.read_response(disable_decoding=True))
        except wrong.AuthenticationError as exc:
            self.drop()
            raise StoreUnusable(f"redis at {_where(connection)} refuses the user or the password: {exc}") from exc
        except wrong.ResponseError as exc:
            self.drop()
            self._refused(exc)
        except (wrong.RedisError, OSError) as exc:
            self.drop()
            raise BrokerUnreachable(f"no redis at {_where(connection)}: {exc}") from exc
        except BaseException:
            self._connection = None
            connection.disconnect()
            raise
        self._poll = select.poll()
        if not hasattr(connection, "cert_reqs"):  # TLS has things of its own to be read
            self._poll.register(self.fileno(), select.POLLIN)
        return connection

    def _refused(self, exc: Exception) -> NoReturn:
        word, text = _word(exc), f"redis says: {exc}"
        if word == "OOM" or isinstance(exc, wrong.OutOfMemoryError):
            raise StoreFull(f"{text} Nothing was done; running work goes on. {_OVER_LIMIT}") from exc
        if word == "MISCONF":
            raise StoreFull(f"{text} Nothing was done. {_CANNOT_SAVE}") from exc
        if word in _NOT_BEGUN or isinstance(exc, wrong.ReadOnlyError):
            self.drop()
            raise BrokerUnreachable(text) from exc
        if isinstance(exc, (wrong.AuthenticationError, wrong.NoPermissionError)) or word in ("NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE"):
            raise StoreUnusable(text) from exc
        raise BrokerError(text) from exc


def _word(exc: Exception) -> str:
    """The error's code. redis-py strips those that it has a class for, so their classes are asked as well."""
    if isinstance(exc, wrong.BusyLoadingError):
        return "LOADING"
    if isinstance(exc, wrong.MasterDownError):
        return "MASTERDOWN"
    return str(exc).partition(" ")[0]


def _where(connection: Wire) -> str:
    return connection._host_error()


def _version(info: bytes) -> tuple[int, int]:
    found = re.search(rb"redis_version:(\d+)\.(\d+)", info)
    return (int(found[1]), int(found[2])) if found else (0, 0)
