"""Hypothesis runs the same examples each time; `HYPOTHESIS_PROFILE=explore` draws new ones, and many more."""

import os

from hypothesis import HealthCheck, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=150, suppress_health_check=_SLOW)
settings.register_profile("explore", deadline=None, max_examples=5000, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
