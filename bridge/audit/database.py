"""The database beside the published log: does it hold the same entries, checkpoints and query tables?"""

import sqlite3
from collections.abc import Iterator

from bridge.audit.published import LogFiles, read_tile
from bridge.audit.query import QUERY_TABLES, Queries
from bridge.audit.reader import Found, LogReader
from bridge.audit.verify import Report
from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.merkle import tree_root
from bridge.tlog.note import VerifierKey
from bridge.tlog.tiles import nodes


class SameEntries:
    """verify.Compare: the database holds the same bytes under the same index."""

    def __init__(self, reader: LogReader) -> None:
        self._rows: Iterator[Found] = reader.walk()
        self._next: Found | None = None

    def __call__(self, index: int, data: bytes, leaf: bytes) -> str | None:
        while self._next is None or self._next.index < index:
            self._next = next(self._rows, None)
            if self._next is None:
                return "the database does not hold it"
        if self._next.index != index:
            return "the database does not hold it"
        if self._next.data != data:
            return "the database holds other bytes"
        return None if self._next.leaf_hash == leaf else "the database holds another hash"


def check_checkpoints(reader: LogReader, files: LogFiles, now: Checkpoint, report: Report) -> None:
    """Every checkpoint that was ever signed is signed, and one of the trees that this one has grown from."""
    keys = [VerifierKey.parse(vkey) for (vkey,) in reader.db.execute("SELECT vkey FROM key")]
    node = nodes(now.size, lambda tile: read_tile(files, tile))
    for size, note in reader.db.execute("SELECT size, note FROM checkpoint WHERE size <= ? ORDER BY size", (now.size,)):
        try:
            earlier = open_checkpoint(note, keys).checkpoint
            if (earlier.origin, earlier.size, earlier.root) != (now.origin, size, tree_root(size, node)):
                report.problem(f"database: the checkpoint of size {size} is not one of this log")
        except EvidenceInvalid as error:
            report.problem(f"database: the checkpoint of size {size}: {error}")


def check_query_tables(reader: LogReader, report: Report) -> None:
    """The query tables, as far as they go, are what the entries say."""
    queries = Queries(reader)
    kept = queries.kept()
    if kept is None:
        report.notes.append("there are no query tables yet")
        return
    try:
        upto = kept.execute("SELECT max(idx) FROM seen").fetchone()[0]
        fresh = queries.derived(upto)
        for table in QUERY_TABLES:
            wrong = _differs(kept, fresh, table)
            if wrong is not None:
                report.problem(f"query tables: {table} is not what entry {wrong} says")
    except sqlite3.Error as error:
        report.problem(f"query tables: {error}")
    finally:
        kept.close()


def _differs(kept: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> int | None:
    """The index of the first row that only one of the two has."""
    columns = [row[1] for row in fresh.execute(f"PRAGMA table_info({table})")]
    order = ", ".join(["idx", *(name for name in columns if name != "idx")])
    select = f"SELECT idx, {order} FROM {table} ORDER BY {order}"  # noqa: S608 - our own names
    theirs, ours = kept.execute(select), fresh.execute(select)
    while True:
        one, other = theirs.fetchone(), ours.fetchone()
        if one != other:
            return int(min(row[0] for row in (one, other) if row is not None))
        if one is None:
            return None
