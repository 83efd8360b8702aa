"""Runs `issuance-bridge` as an engineer does."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.bridge import run_cli


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: str) -> Ran:
    done = run_cli(*arguments, timeout=120)
    return Ran(done.returncode, done.stdout, done.stderr)
