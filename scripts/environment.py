"""Makes .venv from the locked requirements, puts the bridge and OPA into it; does only what is not done yet."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripts import opa
from scripts.shell import SetupError, pip, run

ROOT = Path(__file__).resolve().parent.parent

_INDEX_HINT = """the Python packages could not be installed. Is the package index reachable? pip listens to
PIP_INDEX_URL, PIP_FIND_LINKS, PIP_CERT and HTTPS_PROXY. A hash that does not match means that the index gave another
file than the one that was locked: do not go on. pip said"""


def say(text: str) -> None:
    """One line of progress."""
    print(f"setup: {text}", flush=True)


def digest(*files: Path) -> str:
    """SHA-256 (hex) of the files' contents, in order."""
    return hashlib.sha256(b"\0".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


class Stamp:
    """What was finished in a virtual environment: names of steps with a digest of what went into each.

    It lies inside the environment and goes with it; one that cannot be read counts as empty, so that all is done again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def _read(self) -> dict[str, str]:
        try:
            read = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    def get(self, step: str) -> str | None:
        """The digest with which the step was finished last."""
        return self._read().get(step)

    def once(self, step: str, want: str, work: Callable[[], None]) -> None:
        """Does `work` unless it was finished with the same digest; interrupted work leaves no stamp."""
        steps = self._read()
        if steps.pop(step, None) == want:
            return
        self._file.write_text(json.dumps(steps))
        work()
        self._file.write_text(json.dumps(steps | {step: want}))


def usable(venv: Path, stamp: Stamp, root: Path) -> bool:
    """Whether the environment runs, has pip, and was made where it lies (its scripts name their place)."""
    if stamp.get("root") not in (None, str(root)):
        return False
    check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([venv / "bin/python", "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def prepare(root: Path, install: Callable[[list[str | Path]], None]) -> None:
    """Makes or mends `root`/.venv; `install` is called with pip's arguments, only for what changed since last time."""
    venv = root / ".venv"
    stamp = Stamp(venv / "setup.json")
    if not usable(venv, stamp, root):
        say(f"making .venv with Python {sys.version.split()[0]}")
        run([sys.executable, "-m", "venv", "--clear", venv], "making .venv failed")
    stamp.once("root", str(root), lambda: None)

    def requirements() -> None:
        say("installing the locked Python packages (the first time takes about a minute)")
        install(["--require-hashes", "-r", root / "requirements/dev.txt"])

    def project() -> None:
        install(["--no-build-isolation", "--no-deps", "-e", root])

    stamp.once("requirements", digest(root / "requirements/dev.txt"), requirements)
    stamp.once("project", digest(root / "pyproject.toml"), project)


def pip_install(arguments: list[str | Path]) -> None:
    """pip of .venv, told to ask nothing."""
    run([*pip(ROOT / ".venv/bin/python"), *arguments], _INDEX_HINT)


def main() -> int:
    """0, or 1 with one message on standard error."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "setup.lock").open("w") as lock:
        # Two terminals may both begin with `make run` and `make test`.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            prepare(ROOT, pip_install)
            release = opa.Release.read(ROOT / "scripts/opa-releases.json")
            opa.ensure(release, cache, ROOT / ".venv/bin", ROOT / "requirements/go.txt", say)
        except SetupError as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
    say(f"ready ({os.path.relpath(ROOT / '.venv')}, OPA {release.version})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
