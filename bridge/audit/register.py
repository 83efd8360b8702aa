"""The register: who delegated what to whom, and what has ended, by the log alone.

Its tables lie beside the log in a file of their own, are brought up to date when somebody asks, and are made again when
they are dropped. Of entries that hide a value they hold only where they stand: those are read when they are asked for.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import orjson

from bridge.audit.chronology import time_of
from bridge.audit.disclosed import revealed
from bridge.audit.query import NOT_OURS, who
from bridge.audit.reader import Found, LogReader
from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import REGISTER
from bridge.model.commitment import MEMBER
from bridge.model.ended import DIGEST, HIDDEN, KIND, REGISTERED, Name, issuers_of, names_of, parties
from bridge.model.entry import canonical
from bridge.model.issued import grants

MOST_HIDDEN = 100_000
"""Entries with hidden values that are read for one question, the newest."""
VERSION = 2
"""Of the tables: those of another are made again."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA = files("bridge.audit").joinpath("register.sql").read_text()
_TABLES = ("seen", "delegation", "chained", "hidden", "registered", "ended")


class Key(NamedTuple):
    """What makes decisions one line: who was granted what, for whom. An absent member is "".

    `origin` (JSON): issuers and parties of the token that was exchanged; `scopes` (JSON) in their order.
    """

    issuer: str
    client: str
    subject_type: str
    subject: str
    actor: str
    session: str
    grant_id: str
    origin: str
    scopes: str


