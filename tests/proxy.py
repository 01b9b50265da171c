"""A wire that breaks on order: a TCP proxy that knows enough of Redis' protocol to lose the reply to one named command.

What a command is called: ``EVALSHA`` of a known script by the script's name, anything else by its own (``BLPOP``). A proxy
stands in front of one client, or of as many as are to suffer together.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from enum import Enum, auto
from typing import Any

from tests.waiting import wait_for

Words = list[bytes]


class Fault(Enum):
    """What befalls a command's connection."""

    LOSE_COMMAND = auto()
    """It is reset before the command reaches the server: nothing was done, and the client cannot know it."""
    LOSE_REPLY = auto()
    """It is reset before the reply reaches the client: it was done, and the client cannot know it."""
    SILENCE = auto()
    """Half open: the command was done, and from now on nothing passes in either direction. Nobody is told."""
    HOLD_COMMAND = auto()
    """The command arrives when the strike is released."""
    HOLD_REPLY = auto()
    """The reply arrives when the strike is released."""


_BEFORE = (Fault.LOSE_COMMAND, Fault.HOLD_COMMAND)


class Strike:
    """A fault on order, and what came of it."""

    def __init__(self, what: str, fault: Fault, number: int, every: bool, only: Callable[[Words], bool] | None) -> None:
        self.what = what
        self.fault = fault
        self.struck = 0
        """How many times."""
        self._number = number
        self._every = every
        self._only = only
        self._seen = 0
        self._released = asyncio.Event()

    def hits(self, what: str, words: Words) -> bool:
        if what != self.what or (self._only is not None and not self._only(words)):
            return False
        self._seen += 1
        hit = self._seen % self._number == 0 if self._every else self._seen == self._number
        self.struck += hit
        return hit

    def wait(self, timeout: float = 30.0) -> None:
        """Until it has struck."""
        try:
            wait_for(lambda: self.struck, timeout)
        except AssertionError:
            raise AssertionError(f"{self.fault.name} of {self.what}: {self._seen} went by, and none was struck") from None


class Proxy:
    """On a port of its own in front of ``target``, until closed. ``scripts``: names by the hash that EVALSHA is called with."""

    def __init__(self, target: int, scripts: Mapping[bytes, str] | None = None) -> None:
        self.seen: Counter[str] = Counter()
        """Commands that were passed on, by name."""
        self._target = target
        self._scripts = scripts or {}
        self._strikes: list[Strike] = []
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen)

    def url(self, **options: float | str) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"redis://127.0.0.1:{self.port}/0" + (f"?{query}" if query else "")

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Everything is cut. Twice is once."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(180)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(180)
            self._loop.close()

    # -- orders

    def strike(
        self, what: str, fault: Fault, number: int = 1, *, every: bool = False, only: Callable[[Words], bool] | None = None
    ) -> Strike:
        """The next command called ``what`` (the ``number``-th from now, or every ``number``-th) meets with ``fault``.

        ``only`` may look at the command's words. A reply that is an error does not count: nothing was done.
        """
        made = Strike(what, fault, number, every, only)
        self._do(lambda: self._strikes.append(made))
        return made

    def release(self, strike: Strike) -> None:
        """Let go what a ``HOLD_…`` holds; lift a strike that still strikes."""

        def lift() -> None:
            if strike in self._strikes:
                self._strikes.remove(strike)
            strike._released.set()

        self._do(lift)

    def cut(self) -> None:
        """Reset all connections; new ones are welcome."""
        self._do(lambda: [link.reset() for link in list(self._links)])

    def silence(self) -> None:
        """All present connections become half open; new ones are welcome."""

        def mute() -> None:
            for link in self._links:
                link.silent = True

        self._do(mute)

    def partition(self) -> None:
        """Nothing passes, of old connections or new ones, until ``heal``. What is sent meanwhile arrives then, as TCP has it,
        though the sender may have given up."""
        self._do(self._open.clear)

    def heal(self) -> None:
        self._do(self._open.set)

    # -- inside of the loop

    def _do(self, order: Callable[[], object]) -> None:
        done: Future[None] = Future()

        def run() -> None:
            try:
                order()
            except BaseException as exc:
                done.set_exception(exc)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result(180)

    def _listen(self) -> None:
        self._accepting = self._loop.create_task(asyncio.start_server(self._accept, sock=self._listener))

    async def _shut(self) -> None:
        self._accepting.result().close()
        for _ in range(5):
            await asyncio.sleep(0)  # what is just being accepted becomes somebody's, who closes it
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for link in list(self._links):  # whose task was cancelled before its first step
            link.reset()
        for _ in range(3):
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        link.task = self._loop.create_task(self._serve(link))

    async def _serve(self, link: _Link) -> None:
        try:
            await link.serve(self._target)
        finally:
            self._links.discard(link)
            link.reset()

    def _name(self, words: Words) -> str:
        command = words[0].decode().upper()
        return self._scripts.get(words[1], command) if command == "EVALSHA" else command

    def _struck(self, what: str, words: Words, before: bool) -> Strike | None:
        """The first strike that this command meets."""
        for strike in self._strikes:
            if (strike.fault in _BEFORE) == before and strike.hits(what, words):
                return strike
        return None


