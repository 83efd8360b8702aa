"""A scope whose policy takes its time, so that requests are in flight when something happens."""

from pathlib import Path

from tests.support.policies import POLICIES, write_policies

PATIENT = {"server": {"deadline_ms": 20_000}, "engine": {"deadline_ms": 15_000}}


def write_slow_policies(folder: Path, *, rounds: int = 300_000) -> Path:
    """The usual policies, and the scope `slow`: about a second for a million rounds on a core of its own."""
    slow = f"allow if count([i | some i in numbers.range(1, {rounds}); i % 7 == 0]) > 0"
    return write_policies(folder, {**POLICIES, "issuance.scope.slow": slow})
