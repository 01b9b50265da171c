"""Middleware: what may change a call on its way out, and a run on its way in. An onion; exceptions pass through.

A middleware that only wants to know subscribes to events instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .message import Message
from .request import Request

NextSend = Callable[[Message], str]
"""Hand a message to the next one; answers with the id under which it goes."""
NextRun = Callable[[Request], Any]
"""Run the task; answers with its value."""


class Middleware:
    """Override what is needed; the other half passes on."""

    def send(self, message: Message, call_next: NextSend) -> str:
        """On the caller's side, before arguments are encoded. ``call_next(message.replace(...))`` sends a changed one;
        an exception refuses the call. When ``call_next`` returns, the message is stored, or, in ``delay_many`` and where
        calls are collected, waits to be stored with others."""
        return call_next(message)

    def run(self, request: Request, call_next: NextRun) -> Any:
        """On the worker's side, around each run. Not calling ``call_next`` skips the task; what is returned is its value."""
        return call_next(request)


def send_through(middleware: Sequence[Middleware], message: Message, send: NextSend) -> str:
    """``send`` with all ``middleware`` around it, the first one outermost."""
    for layer in reversed(middleware):
        send = _sending(layer, send)
    return send(message)


def run_through(middleware: Sequence[Middleware], request: Request, run: NextRun) -> Any:
    """``run`` with all ``middleware`` around it, the first one outermost."""
    for layer in reversed(middleware):
        run = _running(layer, run)
    return run(request)


def _sending(layer: Middleware, inner: NextSend) -> NextSend:
    return lambda message: layer.send(message, inner)


def _running(layer: Middleware, inner: NextRun) -> NextRun:
    return lambda request: layer.run(request, inner)
