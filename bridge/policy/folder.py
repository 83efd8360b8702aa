"""A policy folder as its engineers see it: what decides, and beside it the tests and the case tables."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge import kernel
from bridge.errors import ConfigFault
from bridge.policy import source
from bridge.policy.source import Source

CASES = "cases"
"""The folder of the case tables, in a policy folder."""


@dataclass(frozen=True, slots=True)
class Folder:
    """`tests` (`*_test.rego`) and `cases` (YAML below `cases/`): relative POSIX path -> bytes. Neither ever decides."""

    path: Path
    decides: Source
    tests: dict[str, bytes]
    cases: dict[str, bytes]

    @property
    def modules(self) -> dict[str, bytes]:
        """All Rego, tests included."""
        return {**self.decides.modules, **self.tests}


def read(path: Path) -> Folder:
    """The folder at `path`. ConfigFault when it is none; PolicyRefused when what decides cannot be read."""
    if not path.is_dir():
        raise ConfigFault(f"{path} is not a folder of policies (a built bundle has neither tests nor cases)")
    return Folder(path, source.read(path), _files(path, "**/*_test.rego"), _tables(path))


def _tables(folder: Path) -> dict[str, bytes]:
    """Both endings and every folder below: a table that nobody reads would look like one that passes."""
    tables = {**_files(folder, f"{CASES}/**/*.yaml"), **_files(folder, f"{CASES}/**/*.yml")}
    return dict(sorted(tables.items()))


def _files(folder: Path, pattern: str) -> dict[str, bytes]:
    names = sorted(name for name in folder.glob(pattern) if name.is_file())
    found = [(name.relative_to(folder).as_posix(), name) for name in names]
    kept = [(short, name) for short, name in found if not any(part.startswith(".") for part in Path(short).parts)]
    return {short: name.read_bytes() for short, name in kept}


@contextmanager
def laid_out(folder: Folder) -> Iterator[Path]:
    """A copy for `opa`: `set/` (Rego and data), `lib.rego` and `capabilities.json` that ship with the bridge.

    OPA takes every YAML and JSON file of a folder for data, and what stands before a colon in a path for a mount.
    """
    with tempfile.TemporaryDirectory(prefix="issuance-policies-") as scratch:
        root = Path(scratch)
        for name, content in {**folder.modules, **folder.decides.data}.items():
            file = root / "set" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (root / "set").mkdir(exist_ok=True)
        (root / "lib.rego").write_bytes(kernel.MODULES["lib.rego"])
        (root / "capabilities.json").write_bytes(kernel.CAPABILITIES)
        yield root
