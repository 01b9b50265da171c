"""How deep queues may become: the settings' values, as they are given."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ArgumentError
from .release import check_queue

ALL = "*"
"""Stands for every queue that is not named."""


def depths(given: object) -> Mapping[str, int]:
    """queues and numbers of messages, such as {"emails": 100000}; "*" for all others (in the environment: emails=100000,*=500000)"""
    if isinstance(given, str):
        given = dict(part.split("=", 1) for part in given.split(",") if part.strip())
    if not isinstance(given, Mapping):
        raise ValueError
    return {_queue(name): _count(number) for name, number in given.items()}


def when_full(given: object) -> str:
    """'raise' or 'block'"""
    if given not in ("raise", "block"):
        raise ValueError
    return str(given)


def _queue(name: object) -> str:
    if isinstance(name, str):
        name = name.strip()
    try:
        return ALL if name == ALL else check_queue(name)
    except ArgumentError:
        raise ValueError from None


def _count(number: object) -> int:
    if isinstance(number, str):
        number = int(number.strip().replace("_", ""))
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError
    return number
