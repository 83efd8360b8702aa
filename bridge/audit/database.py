"""The database beside the published log: does it hold the same entries, checkpoints, documents and query tables?"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bridge.audit.archives import Archives
from bridge.audit.chronology import decoded
from bridge.audit.disclosed import Disclosures
from bridge.audit.documents import SameDocuments
from bridge.audit.published import LogFiles, read_checkpoint, read_tile
from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.audit.report import Report
from bridge.audit.tables import SameTables
from bridge.audit.verify import verify
from bridge.errors import EvidenceInvalid
from bridge.model.ended import DIGEST
from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.merkle import leaf_hash, tree_root
from bridge.tlog.note import VerifierKey
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile, levels, nodes
from bridge.tlog.trust import Trust

CHUNK = 2000
ENTRIES_AT_ONCE = 64
"""Their bytes stay in the processor's cache until they are compared."""
PUBLISHED_S = 5.0
"""A bridge that runs marks a checkpoint as published, and then writes the file."""
_FIRST = -(2**63)
_ENTRIES = "SELECT idx, bytes, leaf_hash, id, iseq, run FROM entry WHERE idx >= ? ORDER BY idx LIMIT ?"
_Row = tuple[int, Any, bytes, str, int, int]


def verify_beside(
    reader: LogReader, files: LogFiles, trust: Trust, old: Iterable[bytes] = (), now_ms: int | None = None
) -> Report:
    """Verifies the log in `files` (see verify.verify), and that the database which `reader` reads holds the same."""
    report = Report()
    kept = Queries(reader).kept()
    tables = None if kept is None else SameTables(kept, report)
    entries, disclosures, archives = SameEntries(reader, tables, report), Disclosures(reader), Archives(reader.folder)
    verify(files, trust, old, [entries, disclosures, archives], now_ms, report)
    size = entries.finish()
    disclosures.finish(report)
    archives.finish(report)
    if report.checkpoint is not None:
        check_checkpoints(reader, files, trust, report.checkpoint, report)
        if size > report.checkpoint.size:
            report.notes.append(f"{size - report.checkpoint.size} entries are not covered by the checkpoint yet")
    if kept is None:
        report.notes.append("there are no query tables yet")
    else:
        kept.close()
    return report


class SameEntries:
    """verify.Compare: the database holds the same bytes under the same index, and its columns say what they say."""

    def __init__(self, reader: LogReader, tables: SameTables | None, report: Report) -> None:
        self._db, self._tables, self._report = reader.db, tables, report
        self._documents = SameDocuments(reader.db, report)
        self._rows = self._walk()
        self._row: _Row | None = None
        self._size = 0
        self._runs: dict[int, tuple[str, int]] = {}
        self._endings = 0

    def __call__(self, index: int, data: bytes, leaf: bytes, entry: dict[str, Any] | None) -> str | None:
        while (row := self._row or next(self._rows, None)) is not None and row[0] < index:
            self._row = None
            self._look(row)
        self._row = row
        if row is None or row[0] != index:
            return "the database does not hold it"
        self._row = None
        if row[1] != data:
            self._look(row)
            return "the database holds other bytes"
        self._look(row, entry, leaf)
        return None

    def finish(self) -> int:
        """Looks at the rows that the published log does not cover yet; how many entries the database holds."""
        if self._row is not None:
            self._look(self._row)
        for row in self._rows:
            self._look(row)
        self._documents.finish()
        if self._tables is not None:
            self._tables.finish(self._size)
        self._same_endings()
        return self._size

    def _same_endings(self) -> None:
        """The writer looks up no more of them than the log tells of; `_look` has seen that it looks up no fewer."""
        try:
            (count,) = self._db.execute("SELECT count(*) FROM about WHERE member = ?", (DIGEST,)).fetchone()
        except sqlite3.Error as error:
            self._report.problem(f"database: what has ended: {error}")
            return
        if count != self._endings:
            self._report.problem(f"database: {count} endings are looked up, and the log tells of {self._endings}")

    def _walk(self) -> Iterator[_Row]:
        first = _FIRST
        while True:
            try:
                rows = self._db.execute(_ENTRIES, (first, ENTRIES_AT_ONCE)).fetchall()
            except sqlite3.Error as error:
                self._report.problem(f"database: entry {self._size} or one after it: {error}")
                return
            if not rows:
                return
            if rows[-1][0] < first:  # a damaged page leads back, and would do so for ever
                self._report.problem(f"database: entry {self._size} or one after it: a page is damaged")
                return
            yield from rows
            first = rows[-1][0] + 1

    def _look(self, row: _Row, entry: dict[str, Any] | None = None, leaf: bytes | None = None) -> None:
        """One row; what its bytes say and their hash, where that is known already."""
        index, data, stored, name, iseq, run = row
        if not isinstance(data, bytes):  # a damaged page shows columns of any type
            data = b""
        if index != self._size:
            self._report.problem(f"database: there is no entry {self._size}")
        self._size = index + 1
        if stored != (leaf or leaf_hash(data)):
            self._report.problem(f"database: entry {index}: its hash is not that of its bytes")
        entry = entry or decoded(data)
        self._documents.take(index, entry)
        if entry is None:
            self._report.problem(f"database: entry {index}: not an entry of this bridge")
            return
        told = entry.get("id"), entry.get("iseq"), (entry.get("instance"), entry.get("epoch"))
        if told != (name, iseq, self._run(run)):
            self._report.problem(f"database: entry {index}: its row is not what its bytes say")
        if DIGEST in entry:
            self._endings += 1
            self._look_up(index, entry)
        if self._tables is not None:
            self._tables.take(index, entry)

    def _look_up(self, index: int, entry: dict[str, Any]) -> None:
        """The writer must find an ending, or what ended would be granted something again."""
        wanted = (DIGEST, entry[DIGEST], entry.get("kind"), index)
        try:
            there = "SELECT 1 FROM about WHERE member = ? AND value = ? AND kind = ? AND idx = ?"
            found = self._db.execute(there, wanted).fetchone()
        except sqlite3.Error:
            found = None
        if found is None:
            self._report.problem(f"database: entry {index}: what it ends is not looked up, so that nobody is refused")

    def _run(self, run: int) -> tuple[str, int] | None:
        if run not in self._runs:
            try:
                found = self._db.execute("SELECT instance, epoch FROM run WHERE run = ?", (run,)).fetchone()
            except sqlite3.Error:
                found = None
            if found is None:
                return None
            self._runs[run] = found
        return self._runs[run]


