"""The demo: an e-mail to each of 20,000 users, past a refusing server and a killed process.

``run_demo`` is the door. Five processes take part, as they would in a company: a mail server (``mailserver``), a worker
with two children that runs the task of ``app``, a caller (``caller``), and the stage that starts them, kills one child and
counts (``stage``). Needs the extra ``umbel[demo]``.
"""

from .stage import run_demo

__all__ = ["run_demo"]
