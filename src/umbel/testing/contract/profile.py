"""How long the random walks are: short for every day, long with ``UMBEL_THOROUGH=1``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

THOROUGH = os.environ.get("UMBEL_THOROUGH") == "1"
PROFILE = settings(
    max_examples=1000 if THOROUGH else 60,
    stateful_step_count=150 if THOROUGH else 70,
    deadline=None,
    derandomize=not THOROUGH,  # what CI says today it says tomorrow; the long walk is there to find what is new
    database=None,
    # shrinking a failure may take minutes, longer than the test may: the long walk has them
    phases=(Phase.generate, Phase.shrink) if THOROUGH else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
