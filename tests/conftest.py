"""What holds for all tests."""

import os
from pathlib import Path

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

# They begin first: a file is one worker's, and a long one that begins last keeps the others waiting.
LONGEST = (
    "faults/test_kill.py",
    "faults/test_disk.py",
    "lifecycle/test_real_hydra.py",
    "saga/test_kill.py",
    "foreign/test_witnessed.py",
    "replay/test_replay.py",
    "operations/test_workers.py",
    "operations/test_stop.py",
    "faults/test_publishing.py",
    "tree/test_publication.py",
    "hooks/test_real_hydra.py",
    "authzen/test_issuance_search.py",
    "operations/test_check.py",
    "policy_cli/test_lint.py",
    "foreign/test_running.py",
    "test_setup.py",
    "property/test_merging.py",
    "faults/test_engine_days.py",
    "faults/test_policy_swaps.py",
    "replay/test_impact.py",
    "tree/test_start.py",
    "doors/test_issued.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One more than processors: half of a test is waiting, for a process to start, say, or for a time to pass."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _log_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs inside the tests must not send what later ones log to a stream that is closed by then."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
