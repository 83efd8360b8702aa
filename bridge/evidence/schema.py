"""The tables of the log's database: made whole or not at all, and never taken for those of another bridge."""

import sqlite3
from importlib.resources import files

from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import LAYOUT

PAGE_BYTES = 8192
"""Three usual entries; of 4096 bytes one entry would leave nearly half."""
_TABLES = files("bridge.evidence").joinpath("schema.sql").read_text()


def ensure(db: sqlite3.Connection) -> None:
    """Makes the tables in an empty database, outside of a transaction. EvidenceUnavailable: it holds others."""
    if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
        check(db)
        return
    db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {LAYOUT}; COMMIT")


def check(db: sqlite3.Connection) -> None:
    """EvidenceUnavailable when the tables are not those that this bridge writes."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found != LAYOUT:
        raise EvidenceUnavailable(
            f"the log's database has layout {found}, and this version of the bridge writes layout {LAYOUT}: keep that "
            "folder, read it with the version that wrote it, and begin a new one (evidence.path, evidence.origin)"
        )
