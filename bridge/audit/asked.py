"""What one decision's entry says of the request behind it: which client, and what became of what it asked for."""

import sqlite3
from enum import StrEnum
from typing import Any, NamedTuple

from bridge.model.commitment import MEMBER, is_hidden
from bridge.model.entry import LONG_NAME
from bridge.model.issued import grants
from bridge.model.mask import MASKED

Client = tuple[str, str]
"""Issuer and id."""


class Unknown(StrEnum):
    """Why an entry does not say which client asked."""

    HIDDEN = "hidden"
    ABSENT = "absent"


class Part(NamedTuple):
    """One decision: `scopes` that it answers, each with its outcome; `outcome` of the whole.

    `audience`: whom its grant is for, None where nothing says it.
    """

    outcome: str
    grant_type: str
    scopes: tuple[tuple[str, str], ...]
    asked_audience: tuple[str, ...]
    audience: tuple[str, ...] | None

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Of its scopes; of the whole where it has none."""
        return tuple(outcome for _, outcome in self.scopes) or (self.outcome,)


def client_of(entry: dict[str, Any]) -> Client | Unknown:
    """The client of a decision's entry, as far as it stands there: not masked, erased or cut."""
    request = entry["request"]
    client = request.get("client", {})
    if isinstance(client, dict) and "id" not in client and MEMBER not in client:
        return Unknown.ABSENT
    name = client.get("id") if isinstance(client, dict) else client
    name, issuer = shown(name), shown(request.get("issuer"))
    if name is None or issuer is None:
        return Unknown.HIDDEN
    if "names" in entry.get("shortened", ()) and LONG_NAME in (len(name), len(issuer)):
        return Unknown.HIDDEN
    return issuer, name


def overruled_in(db: sqlite3.Connection) -> frozenset[str]:
    """The decisions that were answered with a denial all the same."""
    rows = db.execute("SELECT value FROM about WHERE member = 'decision_id' AND kind = 'overruled'")
    return frozenset(value for (value,) in rows)


def shown(name: Any) -> str | None:
    """A name, where an entry shows it; None where it is masked or a commitment."""
    return None if is_hidden(name) or name == MASKED else name


def part_of(entry: dict[str, Any], *, overruled: bool) -> Part:
    """What a decision says. KeyError, TypeError or AttributeError: the entry is none that a bridge writes."""
    granted, request = set(entry["granted_scopes"]), entry["request"]
    denied = overruled or entry["outcome"] == "deny"
    outcome = "deny" if denied else "allow" if grants(entry) else "conditional"
    scopes = tuple(
        (scope, "deny" if denied else "allow" if scope in granted else _waiting(answer["outcome"]))
        for scope, answer in entry["scopes"].items()
    )
    asked = tuple(found) if isinstance(found := request.get("audience"), list) else ()
    limit = entry["limit"].get("audience")
    return Part(outcome, request["grant_type"], scopes, asked, tuple(limit) if limit is not None else asked or None)


def _waiting(outcome: str) -> str:
    """A scope that its package allows may be left out in the end: only what was granted is a yes."""
    return "conditional" if outcome == "conditional" else "deny"
