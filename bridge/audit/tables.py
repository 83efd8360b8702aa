"""The query tables beside the log: are they what the entries say, as far as they go?"""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Any

from bridge.audit.query import NOT_OURS, QUERY_TABLES, derived
from bridge.audit.report import Report

CHUNK = 5000
_FIRST = -(2**63)


class SameTables:
    """Takes the entries in the order of their indexes. The rows of a table were added in that order, too."""

    def __init__(self, kept: sqlite3.Connection, report: Report) -> None:
        self._kept, self._report = kept, report
        self._upto = -1
        self._tables: list[tuple[str, Iterator[tuple[Any, ...]]]] = []
        try:
            self._upto = self._seen()
            self._tables = [(table, self._rows(table)) for table in QUERY_TABLES]
        except sqlite3.Error as error:
            self._gave_up(f"query tables: {error}")

    def take(self, index: int, entry: dict[str, Any]) -> None:
        """Notes where the tables differ from the entry at `index`; each table once."""
        if not self._tables or index > self._upto:
            return
        try:
            for (table, rows), expected in zip(self._tables, derived(index, entry), strict=True):
                if list(islice(rows, len(expected))) != expected:
                    self._gave_up(f"query tables: {table} is not what entry {index} says, or one before it")
                    return
        except NOT_OURS:
            self._gave_up(f"query tables: entry {index} is none that a bridge writes")
        except sqlite3.Error as error:
            self._gave_up(f"query tables: {error}")

    def finish(self, size: int) -> None:
        """After the last entry: there must be no row more. `size`: how many entries there are."""
        if not self._tables:
            return
        if self._upto >= size:
            self._gave_up(f"query tables: they tell of entry {self._upto}, which is not in the log")
        try:
            self._kept.execute("BEGIN")  # who brings the tables up to date adds to all of them at once
            seen = self._seen()
            for table, rows in self._tables:
                stray = f"SELECT 1 FROM {table} WHERE typeof(idx) <> 'integer' OR idx > ? LIMIT 1"  # noqa: S608 - our own names
                if next(rows, None) is not None or self._kept.execute(stray, (seen,)).fetchone():
                    self._gave_up(f"query tables: {table} holds a row that no entry says")
                    return
        except sqlite3.Error as error:
            self._gave_up(f"query tables: {error}")

    def _seen(self) -> int:
        """The last entry that the tables tell of."""
        (last,) = self._kept.execute("SELECT max(idx) FROM seen").fetchone()
        return last if isinstance(last, int) else -1

    def _gave_up(self, why: str) -> None:
        self._report.problem(why)
        self._tables = []

    def _rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """In chunks: a command that brings the tables up to date must not wait for us."""
        columns = [row[1] for row in self._kept.execute(f"PRAGMA table_info({table})")]
        select = (
            f"SELECT rowid, {', '.join(columns)} FROM {table} "  # noqa: S608 - our own names
            "WHERE rowid >= ? AND idx <= ? ORDER BY rowid LIMIT ?"
        )
        first = _FIRST
        while rows := self._kept.execute(select, (first, self._upto, CHUNK)).fetchall():
            for row in rows:
                yield row[1:]
            first = rows[-1][0] + 1
