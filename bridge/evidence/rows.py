"""The rows of one transaction: what is to be written, and what may be looked up before more is."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from bridge.model.commitment import MEMBER, Disclosure, reveal
from bridge.model.ended import DIGEST
from bridge.model.entry import FOUND_BY
from bridge.ports import FinishFailed, Receipt, Record

MAX_FOUND = 100
"""Bounds what a caller can make the writer read who reports about one decision again and again."""
_ANY_ENDING = "SELECT 1 FROM about WHERE member = ? LIMIT 1"
_FIELDS = "SELECT e.idx, e.leaf_hash, e.bytes FROM entry e "


@dataclass(slots=True)
class Rows:
    """Collects rows, so that each table is written at one go."""

    db: sqlite3.Connection
    _entries: list[tuple[int, int, int, str, bytes, bytes]] = field(default_factory=list)
    _about: list[tuple[str, str, str, int]] = field(default_factory=list)
    _inputs: list[tuple[int, bytes | None, bytes]] = field(default_factory=list)
    _disclosures: list[tuple[int, str, bytes, bytes]] = field(default_factory=list)
    _states: list[tuple[str, bytes]] = field(default_factory=list)
    _ending: bool | None = None
    """Whether the log tells of any ending; None: not looked yet."""
    _unwritten_ending: bool = False

    def finish(self, record: Record) -> Record | Receipt:
        """What the record's `guard` or `finish` makes of all that stands before it. FinishFailed when it raises."""
        if record.finish is None and (record.guard is None or not self._any_ending()):
            return record
        if record.finish is not None or self._unwritten_ending:
            self.write()
        try:
            if record.guard is not None:
                return record.guard(record, Found(self.db))
            made = record.finish(Found(self.db)) if record.finish is not None else record
            return Record(made) if isinstance(made, dict) else made
        except sqlite3.Error:  # of the disk, not of this record
            raise
        except Exception as error:  # its own record fails alone
            raise FinishFailed(record) from error

    def add(self, row: tuple[int, int, int, str, bytes, bytes], record: Record) -> None:
        """Takes the row of an entry, which begins with its index, and what goes beside it."""
        entry = record.entry
        self._entries.append(row)
        for member in FOUND_BY:
            if member in entry:
                self._about.append((member, entry[member], entry["kind"], row[0]))
                if member == DIGEST:
                    self._ending = self._unwritten_ending = True
        if record.input is not None:
            self._inputs.append((row[0], record.input_digest, record.input))
        if record.disclosures:
            self._disclosures.extend((row[0], d.path, d.salt, d.value) for d in record.disclosures)
        if record.state is not None:
            self._states.append(record.state)

    def _any_ending(self) -> bool:
        """One look for each transaction: in nearly all logs there is none, and no guard needs to be asked."""
        if self._ending is None:
            self._ending = self.db.execute(_ANY_ENDING, (DIGEST,)).fetchone() is not None
        return self._ending

    def write(self) -> None:
        """Writes what was taken since the last time."""
        self.db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", self._entries)
        self.db.executemany("INSERT INTO input VALUES (?, ?, ?)", self._inputs)
        if self._about:
            self.db.executemany("INSERT INTO about VALUES (?, ?, ?, ?)", self._about)
        if self._disclosures:
            self.db.executemany("INSERT INTO disclosure VALUES (?, ?, ?, ?)", self._disclosures)
        if self._states:
            self.db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", self._states)
        self._entries, self._about, self._inputs, self._disclosures, self._states = [], [], [], [], []
        self._unwritten_ending = False


@dataclass(frozen=True, slots=True)
class Found:
    """ports.Lookup on the writer's own connection."""

    db: sqlite3.Connection

    def entry(self, entry_id: str) -> Receipt | None:
        row = self.db.execute(_FIELDS + "WHERE e.id = ? ORDER BY e.idx LIMIT 1", (entry_id,)).fetchone()
        return None if row is None else self._receipt(row)

    def about(self, kind: str, member: str, value: str) -> list[Receipt]:
        select = _FIELDS + "JOIN about a USING (idx) WHERE a.member = ? AND a.value = ? AND a.kind = ? "
        found = self.db.execute(select + "ORDER BY a.idx LIMIT ?", (member, value, kind, MAX_FOUND))
        return [self._receipt(row) for row in found.fetchall()]

    def newest(self, kind: str, member: str, values: Sequence[str]) -> list[Receipt]:
        marks = ", ".join("?" * len(values))
        select = f"SELECT value, max(idx) FROM about WHERE member = ? AND value IN ({marks}) AND kind = ? GROUP BY 1"  # noqa: S608 - fixed texts
        newest = dict(self.db.execute(select, (member, *values, kind)).fetchall())  # nearly always there is none
        return [
            self._receipt(self.db.execute(_FIELDS + "WHERE e.idx = ?", (idx,)).fetchone()) for idx in newest.values()
        ]

    def _receipt(self, row: tuple[int, bytes, bytes]) -> Receipt:
        index, leaf, data = row
        entry = orjson.loads(data)
        if MEMBER.encode() not in data:
            return Receipt(index, leaf, entry)
        rows = self.db.execute("SELECT path, salt, value FROM disclosure WHERE idx = ?", (index,))
        hidden = tuple(Disclosure(*found) for found in rows)
        return Receipt(index, leaf, reveal(entry, hidden), hidden)
