"""The files that the publisher writes are those that a foreign writer writes, byte for byte."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.evidence.files import LOG, VKEY
from bridge.evidence.publish import Publisher
from bridge.evidence.store import SqliteStore
from bridge.ports import Record
from bridge.tlog.note import Signer
from bridge.tlog.tiles import ENTRIES, levels, tiles_of
from tests.foreign.others import fsck_verdict, sumdb_verdict, write_foreign
from tests.support.evidence import all_found

SIGNER = Signer("log.example/2026h2", Ed25519PrivateKey.generate())
SIZES = (1, 2, 255, 256, 257, 511, 512, 513, 600)


def needed(size: int) -> list[str]:
    """The files that a checkpoint of this size stands on, and the checkpoint."""
    tiles = [tile for level in (ENTRIES, *range(levels(size))) for tile in tiles_of(size, level)]
    return ["checkpoint", *(tile.path for tile in tiles)]


@dataclass(frozen=True)
class Grown:
    """One log at each of its sizes: what lay in its files then."""

    entries: list[bytes]
    files: dict[int, dict[str, bytes]]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown") / "evidence"
    store, publisher = SqliteStore(folder, "b1"), Publisher(folder, SIGNER)
    store.open()
    publisher.open()
    files: dict[int, dict[str, bytes]] = {}
    for before, size in itertools.pairwise((0, *SIZES)):
        # Of many lengths: a bundle is not a table.
        store.commit([Record({"id": str(n), "text": "ü" * (n * n % 700)}) for n in range(before, size)])
        note = publisher.integrate()
        assert note is not None
        publisher.publish(note)
        assert sumdb_verdict(folder / LOG) is None
        assert fsck_verdict(folder / LOG, folder / VKEY) is None
        files[size] = {name: (folder / LOG / name).read_bytes() for name in needed(size)}
    publisher.close()
    store.close()
    return Grown([found.data for found in all_found(folder)], files)


@pytest.mark.parametrize("size", SIZES)
def test_they_are_the_same(grown: Grown, tmp_path: Path, size: int) -> None:
    foreign = write_foreign(tmp_path, SIGNER, grown.entries[:size])
    assert {name: (foreign / name).read_bytes() for name in needed(size)} == grown.files[size]
