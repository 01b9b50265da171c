"""Log lines of the worker's processes: for people on a terminal, JSON otherwise; control characters never pass."""

from __future__ import annotations

import logging
import sys

import msgspec

from .options import WorkerOptions

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


LINES = {"lines": True}
"""``extra`` of a message that is a trace in itself: the code's own words, which stay on lines of their own."""


class HumanLines(logging.Formatter):
    """Time, level, process, message; a trace stays on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(process)d %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).translate(_CONTROL)
        if record.exc_info or record.exc_text or getattr(record, "lines", False):
            return text
        return text.replace("\n", "\\n")  # a name or an argument must not be able to forge a line


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage().encode("utf-8", "backslashreplace").decode(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info).encode("utf-8", "backslashreplace").decode()
        return msgspec.json.encode(line).decode()


def set_up_logs(options: WorkerOptions) -> None:
    """Give the ``umbel`` loggers a handler of their own; the root logger is the user's."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if options.logfile:
        handler = logging.FileHandler(options.logfile, encoding="utf-8", errors="backslashreplace")
    on_terminal = not options.logfile and sys.stderr.isatty()
    as_json = not on_terminal if options.log_json is None else options.log_json
    handler.setFormatter(JsonLines() if as_json else HumanLines())
    logger = logging.getLogger("umbel")
    logger.handlers[:] = [handler]
    logger.setLevel(options.loglevel.upper())
    logger.propagate = False
