"""What a user of umbel would write: an app, and a task that sends one e-mail.

The stage tells it by the environment where the database of users (``DEMO_USERS``) and the mail server (``DEMO_SMTP_PORT``)
are, and umbel by ``UMBEL_BROKER`` and ``UMBEL_NAME``.
"""

from __future__ import annotations

import os
import smtplib
import sqlite3
from typing import Any

from umbel import Retry, Umbel

from ..clock import SYSTEM, to_ms
from .limits import HARD_LIMIT, SOFT_LIMIT
from .mailbox import TRACE_HEADER
from .users import open_users

app = Umbel("umbel-demo")


class Post:
    """What a child process keeps from one e-mail to the next: a connection to the database, one to the mail server."""

    def __init__(self) -> None:
        self._users: sqlite3.Connection | None = None
        self._smtp: smtplib.SMTP | None = None

    def user(self, number: int) -> tuple[str, str]:
        """Name and address."""
        if self._users is None:
            self._users = open_users(os.environ["DEMO_USERS"])
        name, address = self._users.execute("SELECT name, address FROM users WHERE id = ?", (number,)).fetchone()
        return name, address

    def send(self, address: str, mail: bytes) -> None:
        """Hand the mail over. After any trouble but a plain refusal, the connection is in an unknown state, and is dropped."""
        try:
            if self._smtp is None:
                # The name that we greet with tells the server which process this is
                greeting = f"child-{os.getpid()}.example.org"
                self._smtp = smtplib.SMTP("127.0.0.1", int(os.environ["DEMO_SMTP_PORT"]), local_hostname=greeting, timeout=30)
            self._smtp.sendmail("news@example.org", [address], mail)
        except smtplib.SMTPRecipientsRefused:
            raise
        except BaseException:  # the soft limit too, which may come at any line
            self.hang_up()
            raise

    def hang_up(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            smtp.close()


post = Post()


@app.task(
    bind=True,
    queue="mail",
    soft_time_limit=SOFT_LIMIT,
    time_limit=HARD_LIMIT,
    retry=Retry(max=5, on=(OSError,), backoff=0.5, max_delay=5, on_timeout=True),
)
def send_mail(self: Any, user_id: int) -> None:
    """One e-mail to one user."""
    request = self.request
    waited = SYSTEM.now() - to_ms(request.enqueued_at)
    name, address = post.user(user_id)
    mail = (
        f"{TRACE_HEADER}: {request.attempt} {request.delivery} {waited}\r\n"
        f"From: news@example.org\r\nTo: {address}\r\nMessage-ID: <{request.id}@example.org>\r\nSubject: Your statement is ready\r\n\r\n"
        f"Dear {name},\r\n\r\nyour monthly statement is ready.\r\n"
    )
    post.send(address, mail.encode("ascii"))
