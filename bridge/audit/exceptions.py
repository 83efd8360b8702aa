"""How often each exception was taken, and by whom: from the entries that are on an exception path."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from bridge.audit.asked import Client, Unknown, client_of, overruled_in
from bridge.audit.chronology import time_of
from bridge.audit.disclosed import revealed
from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.audit.window import Window
from bridge.errors import EvidenceUnavailable
from bridge.model.issued import grants
from bridge.model.policy import GATE
from bridge.model.verdict import EXCEPTION_KINDS

DROPPED = "expired_exception"
MAX_CLIENTS = 10_000
_SELECT = (
    "SELECT DISTINCT e.idx FROM decision_exception e JOIN decision d ON d.idx = e.idx "
    "WHERE e.path IN (?, ?, ?) AND d.kind = 'decision' AND d.time_ms >= ? AND d.time_ms < ? ORDER BY e.idx"
)

Key = tuple[str, str, str | None]
"""Package, code, id of the exception; None where it has none."""


@dataclass(slots=True)
class Taken:
    """Of one exception. `recorded`: decisions in which its rule spoke; `used`: those in which a grant rests on it.

    `clients`: who got these grants. `dropped`: why it did not count -> how often; `last_ms`: of the last use.
    """

    kind: str | None = None
    recorded: int = 0
    used: int = 0
    last_ms: int | None = None
    hidden: int = 0
    clients: Counter[Client] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_ms: int | None = None


def taken_in(reader: LogReader, window: Window, taken: dict[Key, Taken]) -> None:
    """Adds what the log has of the window to `taken`. EvidenceUnavailable as the reader's."""
    overruled = overruled_in(reader.db)
    with Queries(reader).tables() as index:
        for (at,) in index.execute(_SELECT, (*EXCEPTION_KINDS, DROPPED, window.since, window.until)):
            try:
                entry = revealed(reader, reader.at(at))
                _take(entry, taken, overruled=entry["id"] in overruled)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EvidenceUnavailable(f"entry {at} is none that a bridge writes: see `log verify`") from error


def _take(entry: dict[str, Any], taken: dict[Key, Taken], *, overruled: bool) -> None:
    time_ms, client = time_of(entry["time"]) or 0, client_of(entry)
    for told in entry["exceptions"]:
        if told["path"] not in (*EXCEPTION_KINDS, DROPPED):
            continue
        one = taken.setdefault((told["package"], told["code"], told.get("id")), Taken())
        if told["path"] == DROPPED:
            one.kind = one.kind or told.get("kind")
            one.dropped[told["reason"]] += 1
            one.dropped_ms = max(one.dropped_ms or 0, time_ms)
            continue
        one.kind = told["path"]
        one.recorded += 1
        if overruled or not _rests_on(entry, told["package"], told["code"]):
            continue
        one.used += 1
        one.last_ms = max(one.last_ms or 0, time_ms)
        if isinstance(client, Unknown) or (client not in one.clients and len(one.clients) >= MAX_CLIENTS):
            one.hidden += 1
        else:
            one.clients[client] += 1


def _rests_on(entry: dict[str, Any], package: str, code: str) -> bool:
    """Whether this rule granted something: a scope of its package, whose answer names it; by the gate, anything."""
    if package == GATE:
        return grants(entry) and _names(entry["findings"], code)
    granted = (scope for scope in entry["granted_scopes"] if _answers(package, scope))
    return any(_names(entry["scopes"][scope]["findings"], code) for scope in granted)


def _answers(package: str, scope: str) -> bool:
    """Whether a package is the scope's own, or that of a prefix of it."""
    kind, _, quoted = package.rstrip("]").partition("[")
    name = orjson.loads(quoted) if quoted else None
    return name == scope if kind == "issuance.scope" else isinstance(name, str) and scope.startswith(name)


def _names(findings: list[dict[str, Any]], code: str) -> bool:
    return any(finding["code"] == code for finding in findings)
