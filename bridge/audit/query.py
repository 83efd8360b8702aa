"""Finds entries. The query tables are derived from the log in a file of their own: drop it, and it is made again."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files
from itertools import islice
from typing import Any
from urllib.parse import quote

from bridge.audit.chronology import time_of
from bridge.audit.disclosed import holders
from bridge.audit.filter import Filter, condition
from bridge.audit.reader import Found, LogReader
from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import INDEX
from bridge.model.entry import canonical
from bridge.model.step import ENDING_ID

QUERY_TABLES = ("decision", "about", "decision_scope", "decision_rule", "decision_exception", "decision_tuple")
NOT_OURS = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)
"""What an entry makes of itself that no bridge has written: a member is missing, or of another type."""
Tables = tuple[list[tuple[Any, ...]], ...]
"""Rows for each of QUERY_TABLES, in their order."""
AT_ONCE = 256
"""Entries whose rows are written at one go."""
_SCHEMA = files("bridge.audit").joinpath("query.sql").read_text()


class Queries:
    """Finds entries of the log that `reader` reads."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def show(self, wanted: str) -> list[Found]:
        """The entry with this id, this index or this digest of its document, and every entry that names it."""
        found = self._reader.named(wanted)
        with self.tables() as index:
            if re.fullmatch("[0-9a-f]{64}", wanted):
                select = "SELECT idx FROM decision WHERE input_digest = ? ORDER BY idx"
                found = [self._reader.at(i) for (i,) in index.execute(select, (bytes.fromhex(wanted),)).fetchall()]
            for one in list(found):
                about = index.execute("SELECT idx FROM about WHERE decision_id = ?", (one.entry["id"],)).fetchall()
                found.extend(self._reader.at(i) for (i,) in about)
        return sorted(found, key=lambda f: f.index)

    def query(self, wanted: Filter) -> list[Found]:
        """The newest entries that `wanted` fits, newest first."""
        overruled = "EXISTS (SELECT 1 FROM about a WHERE a.decision_id = d.id AND a.kind = 'overruled')"
        with self.tables() as index:
            where, values = self._where(index, wanted)
            sql = f"SELECT d.idx, {overruled} FROM decision d WHERE {where} ORDER BY d.idx DESC LIMIT ?"  # noqa: S608 - fixed texts
            rows = index.execute(sql, (*values, _most(wanted))).fetchall()
        return [replace(self._reader.at(i), overruled=bool(mark)) for i, mark in rows]

    def fitting(self, wanted: Filter) -> tuple[list[int], list[int]]:
        """The indexes of the entries that `wanted` fits, and of others that name one of them as their decision."""
        with self.tables() as index:
            where, values = self._where(index, wanted)
            fitting = f"SELECT d.idx FROM decision d WHERE {where} ORDER BY d.idx DESC LIMIT ?"  # noqa: S608 - fixed texts
            about = f"SELECT a.idx FROM decision d JOIN about a ON a.decision_id = d.id WHERE d.idx IN ({fitting})"  # noqa: S608 - fixed texts
            found = {i for (i,) in index.execute(fitting, (*values, _most(wanted)))}
            beside = {i for (i,) in index.execute(about, (*values, _most(wanted)))}
        return sorted(found), sorted(beside - found)

    @contextmanager
    def followers(self) -> Iterator[Callable[[str, str], bool]]:
        """Tells, inside, whether an entry of a kind names a decision: (decision id, kind)."""
        select = "SELECT 1 FROM about WHERE decision_id = ? AND kind = ? LIMIT 1"
        with self.tables() as index:
            yield lambda *named: index.execute(select, named).fetchone() is not None

    def same_document(self, indexes: Sequence[int]) -> list[int]:
        """These entries, and others that have the same input document as one of them."""
        select = (
            "SELECT o.idx FROM decision d JOIN decision o ON o.input_digest = d.input_digest "
            "WHERE d.idx IN (SELECT value FROM json_each(?))"
        )
        with self.tables() as index:
            return sorted({*indexes, *(i for (i,) in index.execute(select, (str(list(indexes)),)))})

    def clear(self, subject: str) -> int:
        """How many entries show this subject as it is, and will for ever."""
        with self.tables() as index:
            shown = (
                "SELECT idx FROM decision WHERE subject = ?1 UNION SELECT idx FROM decision_tuple WHERE subject = ?1"
            )
            (count,) = index.execute(f"SELECT count(*) FROM ({shown})", (subject,)).fetchone()  # noqa: S608 - fixed texts
        return int(count)

    def _where(self, index: sqlite3.Connection, wanted: Filter) -> tuple[str, list[Any]]:
        tuples = index.execute(
            "SELECT DISTINCT idx FROM decision_tuple WHERE subject = ?", (wanted.subject,)
        ).fetchall()
        subject = [*self._behind("subject", wanted.subject), *(i for (i,) in tuples)]
        return condition(index, wanted, self._behind("client", wanted.client), subject)

    def _behind(self, member: str, wanted: str | None) -> list[int]:
        """The entries that committed to this client's or subject's id: the query tables do not have it."""
        return [] if wanted is None else holders(self._reader.db, (member, "id"), [canonical(wanted)])

    def kept(self) -> sqlite3.Connection | None:
        """The query tables as they lie on disk, read only; None when there are none yet."""
        path = self._reader.folder / INDEX
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=60) if path.exists() else None

    @contextmanager
    def tables(self) -> Iterator[sqlite3.Connection]:
        """The query tables, brought up to the last entry; in memory where the folder may not be written."""
        try:
            index = self._open_index(str(self._reader.folder / INDEX))
        except (OSError, sqlite3.Error):
            index = self._open_index("")
        try:
            yield index
        finally:
            index.close()

    def _open_index(self, path: str) -> sqlite3.Connection:
        if path:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # it holds names of people
        index = sqlite3.connect(path, isolation_level=None, timeout=60)
        try:
            index.execute("PRAGMA synchronous = OFF")
            index.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                index.execute(statement)
            self._catch_up(index)
            index.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                index.close()
            raise
        return index

    def _catch_up(self, index: sqlite3.Connection) -> None:
        last = index.execute("SELECT idx, leaf_hash FROM seen").fetchone()
        there = "SELECT idx, leaf_hash FROM entry WHERE idx = ?"
        if last is None or self._reader.db.execute(there, last[:1]).fetchone() != last:
            # The tables tell of nothing, or of another log: one that was restored, or begun anew in this folder.
            for table in ("seen", *QUERY_TABLES):
                index.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            last = None
        found = None
        walk = self._reader.walk(last[0] + 1 if last else 0)
        while batch := list(islice(walk, AT_ONCE)):
            self._add(index, batch)
            found = batch[-1]
        if found is not None:
            index.execute("DELETE FROM seen")
            index.execute("INSERT INTO seen VALUES (?, ?)", (found.index, found.leaf_hash))

    def _add(self, index: sqlite3.Connection, batch: list[Found]) -> None:
        tables, at = no_rows(), batch[0].index
        try:
            for found in batch:
                at = found.index
                derive(at, found.entry, tables)
            for table, rows in zip(QUERY_TABLES, tables, strict=True):
                marks, where = ", ".join("?" * len(rows[0])) if rows else "NULL", place(table)
                for row in rows:
                    at = row[where]
                    index.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 - our own names
        except NOT_OURS as error:
            raise EvidenceUnavailable(
                f"entry {at} in {self._reader.folder} is none that a bridge writes: compare it with a copy"
            ) from error


