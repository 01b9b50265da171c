"""The limits of one e-mail, in seconds; the mail server hangs on some for ever."""

from __future__ import annotations

SOFT_LIMIT, HARD_LIMIT = 2.0, 8.0
