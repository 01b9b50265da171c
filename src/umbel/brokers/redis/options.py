"""What may stand after the ``?`` of an address, and what each option accepts. ``docs/reference/brokers.md`` lists the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from ...config import unknown_name
from ...errors import ConfigError

REPLY_TIMEOUT = 10.0
"""Seconds. No script runs for a tenth of one; a server that forks or loads may stand still for longer than that."""
CONNECT_TIMEOUT = 5.0


def _text(given: str) -> str:
    """text that is not empty"""
    if not given:
        raise ValueError
    return given


def _seconds(given: str) -> float:
    """seconds: a number over 0, at most 3600"""
    value = float(given)
    if not 0 < value <= 3600:
        raise ValueError
    return value


def _database(given: str) -> int:
    """the number of a database, 0 or more"""
    if not given.isdecimal():
        raise ValueError
    return int(given)


def _count(given: str) -> int:
    """a whole number from 2 (each thread that consumes needs two)"""
    if not given.isdecimal() or int(given) < 2:
        raise ValueError
    return int(given)


def _switch(given: str) -> bool:
    """true or false"""
    return {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}[given.lower()]


def _certificates(given: str) -> str:
    """required, optional or none"""
    if given not in ("required", "optional", "none"):
        raise ValueError
    return given


def _file(given: str) -> str:
    """a file that can be read"""
    if not os.access(given, os.R_OK) or os.path.isdir(given):
        raise ValueError
    return given


def _folder(given: str) -> str:
    """a folder"""
    if not os.path.isdir(given):
        raise ValueError
    return given


MEANINGS = {
    "db": "the database, where the path does not say it; default 0",
    "username": "where it does not stand before the `@`",
    "password": "where it does not stand before the `@`",
    "password_file": "a file that holds the password, read whenever a connection is made, so that a changed one is taken up",
    "client_name": "as `CLIENT LIST` shows it; default `umbel:APP`",
    "socket_timeout": f"seconds for a reply, default {REPLY_TIMEOUT:g}; less makes a server that forks or loads look dead",
    "socket_connect_timeout": f"seconds to connect, default {CONNECT_TIMEOUT:g}",
    "max_connections": "connections of one process, default no bound; a thread that finds none free waits `socket_connect_timeout`, "
    "then is refused",
    "strict": "refuse a server that may lose messages by its settings; default false",
    "ssl_ca_certs": "the authorities, in a file; default the system's",
    "ssl_ca_path": "the authorities, in a folder; default the system's",
    "ssl_certfile": "a certificate of ours",
    "ssl_keyfile": "its key",
    "ssl_password": "the key's password",
    "ssl_cert_reqs": "default `required`; `none` believes everybody",
    "ssl_check_hostname": "does the certificate name the host? Default true",
    "sentinel_username": "for the sentinels themselves",
    "sentinel_password": "for the sentinels themselves",
    "sentinel_password_file": "for the sentinels themselves",
}
"""What each option is for. There is none for retries: a command whose reply was lost may have been done."""

# A password file is read when a connection is made, so that a changed one is taken up; it need not be there before.
_ALL: dict[str, Callable[[str], Any]] = {
    "db": _database,
    "username": _text,
    "password": _text,
    "password_file": _text,
    "client_name": _text,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "max_connections": _count,
    "strict": _switch,
}
_TLS: dict[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _file,
    "ssl_ca_path": _folder,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": _text,
    "ssl_cert_reqs": _certificates,
    "ssl_check_hostname": _switch,
}
_SENTINEL: dict[str, Callable[[str], Any]] = {
    "sentinel_username": _text,
    "sentinel_password": _text,
    "sentinel_password_file": _text,
}


def known_options() -> tuple[str, ...]:
    """Every option that stands in some form of an address."""
    return (*_ALL, *_TLS, *_SENTINEL)


def accepted(name: str) -> str:
    """What an option accepts, in words."""
    return str((_ALL | _TLS | _SENTINEL)[name].__doc__)


def read_options(query: str, *, tls: bool, sentinel: bool) -> dict[str, Any]:
    """The options of an address. ``ConfigError`` for one that is not known, that does not belong there, that stands twice,
    or that has a value which it does not accept; secrets are not repeated."""
    known = _ALL | (_TLS if tls else {}) | (_SENTINEL if sentinel else {})
    found: dict[str, Any] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        name, _, given = pair.partition("=")
        if name not in known:
            raise ConfigError(f"broker address: {_unknown(name, known)}")
        if name in found:
            raise ConfigError(f"broker address: the option {name!r} stands there twice")
        found[name] = _accept(name, unquote_plus(given), known[name])
    for secret in ("password", "sentinel_password"):
        if secret in found and f"{secret}_file" in found:
            raise ConfigError(f"broker address: {secret} and {secret}_file exclude each other")
    return found


def _accept(name: str, given: str, accepts: Callable[[str], Any]) -> Any:
    try:
        return accepts(given)
    except (ValueError, KeyError):
        # a secret is only ever refused for being empty
        raise ConfigError(f"broker address: {name}={given!r}: it must be {accepts.__doc__}") from None


def _unknown(name: str, known: dict[str, Any]) -> str:
    if name in _TLS:
        return f"the option {name!r} is for an address that begins with rediss: (TLS)"
    if name in _SENTINEL:
        return f"the option {name!r} is for an address that begins with redis+sentinel:"
    # what is no name at all may be the end of a password that was not percent-encoded
    shown = name if name.replace("_", "").isalpha() and len(name) <= 40 else "(not shown)"
    words = unknown_name("option", shown, known)
    return words if "did you mean" in words else f"{words}; there are: {', '.join(sorted(known))}"
