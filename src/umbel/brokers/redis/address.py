"""What an address of the Redis broker says.

::

    redis://[user:password@]host[:6379][/db]                    rediss:// the same with TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379],…/SERVICE[/db]   rediss+sentinel://
    redis+cluster://[user:password@]host[:6379],…                  rediss+cluster://
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from ...errors import ConfigError, StoreUnusable
from .options import REPLY_TIMEOUT, read_options

_PORT, _SENTINEL_PORT = 6379, 26379
_NAME_REFUSED = re.compile(r"[^!-~]+")


class Form(Enum):
    """How the primary is found."""

    HOST = "redis"
    SOCKET = "unix"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Node(NamedTuple):
    """One server of an address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_SCHEMES = {
    "redis": (Form.HOST, False),
    "rediss": (Form.HOST, True),
    "unix": (Form.SOCKET, False),
    "redis+sentinel": (Form.SENTINEL, False),
    "rediss+sentinel": (Form.SENTINEL, True),
    "redis+cluster": (Form.CLUSTER, False),
    "rediss+cluster": (Form.CLUSTER, True),
}


class Address:
    """Where the server is and how to talk to it. Raises ``ConfigError`` for an address that cannot be used; no error repeats
    what may be a password."""

    def __init__(self, url: str, app: str, reply_timeout: float | None = None) -> None:
        """``reply_timeout``: seconds; a shorter one of the address's own stands."""
        scheme, mark, rest = url.partition("://")
        if not mark or scheme.lower() not in _SCHEMES:
            raise ConfigError(f"a Redis address begins with one of {', '.join(f'{one}://' for one in _SCHEMES)}")
        self.form, self.tls = _SCHEMES[scheme.lower()]
        where, _, query = rest.partition("?")
        self.options: dict[str, Any] = read_options(query, tls=self.tls, sentinel=self.form is Form.SENTINEL)
        if reply_timeout is not None:
            self.options["socket_timeout"] = min(self.options.get("socket_timeout", REPLY_TIMEOUT), reply_timeout)
        credentials, _, place = where.rpartition("@")
        self._take_credentials(credentials)
        hosts, slash, path = place.partition("/")
        self.socket = ""
        self.service = ""
        if self.form is Form.SOCKET:
            self.socket = _socket(hosts, slash, path)
            self.nodes: tuple[Node, ...] = ()
        else:
            self.nodes = _nodes(hosts, self.form)
            self._take_path(unquote(path))
        if self.form is Form.CLUSTER and self.database:
            raise ConfigError("broker address: a Redis Cluster has only database 0")
        self.url = url
        self.app = app
        self.client_name = _NAME_REFUSED.sub("_", str(self.options.get("client_name", f"umbel:{app}")))

    @property
    def database(self) -> int:
        return int(self.options.get("db", 0))

    @property
    def strict(self) -> bool:
        """Refuse a server that may lose messages by its settings?"""
        return bool(self.options.get("strict", False))

    @property
    def max_connections(self) -> int | None:
        """The most connections of one process; None: as many as it needs."""
        given: int | None = self.options.get("max_connections")
        return given

    def password(self, of: str = "password") -> str | None:
        """The password, or None. A file is read anew each time; ``StoreUnusable`` if it cannot be."""
        file = self.options.get(f"{of}_file")
        if file is None:
            given: str | None = self.options.get(of)
            return given
        try:
            return Path(file).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
            raise StoreUnusable(f"{of}_file {file} cannot be read: {why}") from exc

    def _take_credentials(self, credentials: str) -> None:
        user, colon, password = credentials.partition(":")
        for name, given in (("username", user), ("password", password if colon else "")):
            if not given:
                continue
            if name in self.options or (name == "password" and "password_file" in self.options):
                raise ConfigError(f"broker address: the {name} is given twice, before the @ and as an option")
            self.options[name] = unquote(given)
        if "username" in self.options and not {"password", "password_file"} & self.options.keys():
            raise ConfigError("broker address: a user name without a password; add :PASSWORD after it, or ?password_file=FILE")

    def _take_path(self, path: str) -> None:
        if self.form is Form.SENTINEL:
            self.service, _, path = path.partition("/")
            if not self.service:
                raise ConfigError("broker address: say which service the sentinels watch: redis+sentinel://HOST:26379/SERVICE/0")
        if not path:
            return
        if not path.isdecimal():
            raise ConfigError(f"broker address: what follows the host must be the number of a database, such as /0, not /{path[:40]}")
        if "db" in self.options:
            raise ConfigError("broker address: the database is given twice, as a path and as an option")
        self.options["db"] = int(path)


def _socket(hosts: str, slash: str, path: str) -> str:
    if hosts or not path:
        raise ConfigError("broker address: write the socket's whole path, with three slashes: unix:///run/redis/redis.sock")
    return slash + unquote(path)


def _nodes(hosts: str, form: Form) -> tuple[Node, ...]:
    many = form in (Form.SENTINEL, Form.CLUSTER)
    default = _SENTINEL_PORT if form is Form.SENTINEL else _PORT
    found = tuple(_node(part.strip(), default) for part in hosts.split(","))
    if len(found) > 1 and not many:
        raise ConfigError("broker address: several hosts stand only in a redis+sentinel: or redis+cluster: address")
    return found


def _node(text: str, default: int) -> Node:
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<name>[^:\[\]]+))?(?::(?P<port>\d{1,5}))?", text)
    port = default if match is None or match["port"] is None else int(match["port"])
    if match is None or not 0 < port < 65536:
        raise ConfigError(
            "broker address: what stands between // (or @) and the next / is no host:port; "
            "a ? or % of a password must be percent-encoded (%3F, %25), or the password be kept in a ?password_file="
        )
    return Node(match["six"] or unquote(match["name"] or "localhost"), port)
