"""redis-py's connections: each option set on purpose, and what goes wrong at the door said in umbel's words."""

from __future__ import annotations

import codecs
import inspect
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

import hiredis
import redis.exceptions as wrong
from redis import connection as theirs
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...errors import BrokerUnreachable, StoreUnusable
from .address import Address, Node
from .options import CONNECT_TIMEOUT, REPLY_TIMEOUT
from .refusal import refusal

codecs.lookup("idna")  # connecting imports it; here, that is before a worker forks, whose processes then share it
_TLS_HELP = {
    "CERTIFICATE_VERIFY_FAILED": "name the authority that signed its certificate, ?ssl_ca_certs=FILE",
    "WRONG_VERSION_NUMBER": "it does not speak TLS there; redis: instead of rediss:, or another port",
    "CERTIFICATE_REQUIRED": "it asks for a certificate of ours, ?ssl_certfile=FILE&ssl_keyfile=FILE",
}


class Wire(Protocol):
    """What is used of redis-py's connections, which are not typed."""

    _sock: socket.socket

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_command(self, *command: bytes | str | int) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self, disable_decoding: bool) -> Any: ...
    def _host_error(self) -> str: ...


def where(wire: Wire) -> str:
    """The server at the other end, for people."""
    return wire._host_error()


def data_wire(address: Address, node: Node | None) -> Wire:
    """An open connection to a server that holds data (None: behind the socket of the address). ``BrokerUnreachable``, or
    ``StoreUnusable`` where it refuses the user, the password or the certificate."""
    options = _options(address) | {
        "db": address.database,
        "username": address.options.get("username"),
        "password": address.password(),
    }
    if node is None:
        return _opened(theirs.UnixDomainSocketConnection, options | {"path": address.socket})
    return _opened(*_over_tcp(address, node, options))


def sentinel_wire(address: Address, node: Node) -> Wire:
    """An open connection to a sentinel, which has a user and a password of its own. Raises as :func:`data_wire`."""
    options = _options(address) | {
        "username": address.options.get("sentinel_username"),
        "password": address.password("sentinel_password"),
    }
    return _opened(*_over_tcp(address, node, options))


def send(wire: Wire, command: tuple[bytes | str | int, ...]) -> None:
    """Send a command whose words stand one by one. redis-py's own way looks at the type of each of them first, which for an
    exchange of 500 settles costs more than all the rest."""
    wire._sock.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub means a tuple of any length and says one


def question(wire: Wire, *command: bytes | str | int) -> Any:
    """Ask something that changes nothing: whatever goes wrong, nothing was done. Raises as :func:`data_wire`."""
    try:
        wire.send_packed_command(wire.pack_command(*command), check_health=False)
        return wire.read_response(disable_decoding=True)
    except wrong.ResponseError as exc:
        raise refusal(exc, where(wire)) from exc
    except (wrong.RedisError, OSError) as exc:
        raise BrokerUnreachable(f"redis at {where(wire)} did not answer: {trouble(exc)}") from exc


def _options(address: Address) -> dict[str, Any]:
    parameters = inspect.signature(theirs.AbstractConnection.__init__).parameters
    return {
        "socket_timeout": address.options.get("socket_timeout", REPLY_TIMEOUT),
        "socket_connect_timeout": address.options.get("socket_connect_timeout", CONNECT_TIMEOUT),
        # whether a command may be sent again is decided by who sent it; here nothing is ever repeated
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        # a ping before a command would cost a round trip, and a dead connection is found without one
        "health_check_interval": 0,
        "decode_responses": False,
        # RESP 3 would bring maps, pushes and a HELLO, and nothing that is needed
        "protocol": 2,
        "client_name": address.client_name,
        # two round trips to tell the server which library this is: not for every child of every worker
        ("driver_info" if "driver_info" in parameters else "lib_name"): None,
    }


def _over_tcp(address: Address, node: Node, options: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    # Without keepalive a thread that waits for a server which vanished from the net would never hear of it.
    options = options | {"host": node.host, "port": node.port, "socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    if not address.tls:
        return theirs.Connection, options
    given = {name: value for name, value in address.options.items() if name.startswith("ssl_")}
    if given.get("ssl_cert_reqs") == "none":
        given["ssl_check_hostname"] = False  # older releases of redis-py do not conclude it
    return theirs.SSLConnection, options | {"ssl_cert_reqs": "required", "ssl_check_hostname": True} | given


# 15 s of silence, then three questions 5 s apart. (macOS has no TCP_KEEPIDLE.)
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


def _opened(make: Callable[..., Any], options: dict[str, Any]) -> Wire:
    wire: Wire = make(**options)
    try:
        wire.connect()
        _leave_time_to_the_kernel(wire._sock)
    except wrong.AuthenticationError as exc:
        wire.disconnect()
        raise StoreUnusable(f"redis at {where(wire)} refuses the user or the password: {exc}") from exc
    except wrong.ResponseError as exc:
        wire.disconnect()
        raise refusal(exc, where(wire)) from exc
    except (wrong.RedisError, OSError) as exc:
        wire.disconnect()
        for word, remedy in _TLS_HELP.items():
            if word in str(exc):
                raise StoreUnusable(f"redis at {where(wire)}: {exc}: {remedy}") from exc
        silent = isinstance(exc, wrong.TimeoutError) and "ssl_cert_reqs" in options
        hint = " (if it answers without TLS, write redis: instead of rediss:)" if silent else ""
        raise BrokerUnreachable(f"no redis at {where(wire)}: {exc}{hint}") from exc
    except BaseException:
        wire.disconnect()
        raise
    return wire


def _leave_time_to_the_kernel(sock: socket.socket) -> None:
    """Let the kernel bound a call. Python asks ``poll`` before each ``send`` and ``recv`` of a socket that has a time limit: two
    system calls more for a round trip, which a task pays on its way in and out. (What TLS does with an interrupted read is
    its own; there Python keeps the time.)"""
    span = sock.gettimeout()
    if not span or hasattr(sock, "cipher"):
        return
    limit = struct.pack("@ll", int(span), int(span % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.settimeout(None)


def trouble(exc: BaseException) -> str:
    """What went wrong on the wire, for people: a time limit that the kernel kept looks like a socket without data."""
    return "it took too long" if isinstance(exc.__context__, BlockingIOError) else str(exc)