class _Link:
    """One connection of a client and its counterpart to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._asked: deque[Words] = deque()
        self.silent = False
        self.task: asyncio.Task[None] | None = None
        """Kept, since the loop itself does not hold it."""

    async def serve(self, target: int) -> None:
        await self._proxy._open.wait()
        try:
            self._server = await asyncio.open_connection("127.0.0.1", target, limit=1 << 24)
        except OSError:
            return  # as the server does: a reset
        pumps = [asyncio.ensure_future(self._commands()), asyncio.ensure_future(self._replies())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def reset(self) -> None:
        for _, writer in filter(None, (self._client, self._server)):
            raw: Any = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _commands(self) -> None:
        assert self._server is not None
        proxy, frames = self._proxy, _Frames()
        while data := await self._read(self._client[0]):
            for frame in frames.feed(data):
                words = words_of(frame)
                what = proxy._name(words)
                strike = proxy._struck(what, words, before=True)
                if strike is not None and strike.fault is Fault.LOSE_COMMAND:
                    return
                if strike is not None:
                    await strike._released.wait()
                await self._passing()
                proxy.seen[what] += 1
                self._asked.append(words)
                self._server[1].write(frame)
                await self._server[1].drain()

    async def _replies(self) -> None:
        assert self._server is not None
        proxy, frames = self._proxy, _Frames()
        while data := await self._read(self._server[0]):
            for frame in frames.feed(data):
                words = self._asked.popleft()
                strike = None if frame[:1] == b"-" else proxy._struck(proxy._name(words), words, before=False)
                if strike is not None and strike.fault is Fault.LOSE_REPLY:
                    return
                if strike is not None and strike.fault is Fault.SILENCE:
                    self.silent = True
                elif strike is not None:
                    await strike._released.wait()
                await self._passing()
                self._client[1].write(frame)
                await self._client[1].drain()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            data = await reader.read(1 << 16)
        except OSError:
            data = b""
        await self._passing()  # also the end of a stream is not told over a wire that is cut
        return data

    async def _passing(self) -> None:
        await self._proxy._open.wait()
        if self.silent:
            await asyncio.Event().wait()  # until the proxy is closed


class _Frames:
    """Cuts a stream of the protocol (version 2) into whole commands or replies."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while (end := _end_of(self._rest)) is not None:
            frame, self._rest = self._rest[:end], self._rest[end:]
            yield frame


def _end_of(buffer: bytes) -> int | None:
    """Where the first value ends, nested ones and all; None while it is not whole."""
    at, left = 0, 1
    while left:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        kind, text = buffer[at : at + 1], buffer[at + 1 : line]
        at = line + 2
        left -= 1
        if kind == b"$" and int(text) >= 0:
            at += int(text) + 2
        elif kind == b"*":
            left += max(int(text), 0)
        if at > len(buffer):
            return None
    return at


def words_of(frame: bytes) -> Words:
    """A command's words."""
    assert frame[:1] == b"*", f"an inline command: {frame[:40]!r}"
    words, at = [], frame.index(b"\r\n") + 2
    while at < len(frame):
        line = frame.index(b"\r\n", at)
        size = int(frame[at + 1 : line])
        words.append(frame[line + 2 : line + 2 + size])
        at = line + 4 + size
    return words
