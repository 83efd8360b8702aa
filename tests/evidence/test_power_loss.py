"""What must be there after a power loss was synced, and its name too: a file without a name is lost."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from bridge.evidence import keys
from bridge.evidence.files import DIGEST_KEY, SIGNING_KEY
from bridge.evidence.store import SqliteStore, owned
from bridge.model.times import now_ms


class Syncs:
    """Which folders were synced, and what stood in them then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[Path, set[str]] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_dir():
            self.seen[path] = {one.name for one in path.iterdir()}
        self._fsync(handle)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


def test_the_names_of_keys(tmp_path: Path, syncs: Syncs) -> None:
    """A log whose signing key is gone cannot be gone on with."""
    keys.load_or_make(tmp_path, "", "log.example", now_ms())
    assert SIGNING_KEY in syncs.seen[tmp_path]
    keys.token_digest(tmp_path)
    assert DIGEST_KEY in syncs.seen[tmp_path]


@pytest.mark.parametrize("who", ["owner", "store", "key"])
def test_the_names_of_the_folder_and_of_those_above_it(tmp_path: Path, syncs: Syncs, who: str) -> None:
    folder = tmp_path / "var" / "evidence"
    if who == "owner":
        with owned(folder):
            pass
    elif who == "store":
        with closing(SqliteStore(folder, "test/0")) as store:
            store.open()
    else:
        keys.load_or_make(folder, "", "log.example", now_ms())
    assert "var" in syncs.seen[tmp_path]
    assert "evidence" in syncs.seen[tmp_path / "var"]