def check_checkpoints(reader: LogReader, files: LogFiles, trust: Trust, now: Checkpoint, report: Report) -> None:
    """Every checkpoint that was ever signed is signed, and one of the trees that this one has grown from.

    A key that `trust` does not name may be one that the log had before, or one that somebody wrote into the database.
    """
    db = reader.db
    try:
        keys = [VerifierKey.parse(vkey) for (vkey,) in db.execute("SELECT coalesce(CAST(vkey AS TEXT), '') FROM key")]
        if not db.execute("SELECT 1 FROM checkpoint WHERE size = ?", (now.size,)).fetchone():
            report.verdict(f"database: it does not know the published checkpoint, of size {now.size}")
        newest = db.execute("SELECT max(size) FROM checkpoint WHERE published = 1").fetchone()[0] or 0
        if newest > now.size and not _published(files, newest):
            report.verdict(f"checkpoint: covers {now.size} entries, but one over {newest} was published")
        others = _check_each(db, keys, files, trust, now, report)
        _check_partial(db, files, now.size, report)
    except (sqlite3.Error, EvidenceInvalid) as error:
        report.problem(f"database: checkpoints: {error}")
        return
    for key, count in others.items():
        report.notes.append(f"{count} checkpoints are signed with a key that you did not name, {key}: ask whose it was")


def _check_each(
    db: sqlite3.Connection, keys: list[VerifierKey], files: LogFiles, trust: Trust, now: Checkpoint, report: Report
) -> dict[VerifierKey, int]:
    """How many checkpoints were signed with which key that `trust` does not name."""
    node = nodes(now.size, lambda tile: read_tile(files, tile))
    known = {(key.name, key.id): key for key in keys}
    others: dict[VerifierKey, int] = {}
    select = (  # a damaged page shows columns of any type
        "SELECT size, root, coalesce(CAST(note AS BLOB), x'') FROM checkpoint "
        "WHERE size >= ? AND size <= ? ORDER BY size LIMIT ?"
    )
    first = _FIRST
    while rows := db.execute(select, (first, now.size, CHUNK)).fetchall():  # in chunks: there may be millions
        for size, root, note in rows:
            try:
                signed = open_checkpoint(note, keys)
                lines = [(line.name, line.key_id) for line in signed.note.signatures]
                signers = [known[line] for line in lines if line in known]
                if not set(signers) & set(trust.logs):
                    others[signers[0]] = others.get(signers[0], 0) + 1
                earlier = signed.checkpoint
                if not earlier.root == root == tree_root(size, node) or earlier != Checkpoint(now.origin, size, root):
                    report.problem(f"database: the checkpoint of size {size} is not one of this log")
            except EvidenceInvalid as error:
                report.problem(f"database: the checkpoint of size {size}: {error}")
        if rows[-1][0] < first:
            raise EvidenceInvalid("a page is damaged")
        first = rows[-1][0] + 1
    return others


def _published(files: LogFiles, size: int) -> bool:
    """Whether the published checkpoint covers so many entries by now."""
    until = time.monotonic() + PUBLISHED_S
    while True:
        lines = read_checkpoint(files).split(b"\n")
        if len(lines) > 1 and lines[1].isdigit() and len(lines[1]) < 20 and int(lines[1]) >= size:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def _check_partial(db: sqlite3.Connection, files: LogFiles, now: int, report: Report) -> None:
    """The tiles of earlier sizes are there that no full one has taken the place of."""
    select = "SELECT DISTINCT size >> ? FROM checkpoint WHERE size > ? AND size <= ? ORDER BY 1"
    for level in (ENTRIES, *range(levels(now))):
        shift = 8 * max(level, 0)
        index, width = divmod(now >> shift, WIDTH)
        counts = [count - index * WIDTH for (count,) in db.execute(select, (shift, index * WIDTH << shift, now))]
        for tile in (Tile(level, index, count) for count in counts if 0 < count < width):
            try:
                if read_tile(files, tile) != read_tile(files, Tile(level, index, width))[: tile.width]:
                    report.problem(f"{tile.path}: not what the tree of its size holds")
            except EvidenceInvalid as error:
                report.problem(str(error))
