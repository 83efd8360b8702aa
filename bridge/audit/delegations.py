"""What hangs on a client, a subject, a session, a delegation or a grant: the tree that falls when it ends."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bridge.audit.reader import LogReader
from bridge.audit.register import Line, Register, opened
from bridge.model.ended import HIDDEN, MEMBERS, Effect, Name, What
from bridge.model.times import rfc3339

MOST, DEPTH = 1000, 8
"""Delegations in a tree, and how far exchanged tokens are followed; beyond that it tells that there is more."""
Digest = Callable[[Name], str]
_COLUMNS = {"client": "client", "subject": "subject", "session": "session", "grant": "grant_id"}


@dataclass(slots=True)
class _Delegation:
    """The lines of one (issuer, client, subject), taken together."""

    issuer: str
    client: str
    subject: str
    types: set[str] = field(default_factory=set)
    scopes: set[str] = field(default_factory=set)
    several: dict[str, set[str]] = field(default_factory=lambda: {"actors": set(), "sessions": set(), "grants": set()})
    first: int = 2**62
    last: int = 0
    granted: int = 0
    minted: int = 0
    live_until: int = 0

    def take(self, line: Line) -> None:
        key = line.key
        self.types.add(key.subject_type)
        self.scopes.update(orjson.loads(key.scopes))
        for found, one in zip(self.several.values(), (key.actor, key.session, key.grant_id), strict=True):
            found.update({one} - {""})
        self.first, self.last = min(self.first, line.first_ms), max(self.last, line.last_ms)
        self.granted, self.minted = self.granted + line.granted, self.minted + line.minted
        self.live_until = max(self.live_until, line.live_until)


class Tree:
    """Answers one question from an open register. `digest`: of names; None: without its key, no endings are known."""

    def __init__(self, register: Register, digest: Digest | None) -> None:
        self._register, self._digest = register, digest
        self._shown: set[tuple[str, str, str]] = set()
        self._hidden: dict[Name, list[Line]] | None = None
        self._more = False

    def of(self, name: Name) -> dict[str, Any]:
        """The tree: what was delegated under `name`, and what tokens were exchanged for the tokens of that."""
        wanted = {_COLUMNS[member]: one for member, one in zip(MEMBERS[name.what], name.ids, strict=True)}
        found = self._together(self._register.lines(name.issuer, wanted))
        # Where its name stands in the chain of a token whose own line is another's.
        chained = self._together(self._from(name))
        told: dict[str, Any] = {
            "what": name.what.value,
            **name.request(),
            **self._registered(name),
            **self._ended(name),
        }
        more = {"more": True} if self._more else {}
        return {**told, "delegations": found, "exchanged": chained, **more}

    def clients(self, issuer: str | None = None) -> list[dict[str, Any]]:
        """Every client that was granted something, that was imported, or that ended; in order."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for table in ("delegation", "hidden"):
            select = f"SELECT issuer, client, sum(granted), max(last_ms) FROM {table} WHERE granted > 0 GROUP BY 1, 2"  # noqa: S608 - our own names
            for at, client, granted, last in self._register.tables.execute(select):
                one = found.setdefault((at, client), {"issuer": at, "client": client, "granted": 0, "last": 0})
                one["granted"], one["last"] = one["granted"] + granted, max(one["last"], last)
        others = (
            "SELECT issuer, client FROM ended WHERE what = 'client' AND client IS NOT NULL "
            "UNION SELECT issuer, client FROM registered"
        )
        for at, client in self._register.tables.execute(others):
            found.setdefault((at, client), {"issuer": at, "client": client, "granted": 0, "last": 0})
        return [
            {
                **one,
                "last": rfc3339(one["last"]) if one["last"] else None,
                **self._ended(Name(What.CLIENT, at, (client,))),
            }
            for (at, client), one in sorted(found.items())
            if client and issuer in (None, at)
        ]

    def _from(self, name: Name) -> list[Line]:
        """The lines of tokens that were exchanged for one that names it: itself, or in its chain of actors."""
        if self._hidden is None:
            self._hidden = {}
            for line in self._register.exchanged_hidden():
                for told in line.names():
                    self._hidden.setdefault(told, []).append(line)
        return [*self._register.exchanged(name), *self._hidden.get(name, ())]

    def _together(self, lines: Iterable[Line], depth: int = 0) -> list[dict[str, Any]]:
        """Each delegation once in the whole tree, where it is met first."""
        grouped: dict[tuple[str, str, str], _Delegation] = {}
        for line in lines:
            key = line.key.issuer, line.key.client, line.key.subject
            if key in self._shown:
                continue
            if key in grouped or (depth <= DEPTH and len(self._shown) + len(grouped) < MOST):
                grouped.setdefault(key, _Delegation(*key)).take(line)
            else:
                self._more = True
        self._shown.update(grouped)
        return [self._told(one, depth) for _, one in sorted(grouped.items())]

    def _told(self, one: _Delegation, depth: int) -> dict[str, Any]:
        name = Name(What.DELEGATION, one.issuer, (one.client, one.subject))
        exchanged = self._together(self._from(name), depth + 1)
        told: dict[str, Any] = {
            "issuer": one.issuer,
            "client": one.client,
            "subject": {"type": "/".join(sorted(one.types)), "id": one.subject},
            "scopes": sorted(one.scopes),
            **{name: sorted(found) for name, found in one.several.items() if found},
            "granted": one.granted,
            "first": rfc3339(one.first),
            "last": rfc3339(one.last),
            "minted": one.minted,
            **({"live_until": rfc3339(one.live_until * 1000)} if 0 < one.live_until < 2**37 else {}),
            **self._ended(name),
        }
        return {**told, "exchanged": exchanged} if exchanged else told

    def _registered(self, name: Name) -> dict[str, str]:
        """When it was imported last."""
        if name.what is not What.CLIENT:
            return {}
        select = "SELECT time FROM registered WHERE issuer = ? AND client = ?"
        row = self._register.tables.execute(select, (name.issuer, *name.ids)).fetchone()
        return {} if row is None else {"registered": row[0]}

    def _ended(self, name: Name) -> dict[str, Any]:
        """What has ended of it; a delegation ends with its client and its subject, too."""
        if self._digest is None:
            return {}
        names = [name]
        if name.what is What.DELEGATION:
            client, subject = name.ids
            names += [Name(What.CLIENT, name.issuer, (client,)), Name(What.SUBJECT, name.issuer, (subject,))]
        for one in names:
            row = self._register.tables.execute(
                "SELECT effect, time, idx FROM ended WHERE digest = ?", (self._digest(one),)
            ).fetchone()
            if row is not None and row[0] == Effect.ENDED:
                return {"ended": {"what": one.what.value, "index": row[2], "time": row[1]}}
        return {}


def tree_of(folder: Path, name: Name, digest: Digest | None) -> dict[str, Any]:
    """The tree of `name` by the log in `folder`. EvidenceUnavailable when it cannot be read."""
    with closing(LogReader(folder)) as reader, opened(reader) as register:
        return Tree(register, digest).of(name)


def clients_of(folder: Path, issuer: str, digest: Digest) -> dict[str, bool]:
    """The clients of `issuer` whose ids the log in `folder` shows, and whether each has ended. EvidenceUnavailable."""
    with closing(LogReader(folder)) as reader, opened(reader) as register:
        told = Tree(register, digest).clients(issuer)
    return {one["client"]: "ended" in one for one in told if one["client"] != HIDDEN}


def is_known(told: Mapping[str, Any]) -> bool:
    """Whether the log tells anything of what a tree is about."""
    return bool(told["delegations"] or told["exchanged"] or "ended" in told or "registered" in told)
