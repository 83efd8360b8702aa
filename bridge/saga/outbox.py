"""The log is the outbox: endings about which not all is done yet, and what was done, found by what entries tell of."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.audit.chronology import time_of
from bridge.audit.disclosed import revealed
from bridge.audit.query import NOT_OURS
from bridge.audit.reader import Found, LogReader
from bridge.errors import EvidenceUnavailable
from bridge.model.ended import DIGEST, KIND, MEMBERS, Effect, Name, What
from bridge.model.issued import TokenDigest
from bridge.model.step import ENDING_ID, TOKEN

MOST_STEPS = 10_000
"""Entries about one ending that are looked at, the newest: more steps than that are not done."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An ending that is not settled. `name` is None where its ids are masked or erased: nothing can be done about it.

    `steps`: of each step what was recorded last, by its digest, oldest first.
    """

    index: int
    id: str
    digest: str
    at_ms: int
    entry: Mapping[str, Any]
    name: Name | None
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def place(self) -> tuple[int, str]:
        return self.index, self.id


@dataclass(frozen=True, slots=True)
class News:
    """What a look has found: endings that are not settled, and digests of names that began anew."""

    upto: int
    endings: list[Ending]
    begun: set[str]


def news(folder: Path, digest: TokenDigest | None, after: int = -1) -> News:
    """What ended above the index `after`. EvidenceUnavailable when the log cannot be read."""
    with closing(LogReader(folder)) as reader:
        return look(reader, digest, after)


def look(reader: LogReader, digest: TokenDigest | None, after: int = -1) -> News:
    """The same, of an open log; `digest`: without it no ending has a name."""
    found, begun = list[Ending](), set[str]()
    try:
        upto = reader.size() - 1  # what is written from here on is found by the query, or by the next look
        for index in _indexes(reader, after) if upto > after else ():
            after, entry = index, revealed(reader, reader.at(index))
            if entry["effect"] != Effect.ENDED:
                begun.add(entry[DIGEST])
                continue
            steps = _steps(reader, entry["id"])
            if steps is not None:
                at, name = time_of(entry["time"]) or 0, _name(entry, digest)
                found.append(Ending(index, entry["id"], entry[DIGEST], at, entry, name, steps))
    except sqlite3.Error as error:
        raise EvidenceUnavailable(f"the log cannot be read: {error}") from error
    except NOT_OURS as error:
        raise EvidenceUnavailable(f"entry {after} is none that a bridge writes: see `log verify`") from error
    return News(max(upto, after), found, begun)


def superseded(folder: Path, ending: Ending) -> bool:
    """Whether what ended has begun anew since. EvidenceUnavailable."""
    newest = "SELECT max(idx) FROM about WHERE member = ? AND value = ? AND kind = ?"
    with closing(LogReader(folder)) as reader:
        try:
            (index,) = reader.db.execute(newest, (DIGEST, ending.digest, KIND)).fetchone()
        except sqlite3.Error as error:
            raise EvidenceUnavailable(f"the log cannot be read: {error}") from error
    return bool(index != ending.index)


def _indexes(reader: LogReader, after: int) -> list[int]:
    select = "SELECT idx FROM about WHERE member = ? AND kind = ? AND idx > ? ORDER BY idx"
    return [index for (index,) in reader.db.execute(select, (DIGEST, KIND, after))]


def _steps(reader: LogReader, ending_id: str) -> dict[str, dict[str, Any]] | None:
    """What was done about an ending; None: all of it. What became of tokens that an order brought does not count."""
    found: dict[str, dict[str, Any]] = {}
    for one in _about(reader, ending_id):
        entry = one.entry
        if entry["effect"] == Effect.SETTLED:
            return None
        if TOKEN not in entry and entry["step_digest"] not in found:
            found[entry["step_digest"]] = revealed(reader, one)
    return dict(reversed(found.items()))


def _about(reader: LogReader, ending_id: str) -> Iterator[Found]:
    """Entries about an ending, the newest first."""
    select = (
        "SELECT e.idx, e.bytes, e.leaf_hash FROM about a JOIN entry e USING (idx) "
        "WHERE a.member = ? AND a.value = ? AND a.kind = ? ORDER BY a.idx DESC LIMIT ?"
    )
    for row in reader.db.execute(select, (ENDING_ID, ending_id, KIND, MOST_STEPS)):
        yield Found(*row)


def _name(entry: Mapping[str, Any], digest: TokenDigest | None) -> Name | None:
    """What ended, where the entry still tells it: its digest does not lie."""
    request, what = entry["request"], What(entry["what"])
    told = [request.get(member) for member in MEMBERS[what]]
    ids = [one.get("id") if isinstance(one, dict) else None for one in told]
    if digest is None or not isinstance(request.get("issuer"), str) or not all(isinstance(one, str) for one in ids):
        return None
    name = Name(what, request["issuer"], tuple(map(str, ids)))
    return name if name.digest(digest) == entry[DIGEST] else None
