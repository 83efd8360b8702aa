"""What the commitments in entries hide: who is behind them, and do they hold?"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from bridge.audit.chronology import decoded
from bridge.audit.reader import Found, LogReader
from bridge.audit.report import Report
from bridge.errors import EvidenceInvalid
from bridge.model.authzen import with_copies
from bridge.model.commitment import MEMBER, Disclosure, reveal, standing_in
from bridge.model.entry import canonical, exact
from bridge.model.mask import covers, parse_pointer, write_pointer

Pointer = tuple[str, ...]
State = Literal["good", "erased", "differs", "missing"]
_MEMBER = MEMBER.encode()


@dataclass(frozen=True, slots=True)
class Opened:
    """One commitment of an entry, with what it hides where that is still there and is what was committed to.

    `differs`: what is kept for it is something else. `missing`: nothing was ever kept for it (the request itself may
    have held such a text), or its row was taken away.
    """

    path: str
    commitment: str
    state: State
    disclosure: Disclosure | None = None

    def document(self) -> dict[str, str]:
        """`salt` in hex; `json`: the exact text of the value."""
        told = {"path": self.path, "commitment": self.commitment, "state": self.state}
        if self.disclosure is None:
            return told
        return {**told, "salt": self.disclosure.salt.hex(), "json": self.disclosure.value.decode()}


def open_entry(entry: Any, kept: Iterable[Disclosure]) -> list[Opened]:
    """Every commitment in `entry`, opened with the disclosures that are kept for it."""
    kept = list(kept)
    good = {one.commitment: one for one in kept if not one.erased}
    at: dict[str, State] = {one.path: "erased" if one.erased else "differs" for one in kept}
    return [
        Opened(path, found, "good", good[found]) if found in good else Opened(path, found, at.get(path, "missing"))
        for path, found in standing_in(entry)
    ]


def check_disclosed(entry: bytes, lines: bytes) -> int:
    """How many values a file of `Opened.document`s discloses, one a line. EvidenceInvalid: one is not the entry's."""
    try:
        standing = set(standing_in(decoded(entry)))
        read = [orjson.loads(line) for line in lines.splitlines()]
        told = [Disclosure(line["path"], bytes.fromhex(line["salt"]), line["json"].encode()) for line in read]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvidenceInvalid("the disclosures are not what `log prove --disclose` writes") from error
    for one in told:
        if (one.path, one.commitment) not in standing:
            raise EvidenceInvalid(f"{one.path}: salt and value are not what the entry committed to")
    return len(told)


def disclosures(reader: LogReader, index: int) -> list[Disclosure]:
    """What is kept for the entry at `index`."""
    rows = reader.db.execute("SELECT path, salt, value FROM disclosure WHERE idx = ? ORDER BY rowid", (index,))
    return [Disclosure(*row) for row in rows]


def revealed(reader: LogReader, found: Found) -> dict[str, Any]:
    """What an entry says, with what its commitments hide in their place, where it is not erased."""
    if _MEMBER not in found.data:
        return found.entry
    entry: dict[str, Any] = reveal(found.entry, disclosures(reader, found.index))
    return entry


def holders(db: sqlite3.Connection, pointer: Pointer, values: Sequence[bytes]) -> list[int]:
    """The entries that committed to one of `values` (canonical JSON) at `pointer` into the request.

    Also where a value around it was committed to as a whole, and to the same member of an AuthZEN tuple, of what
    AuthZEN sends in its place, and of what a search found. Reads through all that is kept: no index has the values.
    """
    found = {idx for root, tokens in _places(pointer) for idx in _holders(db, root, tokens, values)}
    return sorted(found)


def _places(pointer: Pointer) -> list[tuple[str, Pointer]]:
    results = [("results", ("*", *pointer[1:]))] if len(pointer) > 1 else []
    copies = [("request", place) for copy in with_copies([pointer]) for place in (copy, ("tuples", "*", *copy))]
    return [*copies, *results]


def _holders(db: sqlite3.Connection, root: str, pointer: Pointer, values: Sequence[bytes]) -> list[int]:
    marks = ", ".join("?" * len(values))
    parts: list[str] = []
    given: list[str | bytes] = []
    for depth in range(1, len(pointer) + 1):
        place, end = _range((root, *pointer[:depth]))
        within = f"value IN ({marks})" if depth == len(pointer) else "value != x''"
        parts.append(f"(path BETWEEN ? AND ? AND {within})")
        given.extend((place, end, *(values if depth == len(pointer) else ())))
    sql = f"SELECT idx, path, value FROM disclosure WHERE {' OR '.join(parts)}"  # noqa: S608 - fixed texts
    return [idx for idx, path, value in db.execute(sql, given) if _holds(pointer, path, value, values)]


def written(text: str) -> list[bytes]:
    """The values that a person may mean by `text`: the text, and what it says as JSON."""
    found = [canonical(text)]
    with suppress(orjson.JSONDecodeError):
        found.append(canonical(exact(orjson.loads(text))))
    return found


@dataclass(slots=True)
class Disclosures:
    """verify.Compare: what is kept for an entry is what it committed to; counts what is not there any more."""

    reader: LogReader
    missing: int = 0
    told: int = 0

    def __call__(self, index: int, data: bytes, leaf: bytes, entry: dict[str, Any] | None) -> str | None:
        if entry is None:
            return None
        if entry.get("kind") == "erasure" and isinstance(entry.get("count"), int):
            self.told += entry["count"]
        if _MEMBER not in data:
            return None
        try:
            opened = open_entry(entry, disclosures(self.reader, index))
        except (sqlite3.Error, TypeError) as error:
            return f"what is kept for it cannot be read: {error}"
        self.missing += any(one.state == "missing" for one in opened)
        wrong = next((one.path for one in opened if one.state == "differs"), None)
        return None if wrong is None else f"what is kept for {wrong} is not what was committed to"

    def finish(self, report: Report) -> None:
        """What an auditor should know, after the last entry."""
        erased = 0
        try:
            where = "value = x'' AND (path LIKE '/request/%' OR path LIKE '/results/%')"
            sql = f"SELECT count(DISTINCT idx) FROM disclosure WHERE {where}"  # noqa: S608 - fixed texts
            (erased,) = self.reader.db.execute(sql).fetchone()
        except sqlite3.Error as error:
            report.problem(f"database: what commitments hide: {error}")
        if erased or self.told:
            report.notes.append(f"personal values of {erased} entries are erased; erasure entries tell of {self.told}")
        if self.missing:
            report.notes.append(f"{self.missing} entries have commitments for which nothing is kept")


def _range(tokens: Pointer) -> tuple[str, str]:
    """Between which paths those lie that these tokens mean."""
    if "*" not in tokens:
        path = write_pointer(tokens)
        return path, path
    begin = write_pointer(tokens[: tokens.index("*")]) + "/"
    return begin, begin + "\U0010ffff"


def _holds(pointer: Pointer, path: str, value: bytes, values: Sequence[bytes]) -> bool:
    place = parse_pointer(path)[1:]
    if not covers(pointer[: len(place)], place):
        return False
    try:
        whole = orjson.loads(value)
    except orjson.JSONDecodeError:  # not what was committed to: told by `log verify`
        return False
    return any(canonical(inner) in values for inner in _inside(whole, pointer[len(place) :]))


def _inside(value: Any, tokens: Pointer) -> Iterator[Any]:
    if not tokens:
        yield value
        return
    head, rest = tokens[0], tokens[1:]
    named = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in named:
        if head in ("*", str(name)):
            yield from _inside(item, rest)
