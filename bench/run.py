"""``make bench``: all measurements, or those named as arguments."""

from __future__ import annotations

import importlib
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
QUESTIONS = ["throughput", "enqueue", "idle", "redis_rows"]

if __name__ == "__main__":
    print(f"Python {platform.python_version()}, {platform.machine()}")
    for name in sys.argv[1:] or QUESTIONS:
        print(f"-- {name}", flush=True)
        for line in importlib.import_module(f"bench.{name}").main():
            print(f"   {line}", flush=True)