_KEY = Key._fields
_WHERE = " AND ".join(f"{name} = ?" for name in _KEY)
_ADD = (
    "INSERT INTO delegation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, 0) ON CONFLICT DO UPDATE SET "
    "granted = granted + 1, first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was granted again and again. Times in ms; `live_until` in seconds, 0: no token was reported."""

    key: Key
    first_ms: int
    last_ms: int
    granted: int
    minted: int
    live_until: int

    def names(self) -> set[Name]:
        """What the exchanged token names, at each issuer at which its names count."""
        return _names(self.key.origin)


class Register:
    """The register of the log that `reader` reads, open."""

    def __init__(self, reader: LogReader, tables: sqlite3.Connection) -> None:
        self._reader, self.tables = reader, tables

    def lines(self, issuer: str, wanted: Mapping[str, str]) -> Iterator[Line]:
        """What was granted at one authorization server, where the key has these `wanted` members."""
        columns = [name for name in _KEY if name in wanted]
        where = " AND ".join(["issuer = ?", "granted > 0", *(f"{name} = ?" for name in columns)])
        yield from self._kept(where, [issuer, *(wanted[name] for name in columns)])
        client = wanted.get("client")
        where = "issuer = ? AND granted > 0" + ("" if client is None else f" AND client IN (?, '{HIDDEN}')")
        for line in self._read(where, [issuer] if client is None else [issuer, client]):
            if all(getattr(line.key, name) == wanted[name] for name in columns):
                yield line

    def exchanged(self, name: Name) -> Iterator[Line]:
        """What was granted for tokens of others that name it, at any server, by entries that hide nothing."""
        chained = "SELECT origin FROM chained WHERE name = ?"
        yield from self._kept(f"origin <> '' AND granted > 0 AND origin IN ({chained})", [_written(name)])

    def exchanged_hidden(self) -> Iterator[Line]:
        """What was granted for tokens of others, whatever they name, by entries that hide something."""
        yield from self._read("exchanged AND granted > 0", [])

    def _kept(self, where: str, given: list[str]) -> Iterator[Line]:
        for row in self.tables.execute(f"SELECT * FROM delegation WHERE {where}", given):  # noqa: S608 - fixed texts
            yield Line(Key(*row[: len(_KEY)]), *row[len(_KEY) :])

    def _read(self, where: str, given: list[str]) -> Iterator[Line]:
        select = f"SELECT idx, granted, minted, live_until FROM hidden WHERE {where} ORDER BY idx DESC LIMIT ?"  # noqa: S608 - fixed texts
        for idx, *counts in self.tables.execute(select, (*given, MOST_HIDDEN)):
            entry = revealed(self._reader, self._reader.at(idx))
            at = time_of(entry["time"]) or 0
            yield Line(key_of(entry), at, at, *counts)


@contextmanager
def opened(reader: LogReader) -> Iterator[Register]:
    """The register, brought up to the last entry; in memory where the folder may not be written.

    EvidenceUnavailable: the log cannot be read, or the tables were damaged; those are made anew by the next one.
    """
    path = reader.folder / REGISTER
    try:
        tables = _open(reader, str(path))
    except (OSError, sqlite3.Error) as error:
        if _is_damage(error):
            with suppress(OSError):
                path.unlink()
        tables = _open(reader, "")
    try:
        yield Register(reader, tables)
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        with suppress(OSError):
            path.unlink()
        raise EvidenceUnavailable(f"{path} was damaged, and is made anew: ask again") from error
    finally:
        tables.close()


def key_of(entry: dict[str, Any]) -> Key:
    """The key of a decision. What is hidden, or was erased, stands as HIDDEN."""
    request = entry["request"]
    token, kind = request.get("subject_token"), request.get("subject")
    members = ("client", "subject", "actor", "session", "grant")
    client, subject, actor, session, grant = (_shown(request, member) for member in members)
    origin = "" if token is None else canonical([issuers_of(request, request["issuer"]), list(parties(token))]).decode()
    scopes = canonical(sorted(entry["granted_scopes"])).decode()
    subject_type = kind["type"] if isinstance(kind, dict) and isinstance(kind.get("type"), str) else ""
    return Key(request["issuer"], client, subject_type, subject, actor, session, grant, origin, scopes)


def _shown(request: dict[str, Any], member: str) -> str:
    found = request.get(member)
    if found is None or (isinstance(found, dict) and found.get("id", found) is None):
        return ""
    if isinstance(found, dict) and "id" not in found and MEMBER not in found:  # a grant need not have one
        return ""
    return who(request, member) or HIDDEN


def _names(origin: str) -> set[Name]:
    issuers, found = orjson.loads(origin) if origin else ((), ())
    return {name for at in issuers for name in names_of(found, at)}


def _written(name: Name) -> str:
    return canonical([name.what.value, name.issuer, *name.ids]).decode()


def _is_damage(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _open(reader: LogReader, path: str) -> sqlite3.Connection:
    if path:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # it holds names of people
    tables = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    try:
        tables.execute("PRAGMA synchronous = OFF")
        tables.execute("BEGIN IMMEDIATE")
        if tables.execute("PRAGMA user_version").fetchone() != (VERSION,):
            for table in _TABLES:
                tables.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMA.split(";"):
                tables.execute(statement)
            tables.execute(f"PRAGMA user_version = {VERSION}")
        _catch_up(reader, tables)
        tables.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            tables.close()
        raise
    return tables


def _catch_up(reader: LogReader, tables: sqlite3.Connection) -> None:
    last = tables.execute("SELECT idx, leaf_hash FROM seen").fetchone()
    there = "SELECT idx, leaf_hash FROM entry WHERE idx = ?"
    if last is None or reader.db.execute(there, last[:1]).fetchone() != last:
        # The tables tell of nothing, or of another log: one that was restored, or begun anew in this folder.
        for table in _TABLES:
            tables.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        last = None
    found: Found | None = None
    for found in reader.walk(last[0] + 1 if last else 0):
        try:
            _take(reader, tables, found)
        except NOT_OURS as error:
            raise EvidenceUnavailable(
                f"entry {found.index} in {reader.folder} is none that a bridge writes: compare it with a copy"
            ) from error
    if found is not None:
        tables.execute("DELETE FROM seen")
        tables.execute("INSERT INTO seen VALUES (?, ?)", (found.index, found.leaf_hash))


def _take(reader: LogReader, tables: sqlite3.Connection, found: Found) -> None:
    entry = found.entry
    match entry["kind"]:
        case "decision" if grants(entry):
            key, at = key_of(entry), time_of(entry["time"]) or 0
            if MEMBER.encode() in found.data:
                row = (found.index, key.issuer, key.client, at, key.origin != "")
                tables.execute("INSERT INTO hidden VALUES (?, ?, ?, ?, 1, 0, 0, ?)", row)
            else:
                tables.execute(_ADD, (*key, at, at))
                named = [(_written(name), key.origin) for name in _names(key.origin)]
                tables.executemany("INSERT OR IGNORE INTO chained VALUES (?, ?)", named)
        case "issued":
            exp = min(int(entry["exp"]), 2**53)
            _change(reader, tables, entry, "minted = minted + 1, live_until = max(live_until, ?)", [exp])
        case "overruled":
            _change(reader, tables, entry, "granted = granted - 1", [])
        case kind if kind == REGISTERED:
            rows = [(entry["request"]["issuer"], client["id"], entry["time"]) for client in entry["clients"]]
            tables.executemany("INSERT OR REPLACE INTO registered VALUES (?, ?, ?)", rows)
        case kind if kind == KIND and DIGEST in entry:
            request = entry["request"]
            told = (entry["what"], entry["effect"], entry["time"], found.index, request["issuer"])
            tables.execute(
                "INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?, ?, ?, ?)",
                (entry[DIGEST], *told, who(request, "client")),
            )


def _change(reader: LogReader, tables: sqlite3.Connection, entry: dict[str, Any], what: str, given: list[int]) -> None:
    """Of the decision that `entry` names, if it granted something."""
    named = next((one for one in reader.named(entry["decision_id"]) if one.entry["kind"] == "decision"), None)
    if named is None or not grants(named.entry):
        return
    if MEMBER.encode() in named.data:
        tables.execute(f"UPDATE hidden SET {what} WHERE idx = ?", (*given, named.index))  # noqa: S608 - fixed texts
    else:
        tables.execute(f"UPDATE delegation SET {what} WHERE {_WHERE}", (*given, *key_of(named.entry)))  # noqa: S608 - fixed texts
