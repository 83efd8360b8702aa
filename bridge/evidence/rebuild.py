"""Makes the published files again from the database, byte for byte; first it proves that they will be the same."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bridge.errors import LogForked
from bridge.evidence.tree import TreeFiles
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.merkle import leaf_hash
from bridge.tlog.tiles import Edge

CHUNK = 256


def rebuild(db: sqlite3.Connection, signed: Checkpoint, log: Path) -> TreeFiles:
    """Replaces the tiles below `log`. LogForked, and nothing changed, unless the database holds what was signed."""
    compare(db, signed)
    new = log.with_name(f"{log.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    tree = TreeFiles(new)
    sizes = db.execute("SELECT size FROM checkpoint WHERE size <= ? ORDER BY size", (signed.size,))
    entries = walk(db, 0, signed.size)
    for (size,) in sizes.fetchall():
        while tree.edge.size < size:
            data = next(entries)
            tree.add(data, leaf_hash(data))
        tree.write_partial(signed.size)
    shutil.rmtree(log / "tile", ignore_errors=True)
    log.mkdir(parents=True, exist_ok=True)
    if (new / "tile").exists():
        (new / "tile").rename(log / "tile")
    shutil.rmtree(new)
    tree.folder = log
    return tree


def compare(db: sqlite3.Connection, signed: Checkpoint) -> None:
    """LogForked unless the database holds exactly what `signed` says."""
    edge = Edge()
    for data in walk(db, 0, signed.size):
        edge.add(leaf_hash(data))
    if edge.size != signed.size:
        raise LogForked(f"a checkpoint over {signed.size} entries was signed, but the database holds {edge.size}")
    if edge.root() != signed.root:
        raise LogForked(f"the first {signed.size} entries of the database are not those that were signed")


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
