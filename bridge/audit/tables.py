"""The query tables beside the log: are they what the entries say, as far as they go?"""

import sqlite3
from typing import Any

from bridge.audit.query import NOT_OURS, QUERY_TABLES, derive, no_rows, place
from bridge.audit.report import Report

CHUNK = 256
"""Entries whose rows are read and compared at one go."""
_FIRST = -(2**63)
_Row = tuple[Any, ...]


class SameTables:
    """Takes the entries in the order of their indexes. The rows of a table were added in that order, too."""

    def __init__(self, kept: sqlite3.Connection, report: Report) -> None:
        self._kept, self._report = kept, report
        self._upto = -1
        self._tables: list[_Table] = []
        self._expected = no_rows()
        self._taken = 0
        try:
            self._upto = self._seen()
            self._tables = [_Table(kept, name, self._upto) for name in QUERY_TABLES]
        except sqlite3.Error as error:
            self._gave_up(f"query tables: {error}")

    def take(self, index: int, entry: dict[str, Any]) -> None:
        """Takes the entry at `index`, and notes at some later one where the tables differ from it; once."""
        if not self._tables or index > self._upto:
            return
        try:
            derive(index, entry, self._expected)
        except NOT_OURS:
            self._compare()
            if self._tables:
                self._gave_up(f"query tables: entry {index} is none that a bridge writes")
            return
        self._taken += 1
        if self._taken == CHUNK:
            self._compare()

    def finish(self, size: int) -> None:
        """After the last entry: there must be no row more. `size`: how many entries there are."""
        self._compare()
        if not self._tables:
            return
        if self._upto >= size:
            self._gave_up(f"query tables: they tell of entry {self._upto}, which is not in the log")
        try:
            self._kept.execute("BEGIN")  # who brings the tables up to date adds to all of them at once
            seen = self._seen()
            for table in self._tables:
                stray = f"SELECT 1 FROM {table.source} WHERE typeof(idx) <> 'integer' OR idx > ? LIMIT 1"  # noqa: S608 - our own names
                if table.read(1) or self._kept.execute(stray, (seen,)).fetchone():
                    self._gave_up(f"query tables: {table.name} holds a row that no entry says")
                    return
        except sqlite3.Error as error:
            self._gave_up(f"query tables: {error}")

    def _compare(self) -> None:
        """What was taken since the last time, at one go; tells of the first entry that a table differs from."""
        expected, self._expected, self._taken = self._expected, no_rows(), 0
        try:
            told = [(table.differs(rows), table.name) for table, rows in zip(self._tables, expected, strict=False)]
        except sqlite3.Error as error:
            self._gave_up(f"query tables: {error}")
            return
        differing = [(entry, name) for entry, name in told if entry is not None]
        if differing:
            entry, name = min(differing, key=lambda one: one[0])
            self._gave_up(f"query tables: {name} is not what entry {entry} says, or one before it")

    def _seen(self) -> int:
        """The last entry that the tables tell of."""
        (last,) = self._kept.execute("SELECT max(idx) FROM seen").fetchone()
        return last if isinstance(last, int) else -1

    def _gave_up(self, why: str) -> None:
        self._report.problem(why)
        self._tables = []


class _Table:
    """One table, read in pieces: a command that brings the tables up to date must not wait for us."""

    def __init__(self, kept: sqlite3.Connection, name: str, upto: int) -> None:
        columns = [row[1] for row in kept.execute(f"PRAGMA table_info({name})")]
        self._kept, self.name, self._upto = kept, name, upto
        # Tables that an older version made may lack one, and what that tells of was not in its log.
        self.source = name if columns else "(SELECT NULL AS idx, NULL AS rowid WHERE 0)"
        self._select = (
            f"SELECT {', '.join(columns or ['idx'])}, rowid FROM {self.source} "  # noqa: S608 - our own names
            "WHERE rowid >= ? AND idx <= ? ORDER BY rowid LIMIT ?"
        )
        self._first = _FIRST

    def read(self, count: int) -> list[_Row]:
        """The next so many rows, or as many as there are."""
        rows = self._kept.execute(self._select, (self._first, self._upto, count)).fetchall()
        if rows:
            self._first = rows[-1][-1] + 1
        return [row[:-1] for row in rows]

    def differs(self, expected: list[_Row]) -> int | None:
        """The first entry whose expected rows are not the next ones of the table."""
        found = self.read(len(expected)) if expected else []
        if found == expected:
            return None
        at = next((at for at, row in enumerate(found) if row != expected[at]), len(found))
        entry: int = expected[at][place(self.name)]
        return entry
