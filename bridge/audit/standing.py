"""How far the last ending of a client has come: read from the log, by digests alone."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bridge.audit.reader import Found, LogReader
from bridge.errors import EvidenceUnavailable
from bridge.model.ended import DIGEST, KIND, Effect, Name, What
from bridge.model.step import ENDING_ID

PENDING = "pending"
"""Not settled yet: something is still to be done, or to be tried again."""
_NEWEST = "SELECT max(idx) FROM about WHERE member = ? AND value = ? AND kind = ?"
_ABOUT = "SELECT idx FROM about WHERE member = ? AND value = ? AND kind = ? ORDER BY idx DESC"


def standing_of(folder: Path, digest: Callable[[Name], str], issuer: str, client: str) -> dict[str, Any] | None:
    """`ending` (its index), `time` and `standing`; None: the log tells of no ending of this client.

    EvidenceUnavailable when the log cannot be read.
    """
    try:
        with closing(LogReader(folder)) as reader:
            ended = _last_ending(reader, digest(Name(What.CLIENT, issuer, (client,))))
            if ended is None:
                return None
            return {"ending": ended.index, "time": ended.entry["time"], "standing": _standing(reader, ended)}
    except sqlite3.Error as error:
        raise EvidenceUnavailable(f"the log in {folder} cannot be read: {error}") from error


def _last_ending(reader: LogReader, name: str) -> Found | None:
    (index,) = reader.db.execute(_NEWEST, (DIGEST, name, KIND)).fetchone()
    if index is None:
        return None
    found = reader.at(index)
    return reader.at(found.entry["ending"]) if found.entry["effect"] == Effect.REINSTATED else found


def _standing(reader: LogReader, ended: Found) -> str:
    for (index,) in reader.db.execute(_ABOUT, (ENDING_ID, ended.entry["id"], KIND)):
        entry = reader.at(index).entry
        if entry["effect"] == Effect.SETTLED:
            return str(entry["standing"])
    return PENDING
