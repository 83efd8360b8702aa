"""What holds for all tests."""

import os

import pytest
import structlog
from hypothesis import HealthCheck, settings

# A BRIDGE__ variable of whoever runs the tests would win over the configuration that a test writes.
for _name in [name for name in os.environ if name.startswith("BRIDGE__")]:
    del os.environ[_name]
# All of it is loopback; a proxy of the environment must not come between.
os.environ["NO_PROXY"] = "*"

# Hypothesis runs the same examples each time; `HYPOTHESIS_PROFILE=explore` draws new ones, and many more.
_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=80, suppress_health_check=_SLOW)
settings.register_profile("explore", deadline=None, max_examples=5000, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(autouse=True)
def _log_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs inside the tests must not send what later ones log to a stream that is closed by then."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
