"""Makes the published files again from the database, byte for byte; first it proves that they will be the same."""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from bridge.errors import LogForked
from bridge.evidence.said import Said
from bridge.evidence.tree import Sizes, TreeFiles
from bridge.tlog.merkle import leaf_hash
from bridge.tlog.tiles import Edge

CHUNK = 256


def rebuild(db: sqlite3.Connection, said: Iterable[Said], log: Path) -> TreeFiles:
    """Replaces the tiles below `log`. LogForked, and nothing changed, unless the database holds all that was `said`."""
    size = compare(db, said)
    new = log.with_name(f"{log.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    tree = TreeFiles(new)
    for data in walk(db, 0, size):
        tree.add(data, leaf_hash(data))
    tree.mend_partial(signed_sizes(db))
    shutil.rmtree(log / "tile", ignore_errors=True)
    log.mkdir(mode=0o700, exist_ok=True)
    if (new / "tile").exists():
        (new / "tile").rename(log / "tile")
    shutil.rmtree(new)
    tree.folder = log
    return tree


def signed_sizes(db: sqlite3.Connection) -> Sizes:
    """The sizes of all checkpoints that were ever signed, as TreeFiles.mend_partial asks for them."""
    select = "SELECT DISTINCT size >> ? FROM checkpoint WHERE size > ?"
    return lambda shift, above: (count for (count,) in db.execute(select, (shift, above)))


def compare(db: sqlite3.Connection, said: Iterable[Said]) -> int:
    """The size of the largest checkpoint. LogForked unless the database holds exactly what each of them says."""
    edge = Edge()
    for checkpoint, where in sorted(said, key=lambda one: one[0].size):
        for data in walk(db, edge.size, checkpoint.size):
            edge.add(leaf_hash(data))
        if edge.size != checkpoint.size:
            raise LogForked(
                f"{where} covers {checkpoint.size} entries, but of those the database holds only the first {edge.size}"
            )
        if edge.root() != checkpoint.root:
            raise LogForked(f"{where}: the first {edge.size} entries in the database are others")
    return edge.size


def walk(db: sqlite3.Connection, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of the entries [start, stop), in order; ends early where one is missing."""
    at = start
    select = "SELECT idx, bytes FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?"
    while rows := db.execute(select, (at, stop, CHUNK)).fetchall():
        for idx, data in rows:
            if idx != at:
                return
            yield data
            at += 1
