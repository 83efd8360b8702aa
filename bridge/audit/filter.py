"""Which entries are wanted, and the condition over the query tables that finds them."""

import sqlite3
from dataclasses import dataclass
from typing import Any

FEW = 50_000
_OWNERS = (  # each owner once, from one to the next in the index
    "WITH RECURSIVE each (owner) AS (SELECT min(owner) FROM decision_rule UNION ALL SELECT (SELECT min(owner) FROM "
    "decision_rule r WHERE r.owner > each.owner) FROM each WHERE each.owner IS NOT NULL) "
    "SELECT owner FROM each WHERE owner LIKE ? ESCAPE '\\'"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is set must hold; `since` and `until` in ms since the epoch, `until` not included.

    `limit`: the newest so many; None: all.
    """

    kind: str | None = None
    client: str | None = None
    subject: str | None = None
    scope: str | None = None
    outcome: str | None = None
    rule: str | None = None
    owner: str | None = None
    exception: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int | None = 100


@dataclass(frozen=True, slots=True)
class _Beside:
    """A condition that holds for an entry when it holds for one of its rows in another table."""

    table: str
    where: str
    values: tuple[Any, ...]

    def few(self, index: sqlite3.Connection) -> bool:
        """Whether so few rows fit that listing them all costs less than asking for them entry by entry."""
        count = f"SELECT count(*) FROM (SELECT 1 FROM {self.table} WHERE {self.where} LIMIT {FEW})"  # noqa: S608 - fixed texts
        (found,) = index.execute(count, self.values).fetchone()
        return bool(found < FEW)

    def listed(self) -> str:
        return f"d.idx IN (SELECT idx FROM {self.table} WHERE {self.where})"  # noqa: S608 - fixed texts

    def looked_up(self) -> str:
        return f"EXISTS (SELECT 1 FROM {self.table} b WHERE b.idx = d.idx AND {self.where})"  # noqa: S608 - fixed texts


def condition(
    index: sqlite3.Connection, wanted: Filter, client: list[int], subject: list[int]
) -> tuple[str, list[Any]]:
    """The condition and its values; where a scope is asked for, `outcome` is that scope's own.

    `client`, `subject`: entries that are about the wanted ones without showing it, or about others, too. A condition
    that few entries fit drives the search; where there is none, entries are looked at from the newest on until enough
    of them fit.
    """
    parts: list[tuple[str, tuple[Any, ...]]] = []
    own = ""
    for part in _beside(wanted, client):
        if part.few(index):
            parts.append((part.listed(), part.values))
            own = "+"  # keeps SQLite from driving the search by the column that follows
        else:
            parts.append((part.looked_up(), part.values))
    if wanted.since is not None and wanted.until is not None:
        window = _Beside("decision", "time_ms >= ? AND time_ms < ?", (wanted.since, wanted.until))
        if window.few(index):
            parts.append((window.listed(), window.values))
            own = "+"
    if wanted.client is not None:
        parts.append(_shown_or(f"{own}d.client", wanted.client, "d.idx", client))
    if wanted.subject is not None:
        parts.append(_shown_or(f"{own}d.subject", wanted.subject, "d.idx", subject))
    for sql, value in (
        ("d.outcome = ?", wanted.outcome if wanted.scope is None else None),
        ("d.kind = ?", wanted.kind),
        ("+d.time_ms >= ?", wanted.since),
        ("+d.time_ms < ?", wanted.until),
    ):
        if value is not None:
            parts.append((sql, (value,)))
    return " AND ".join(["1", *(sql for sql, _ in parts)]), [value for _, values in parts for value in values]


def _beside(wanted: Filter, client: list[int]) -> list[_Beside]:
    found = []
    if wanted.scope is not None:
        own = [("scope = ?", wanted.scope), ("outcome = ?", wanted.outcome)]
        given: list[tuple[str, tuple[Any, ...]]] = [(sql, (value,)) for sql, value in own if value is not None]
        if wanted.client is not None:
            given.append(_shown_or("client", wanted.client, "idx", client))
        inner = " AND ".join(sql for sql, _ in given)
        found.append(_Beside("decision_scope", inner, tuple(v for _, values in given for v in values)))
    if wanted.exception == "any":
        found.append(_Beside("decision_exception", "1", ()))
    elif wanted.exception is not None:
        found.append(_Beside("decision_exception", "(path = ? OR exception_id = ?)", (wanted.exception,) * 2))
    if wanted.rule is not None:
        # By its code, or by package and code; either may have a slash.
        split = [(wanted.rule[:at], wanted.rule[at + 1 :]) for at, c in enumerate(wanted.rule) if c == "/"]
        either = " OR ".join(["code = ?", *["package = ? AND code = ?"] * len(split)])
        found.append(_Beside("decision_rule", f"({either})", (wanted.rule, *(v for pair in split for v in pair))))
    if wanted.owner is not None:
        found.append(_Beside("decision_rule", f"owner IN ({_OWNERS})", (f"%{_like(wanted.owner)}%",)))
    return found


def _shown_or(column: str, wanted: str, idx: str, behind: list[int]) -> tuple[str, tuple[Any, ...]]:
    if not behind:
        return f"{column} = ?", (wanted,)
    found = f"{idx} IN (SELECT value FROM json_each(?))"  # noqa: S608 - our own names
    return f"({column} = ? OR {found})", (wanted, str(behind))


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