def place(table: str) -> int:
    """Where an entry's index stands in a row of this one of QUERY_TABLES."""
    return 0 if table == "decision" else -1


def no_rows() -> Tables:
    """To be added to."""
    return tuple([] for _ in QUERY_TABLES)


def who(request: dict[str, Any], member: str) -> str | None:
    """The id of the client or subject of a `request`, where it stands there in clear.

    `evidence.mask` may have left a mere string of both, and `evidence.personal` a commitment.
    """
    found = request.get(member)
    found = found.get("id") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def scopes_of(entry: dict[str, Any]) -> dict[str, str]:
    """Each scope in an entry with its outcome; `issued` where a token service reports what it minted."""
    scopes = entry.get("scopes", {})
    if entry["kind"] == "issued":
        return dict.fromkeys(scopes, "issued")
    return {scope: answer["outcome"] for scope, answer in scopes.items()}


def derive(idx: int, entry: dict[str, Any], tables: Tables) -> None:
    """Adds the rows that the entry at `idx` has in each of QUERY_TABLES, or none and one of NOT_OURS is raised."""
    kind, request, digest = entry["kind"], entry.get("request", {}), entry.get("input_digest")
    client, subject = who(request, "client"), who(request, "subject")
    time_ms = time_of(entry["time"]) or 0
    document = None if digest is None else bytes.fromhex(digest)
    decision = (idx, entry["id"], time_ms, kind, client, subject, entry.get("outcome"), document)
    scopes = [(scope, client, time_ms, outcome, idx) for scope, outcome in scopes_of(entry).items()]
    rules = [(r["code"], r["package"], r.get("owner"), r["effect"], idx) for r in entry.get("rules", ())]
    taken = entry.get("exceptions")
    exceptions = [(e["path"], e.get("id"), idx) for e in taken] if taken else ()
    tables[0].append(decision)
    if "decision_id" in entry:
        tables[1].append((entry["decision_id"], kind, idx))
    if ENDING_ID in entry:  # what was done about an ending is shown with it
        tables[1].append((entry[ENDING_ID], kind, idx))
    tables[2].extend(scopes)
    tables[3].extend(rules)
    tables[4].extend(exceptions)
    if "tuples" in request:
        subjects = dict.fromkeys(who(one, "subject") for one in request["tuples"])
        tables[5].extend((subject, idx) for subject in subjects if subject is not None)


def _most(wanted: Filter) -> int:
    return -1 if wanted.limit is None else wanted.limit
