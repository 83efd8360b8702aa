"""Reads the log of an evidence folder, running or not, and never writes to it."""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bridge.audit.chronology import decoded
from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import DATABASE, LAYOUT

CHUNK = 2000
_SELECT = "SELECT idx, bytes, leaf_hash FROM entry WHERE "


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of the log: `data` are the exact bytes, `entry` is what they say.

    `overruled`: a later entry tells that the caller was denied all the same (told by a query only).
    """

    index: int
    data: bytes
    leaf_hash: bytes
    overruled: bool = False

    @property
    def entry(self) -> dict[str, Any]:
        """EvidenceUnavailable when that is not an entry at all."""
        value = decoded(self.data)
        if value is None:
            raise EvidenceUnavailable(f"entry {self.index} is none that a bridge writes: see `log verify`")
        return value


class LogReader:
    """The source of truth, read only. EvidenceUnavailable when it cannot be read."""

    def __init__(self, folder: Path) -> None:
        path = folder / DATABASE
        self.folder = folder
        try:
            if not path.exists():
                raise EvidenceUnavailable(f"there is no log in {folder}")
            try:
                self.db = _opened(f"file:{quote(str(path))}?mode=ro")
            except sqlite3.OperationalError:
                # In a folder that we may not write to SQLite cannot share a log; one that is at rest it can read alone.
                if Path(f"{path}-wal").exists():
                    raise
                self.db = _opened(f"file:{quote(str(path))}?immutable=1")
        except (OSError, sqlite3.Error) as error:
            raise EvidenceUnavailable(f"the log in {folder} cannot be read: {error}") from error

    def size(self) -> int:
        """How many entries there are."""
        (size,) = self.db.execute("SELECT coalesce(max(idx) + 1, 0) FROM entry").fetchone()
        return int(size)

    def at(self, index: int) -> Found:
        """The entry at `index`."""
        row = self.db.execute(_SELECT + "idx = ?", (index,)).fetchone()
        if row is None:
            raise EvidenceUnavailable(f"there is no entry {index}")
        return Found(*row)

    def named(self, wanted: str) -> list[Found]:
        """The entries with this id, or at this index."""
        if re.fullmatch("[0-9]{1,18}", wanted):
            rows = self.db.execute(_SELECT + "idx = ?", (int(wanted),)).fetchall()
        else:
            rows = self.db.execute(_SELECT + "id = ?", (wanted,)).fetchall()
        return [Found(*row) for row in rows]

    def walk(self, start: int = 0, stop: int | None = None) -> Iterator[Found]:
        """The entries [start, stop), oldest first; without `stop` to the last one. A hole ends it."""
        at = start
        while stop is None or at < stop:
            most = CHUNK if stop is None else min(CHUNK, stop - at)
            rows = self.db.execute(_SELECT + "idx >= ? ORDER BY idx LIMIT ?", (at, most)).fetchall()
            for row in rows:
                if stop is not None and row[0] >= stop:
                    return
                yield Found(*row)
            if not rows or rows[-1][0] < at:  # a damaged page leads back
                return
            at = rows[-1][0] + 1

    def document(self, found: Found) -> bytes | None:
        """The exact document that the engine saw for this entry; None when it was erased, or there was none."""
        digest = bytes.fromhex(found.entry.get("input_digest", ""))
        row = self.db.execute("SELECT bytes FROM input WHERE idx = ? AND digest = ?", (found.index, digest)).fetchone()
        return row[0] or None if row else None

    def close(self) -> None:
        self.db.close()


def _opened(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=10)
    try:
        db.execute("SELECT 1 FROM entry LIMIT 1")
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout != LAYOUT:
            raise EvidenceUnavailable(
                f"the log has layout {layout}, and this version reads layout {LAYOUT}: read it with the version that "
                "wrote it"
            )
    except BaseException:
        db.close()
        raise
    return db
