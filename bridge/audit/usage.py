"""What each client asked for, was granted, and was reported to have got: one walk over the log, entry by entry."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.audit.asked import Client, Part, Unknown, client_of, overruled_in, part_of, shown
from bridge.audit.chronology import time_of
from bridge.audit.disclosed import revealed
from bridge.audit.reader import Found, LogReader
from bridge.audit.window import Coverage, Window, coverage
from bridge.errors import EvidenceUnavailable

MAX_CLIENTS = 100_000
MAX_NAMES = 1_000
"""Scopes, grant types or audiences of one client that are told one by one; callers choose their names."""
OTHERS = "(others)"
_OPEN_BATCHES = 4_096
"""The entries of one batch are written together, so that few others lie between them."""
_REMEMBERED = 65_536
_MOST_ALIKE = 16_384
_ALONE: dict[str, Any] = {"id": None}
_RANKS = {"deny": 0, "conditional": 1, "allow": 2}


@dataclass(slots=True)
class Use:
    """Of one scope, grant type or audience: how many requests asked for it, and what became of them.

    `waiting`: it was not granted, and only a requirement was not met. `issued`: reports of tokens with it.
    """

    asked: int = 0
    granted: int = 0
    waiting: int = 0
    issued: int = 0


@dataclass(slots=True)
class ClientUse:
    """What one client did. `anywhere`: grants whose audience nothing says; `hidden`: names that entries do not show."""

    requests: int = 0
    granted: int = 0
    reports: int = 0
    violations: int = 0
    anywhere: int = 0
    hidden: int = 0
    last_ms: int = 0
    scopes: dict[str, Use] = field(default_factory=dict)
    grant_types: dict[str, Use] = field(default_factory=dict)
    audience: dict[str, Use] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """The decisions of one request so far: each document of a batch repeats what is asked for as a whole."""

    time_ms: int = 0
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class _Alike:
    """How many requests were alike, and when the last one was: most are, and adding up is what costs time."""

    times: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class Usage:
    """Adds up the entries of a window, in one log or one after the other in several.

    `unattributed`: decisions (and reports) of clients that are not shown; `unrecorded`: denials without an entry.
    """

    window: Window
    clients: dict[Client, ClientUse] = field(default_factory=dict)
    unattributed: dict[Unknown, int] = field(default_factory=lambda: dict.fromkeys(Unknown, 0))
    reports_unattributed: int = 0
    unrecorded: int = 0
    entries: int = 0
    covered: list[Coverage] = field(default_factory=list)
    _open: OrderedDict[tuple[str, Client], _Batch] = field(default_factory=OrderedDict)
    _alike: dict[tuple[Client, tuple[Part, ...]], _Alike] = field(default_factory=dict)
    _decided: OrderedDict[str, Client | Unknown] = field(default_factory=OrderedDict)

    def read(self, reader: LogReader) -> None:
        """Adds a log. EvidenceUnavailable: an entry is none that a bridge writes."""
        covered = coverage(reader, self.window)
        if covered is None:
            return
        self.covered.append(covered)
        overruled = overruled_in(reader.db)
        for found in reader.walk(covered.start):
            try:
                self._take(reader, found, overruled)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EvidenceUnavailable(
                    f"entry {found.index} is none that a bridge writes: see `log verify`"
                ) from error
        for (_, client), batch in self._open.items():
            self._close(client, tuple(batch.parts), batch.time_ms)
        self._add_up()
        self._open.clear()
        self._decided.clear()

    def _take(self, reader: LogReader, found: Found, overruled: frozenset[str]) -> None:
        entry = revealed(reader, found)
        time_ms = time_of(entry["time"])
        if time_ms is None or time_ms not in self.window:
            return
        self.entries += 1
        match entry["kind"]:
            case "decision":
                self._decision(entry, time_ms, overruled=entry["id"] in overruled)
            case "issued":
                self._report(reader, entry)
            case "gap":
                self.unrecorded += int(entry["denied"])
            case "overloaded":
                self.unrecorded += int(entry["count"])
            case _:
                pass

    def _decision(self, entry: dict[str, Any], time_ms: int, *, overruled: bool) -> None:
        client = client_of(entry)
        self._remember(entry["id"], client)
        if isinstance(client, Unknown):
            self.unattributed[client] += 1
            return
        part, batch_id = part_of(entry, overruled=overruled), entry.get("batch", _ALONE)["id"]
        if batch_id is None:
            self._close(client, (part,), time_ms)
            return
        batch = self._open.setdefault((batch_id, client), _Batch())
        batch.time_ms = max(batch.time_ms, time_ms)
        batch.parts.append(part)
        if len(self._open) > _OPEN_BATCHES:
            (_, client), batch = self._open.popitem(last=False)
            self._close(client, tuple(batch.parts), batch.time_ms)

    def _close(self, client: Client, parts: tuple[Part, ...], time_ms: int) -> None:
        key = (client, parts)
        if (alike := self._alike.get(key)) is None:
            if len(self._alike) >= _MOST_ALIKE:
                self._add_up()
            alike = self._alike[key] = _Alike()
        alike.times += 1
        alike.last_ms = max(alike.last_ms, time_ms)

    def _add_up(self) -> None:
        """Counts requests, each once for a name, by the best answer that any of its decisions gives."""
        for (client, told), alike in self._alike.items():
            use, times = self._use(client), alike.times
            parts = [part for part in told if part.scopes] or told
            best = _best(outcome for part in parts for outcome in part.outcomes)
            use.requests += times
            use.granted += times if best == "allow" else 0
            use.last_ms = max(use.last_ms, alike.last_ms)
            use.anywhere += times if any(part.outcome == "allow" and part.audience is None for part in parts) else 0
            use.hidden += _count(use.scopes, (pair for part in parts for pair in part.scopes), times)
            use.hidden += _count(use.grant_types, ((part.grant_type, best) for part in parts), times)
            named = {name for part in parts for name in part.asked_audience}
            use.hidden += _count(use.audience, _audiences(parts), times, named)
        self._alike.clear()

    def _report(self, reader: LogReader, entry: dict[str, Any]) -> None:
        client = self._client_of_decision(reader, entry["decision_id"])
        if isinstance(client, Unknown):
            self.reports_unattributed += 1
            return
        use = self._use(client)
        use.reports += 1
        use.violations += bool(entry["violations"])
        for table, names in ((use.scopes, entry["scopes"]), (use.audience, entry["audience"])):
            for name in dict.fromkeys(map(shown, names)):
                if name is None:
                    use.hidden += 1
                else:
                    _named(table, name).issued += 1

    def _client_of_decision(self, reader: LogReader, decision_id: str) -> Client | Unknown:
        if decision_id not in self._decided:
            named = (revealed(reader, found) for found in reader.named(decision_id))
            clients = (
                client_of(entry) for entry in named if entry["id"] == decision_id and entry["kind"] == "decision"
            )
            self._remember(decision_id, next(clients, Unknown.ABSENT))
        return self._decided[decision_id]

    def _remember(self, decision_id: str, client: Client | Unknown) -> None:
        self._decided[decision_id] = client
        if len(self._decided) > _REMEMBERED:
            self._decided.popitem(last=False)

    def _use(self, client: Client) -> ClientUse:
        if client not in self.clients and len(self.clients) >= MAX_CLIENTS:
            client = (OTHERS, OTHERS)
        return self.clients.setdefault(client, ClientUse())


def _audiences(parts: Iterable[Part]) -> Iterator[tuple[str, str]]:
    for part in parts:
        good = part.audience or ()
        yield from ((name, part.outcome if name in good else "deny") for name in part.asked_audience)
        if part.outcome == "allow":
            yield from ((name, "allow") for name in good if name not in part.asked_audience)


def _count(
    table: dict[str, Use], told: Iterable[tuple[str, str]], times: int, asked: Collection[str] | None = None
) -> int:
    """Adds so many requests to the table; how many names in them are not shown. `asked`: None: for all of them."""
    best: dict[str, str] = {}
    hidden = 0
    for name, outcome in told:
        known = shown(name)
        if known is None:
            hidden += times
        else:
            best[known] = _best((best.get(known, "deny"), outcome))
    for name, outcome in best.items():
        one = _named(table, name)
        one.asked += times if asked is None or name in asked else 0
        one.granted += times if outcome == "allow" else 0
        one.waiting += times if outcome == "conditional" else 0
    return hidden


def _named(table: dict[str, Use], name: str) -> Use:
    if name not in table and len(table) >= MAX_NAMES:
        name = OTHERS
    return table.setdefault(name, Use())


def _best(outcomes: Iterable[str]) -> str:
    return max(outcomes, key=_RANKS.__getitem__)
