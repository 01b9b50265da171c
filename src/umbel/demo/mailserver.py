"""The mail server, ``python -m umbel.demo.mailserver OPTIONS-AS-JSON``: real SMTP on a free local port.

Standard output: first its port on a line, then a ``Status`` as JSON each moment. It serves until its standard input ends
(so it never outlives the stage), then writes the ``Report`` to a file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from pathlib import Path

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

from ..clock import SYSTEM
from .mailbox import TRACE_HEADER, Mailbox
from .mailserver_options import ServerOptions

_STATUS_EVERY = 0.1
_FOR_EVER = 86_400.0


class Handler:
    """What aiosmtpd asks for each command."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if self._mailbox.refuses_now(address):
            return "451 4.3.0 Mailbox busy, try again later"
        if self._mailbox.hangs_now(address):
            began = SYSTEM.monotonic()
            try:
                await asyncio.sleep(_FOR_EVER)
            finally:  # aiosmtpd cancels us when the client hangs up
                self._mailbox.gave_up(address, SYSTEM.monotonic() - began)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""  # text only with decode_data, which is off
        first, _, _ = content.partition(b"\r\n")
        header, _, trace = first.decode("ascii").partition(": ")
        if header != TRACE_HEADER:
            return "554 5.6.0 Not a mail of the demo"
        pid = int((session.host_name or "").partition(".")[0].partition("-")[2])
        for address in envelope.rcpt_tos:
            self._mailbox.deliver(address, pid, trace)
        return "250 2.0.0 Taken"


async def _stdin_ends() -> None:
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def serve(options: ServerOptions) -> None:
    """Until the standard input ends."""
    mailbox = Mailbox(SYSTEM, set(options.refuses), set(options.hangs), set(options.silent))
    handler, loop = Handler(mailbox), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, hostname="mail.example.org", loop=loop), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    end = asyncio.ensure_future(_stdin_ends())
    while not (await asyncio.wait([end], timeout=_STATUS_EVERY))[0]:
        print(msgspec.json.encode(mailbox.status()).decode(), flush=True)
    server.close()
    target = Path(options.report)
    written = target.with_suffix(".part")
    written.write_bytes(msgspec.json.encode(mailbox.report()))
    written.replace(target)


def main() -> None:
    warnings.filterwarnings("ignore", module="aiosmtpd")
    logging.getLogger("mail").setLevel(logging.CRITICAL)  # a client that is killed or gives up is what is shown here
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=ServerOptions)))
    sys.stdout.flush()
    os._exit(0)  # connections that hang are not worth waiting for


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the stage is gone
        os._exit(1)
