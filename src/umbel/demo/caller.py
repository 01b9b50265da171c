"""The caller, ``python -m umbel.demo.caller``: one e-mail task for each user, straight from a database cursor.

Ends with one line of JSON on its standard output: how many calls were stored, and in how many seconds.
"""

from __future__ import annotations

import os

import msgspec

from ..clock import SYSTEM
from .app import send_mail
from .users import user_ids


class Called(msgspec.Struct, frozen=True):
    """The caller's last words."""

    count: int
    seconds: float


def main() -> None:
    began = SYSTEM.monotonic()
    count = send_mail.delay_many({"user_id": number} for number in user_ids(os.environ["DEMO_USERS"]))
    print(msgspec.json.encode(Called(count, SYSTEM.monotonic() - began)).decode(), flush=True)


if __name__ == "__main__":
    main()
