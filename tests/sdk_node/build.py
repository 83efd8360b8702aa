"""What the Node package is checked and tried with: a Node, and the packages that its lock names.

    done = subprocess.run([node().node, "--test"], cwd=PACKAGE)

`make sdk-node` installs them into `sdk/node/node_modules`, once for each state of the lock.
"""

import fcntl
import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from scripts import node as nodes
from scripts.environment import digest
from scripts.shell import SetupError, run

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "sdk/node"
CACHE: Final = ROOT / ".cache"
INSTALLED: Final = PACKAGE / "node_modules"
LOCKED: Final = (PACKAGE / "package.json", PACKAGE / "package-lock.json")


def node() -> nodes.Node:
    """The Node to run; where something is not installed, the test fails and says how to get it."""
    if not _is_installed():
        pytest.fail("what sdk/node is tried with is not installed: `make sdk-node` does it", pytrace=False)
    return find(CACHE / "node")


def find(work: Path) -> nodes.Node:
    """The first Node that there is. SetupError with the reason of each way that failed."""
    index = functools.partial(nodes.from_index, work, Path(sys.executable), ROOT / "requirements/node.txt")
    ways: dict[str, Callable[[], nodes.Node]] = {"on PATH": nodes.from_path, "from the Python package index": index}
    reasons = []
    for name, way in ways.items():
        try:
            return way()
        except SetupError as error:
            reasons.append(f"  {name}: {error}")
    said = "\n".join(reasons)
    raise SetupError(f"there is no Node.js to check sdk/node with:\n{said}")


def build() -> None:
    """Installs what is not installed yet, one process at a time. Raises SetupError."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "sdk-node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = find(CACHE / "node")
        if not _is_installed():
            shutil.rmtree(INSTALLED, ignore_errors=True)
            install = [*found.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            run(install, "npm ci failed", env=found.environment(), cwd=PACKAGE)
            _stamp().write_text(digest(*LOCKED))


def _stamp() -> Path:
    return INSTALLED / ".installed"


def _is_installed() -> bool:
    try:
        return _stamp().read_text() == digest(*LOCKED)
    except OSError:
        return False


if __name__ == "__main__":
    try:
        build()
    except SetupError as error:
        sys.exit(f"sdk-node: {error}")
