"""Erases personal values beside the log: empties what is kept for entries, in their database and in its files.

The entries themselves stay as they are, with their commitments; so do the tree and every proof.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import DATABASE
from bridge.evidence.rows import Found
from bridge.evidence.store import SqliteStore
from bridge.evidence.turn import Turn
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ports import Lookup, Record

KIND = "erasure"
AT_ONCE = 1000
"""Entries that are emptied in one transaction: decisions wait for it."""
WAIT_MS, TRY_S, FOR_S = 200, 0.2, 30.0


def erase(folder: Path, instance: str, indexes: Sequence[int], told: dict[str, Any]) -> int:
    """Empties all that is kept for the entries at `indexes`, and says so with `told` in entries of kind `erasure`.

    Each transaction has its own entry, so that the log never tells of less than is gone. `instance` must be nobody
    else's. The number of entries; EvidenceUnavailable when the log cannot be written, or a reader holds on to what was.
    """
    scrub(folder)  # the store's own opening would keep the bridge waiting for a reader
    store, count = SqliteStore(folder, instance), 0
    store.open()
    try:
        for start in range(0, len(indexes), AT_ONCE):
            (receipt,) = store.commit([_record(indexes[start : start + AT_ONCE], told)])
            count += receipt.entry["count"]
    finally:
        store.close()
    scrub(folder)
    return count


def scrub(folder: Path) -> None:
    """Writes the write-ahead log back and empties it: until then it holds the pages as they were.

    EvidenceUnavailable while some program goes on reading an older state of the log.
    """
    turn, until = Turn(folder), time.monotonic() + FOR_S
    try:
        turn.open()
        with closing(sqlite3.connect(folder / DATABASE, isolation_level=None, timeout=WAIT_MS / 1000)) as db:
            while True:
                with turn.taken():
                    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return
                if time.monotonic() > until:
                    raise EvidenceUnavailable(
                        f"another program reads {folder / DATABASE} and does not end, so what was erased, if anything, "
                        "is still in its write-ahead log: end that program, and run this again"
                    )
                time.sleep(TRY_S)
    except (OSError, sqlite3.Error) as error:
        raise EvidenceUnavailable(f"the log in {folder} cannot be written: {error}") from error
    finally:
        turn.close()


def _record(indexes: Sequence[int], told: dict[str, Any]) -> Record:
    at = now_ms()
    entry = {"v": 1, "kind": KIND, "id": uuid7(at), "time": rfc3339(at), **told}

    def finish(log: Lookup) -> dict[str, Any]:
        assert isinstance(log, Found)  # noqa: S101 - the store's own, in its transaction
        return {**entry, "count": sum(_emptied(log.db, index) for index in indexes)}

    return Record(entry, finish=finish)


def _emptied(db: sqlite3.Connection, index: int) -> bool:
    """Empties what is kept for one entry, and for those about it; whether anything was there."""
    (entry_id,) = db.execute("SELECT id FROM entry WHERE idx = ?", (index,)).fetchone()
    db.execute("UPDATE input SET bytes = x'' WHERE idx = ?", (index,))
    about = db.execute("SELECT idx FROM about WHERE member = 'decision_id' AND value = ?", (entry_id,)).fetchall()
    empty = "UPDATE disclosure SET salt = x'', value = x'' WHERE idx = ? AND value != x''"
    db.executemany(empty, about)
    return db.execute(empty, (index,)).rowcount > 0
