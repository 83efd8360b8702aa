"""The package's own checks: its types, its tests, its declarations, and a lock that names no host."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.sdk_node.build import INSTALLED, PACKAGE, node

pytestmark = pytest.mark.timeout(120)  # tsc takes six seconds of a processor, beside whatever else runs


def run(*arguments: str | Path, timeout: float = 110) -> "subprocess.CompletedProcess[str]":
    """node with `arguments`, in the package's folder."""
    return subprocess.run(
        [node().node, *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_types_and_the_declarations_that_are_packed(tmp_path: Path) -> None:
    done = run(INSTALLED / "typescript/bin/tsc", "--outDir", tmp_path)
    assert done.returncode == 0, done.stdout
    for export in json.loads((PACKAGE / "package.json").read_text())["exports"].values():
        assert (tmp_path / Path(export["types"]).relative_to("types")).exists()
        assert (PACKAGE / export["default"]).exists()


def test_its_own_tests() -> None:
    done = run("--test", *sorted((PACKAGE / "test").glob("*.test.js")))
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^\W*pass (\d+)", done.stdout, re.MULTILINE)
    assert passed and int(passed[1]) >= 20, done.stdout


def test_nothing_is_needed_at_run_time() -> None:
    assert "dependencies" not in json.loads((PACKAGE / "package.json").read_text())
    for file in (PACKAGE / "src").glob("*.js"):
        for name in re.findall(r"^(?:import|export) .*from '([^']+)'", file.read_text(), re.MULTILINE):
            assert name.startswith(("./", "node:")), f"{file.name}: {name}"


def test_the_lock_has_hashes_and_no_host() -> None:
    lock = json.loads((PACKAGE / "package-lock.json").read_text())["packages"]
    assert len(lock) > 40
    for path, entry in lock.items():
        assert "resolved" not in entry, path
        assert not path or entry["integrity"].startswith("sha512-"), path
