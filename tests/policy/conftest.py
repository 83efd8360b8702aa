"""The `opa` that the bridge itself would run."""

from pathlib import Path

import pytest

from bridge.policy.opa import find_opa, require_version


@pytest.fixture(scope="session")
def opa() -> Path:
    found = find_opa()
    require_version(found)
    return found
