"""Runs the console script."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BRIDGE = Path(sys.prefix) / "bin" / "issuance-bridge"


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
    env = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")}
    done = subprocess.run([BRIDGE, *arguments], capture_output=True, text=True, check=False, timeout=120, env=env)
    return Ran(done.returncode, done.stdout, done.stderr)
