"""Named points that a test can make a process stop at, so that a fault strikes exactly there.

Off unless ``UMBEL_TEST_POINTS`` names a folder. There, a file called like a point (``child.after_claim``) arms it: the
first process that reaches it renames the file to ``<point>.<pid>`` and then waits until that file is gone, or until
it is killed. One rename has one winner, so an armed point stops one process, once.

``UMBEL_TEST_SPANS`` (``reconnect=1.5 stuck=3``) shortens spans that no test can sit out.
"""

from __future__ import annotations

import os
import time

_FOLDER = os.environ.get("UMBEL_TEST_POINTS", "")
_SPANS = dict(pair.split("=") for pair in os.environ.get("UMBEL_TEST_SPANS", "").split())


def span(name: str, seconds: float) -> float:
    """``seconds``, or what a test asked for."""
    return float(_SPANS.get(name, seconds))


def reach(point: str) -> None:
    """Do nothing, or stop here if a test asked for it."""
    if _FOLDER:
        _stop(point)


def _stop(point: str) -> None:
    armed = os.path.join(_FOLDER, point)
    stopped = f"{armed}.{os.getpid()}"
    try:
        os.rename(armed, stopped)
    except FileNotFoundError:
        return
    while os.path.exists(stopped):
        time.sleep(0.005)
