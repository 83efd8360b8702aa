"""The input documents beside the log: is each of them the one that its entry names?"""

import hashlib
import sqlite3
from typing import Any

from bridge.audit.report import Report

CHUNK = 256
_BETWEEN = "SELECT idx, digest, bytes FROM input WHERE idx > ? AND idx <= ? ORDER BY idx"
_STRAY = "SELECT i.idx FROM input i WHERE i.idx > ? AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.idx = i.idx) LIMIT 1"
_FIRST = -(2**63)


class SameDocuments:
    """Takes the entries in the order of their indexes. One whose document was erased has an empty one, or none."""

    def __init__(self, db: sqlite3.Connection, report: Report) -> None:
        self._db, self._report = db, report
        self._named: dict[int, Any] = {}
        self._last = _FIRST
        self._readable = True

    def take(self, index: int, entry: dict[str, Any] | None) -> None:
        """Takes the entry at `index` (None: what is there is no entry); looks at some later one."""
        self._named[index] = None if entry is None else entry.get("input_digest")
        if len(self._named) == CHUNK:
            self._compare(index)

    def finish(self) -> None:
        """After the last entry: a document without an entry belongs to nothing."""
        self._compare(max(self._named, default=self._last))
        if not self._readable:
            return
        try:
            stray = self._db.execute(_STRAY, (self._last,)).fetchone()
        except sqlite3.Error as error:
            self._gave_up(error)
            return
        if stray is not None:
            self._stray(*stray)

    def _compare(self, upto: int) -> None:
        named, self._named = self._named, {}
        if not self._readable:
            return
        try:
            rows = self._db.execute(_BETWEEN, (self._last, upto)).fetchall()
        except sqlite3.Error as error:
            self._gave_up(error)
            return
        self._last = upto
        for index, digest, data in rows:
            if index not in named:
                self._stray(index)
            elif not isinstance(digest, bytes) or digest.hex() != named[index]:
                self._report.problem(f"database: the document of entry {index} is not the one that the entry names")
            if not isinstance(data, bytes):  # a damaged page shows columns of any type
                self._report.problem(f"database: the document of entry {index} cannot be read")
            elif data and hashlib.sha256(data).digest() != digest:  # emptied: erased
                self._report.problem(f"database: the document of entry {index} is not what its digest says")

    def _stray(self, index: int) -> None:
        self._report.problem(f"database: there is a document of entry {index}, which is not there")

    def _gave_up(self, error: sqlite3.Error) -> None:
        self._report.problem(f"database: documents: {error}")
        self._readable = False
