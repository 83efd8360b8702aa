"""Policy folders of the tests' own, and the commands on them, run as an engineer runs them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.policy_cli.commands import Ran, run


@pytest.fixture
def policy() -> Callable[..., Ran]:
    """`issuance-bridge policy ARGUMENTS`."""
    return lambda *arguments: run("policy", *map(str, arguments))


@pytest.fixture(scope="session")
def opa() -> Path:
    from bridge.policy.opa import find_opa

    return find_opa()
