"""Compares a server's own list of issued tokens with the log: what was minted, decided, reported, and what was not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.audit.chronology import Chronology, decoded
from bridge.audit.disclosed import revealed
from bridge.audit.issued import IssuedList, Listed
from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.errors import EvidenceUnavailable
from bridge.model.decision import VALID_FOR_MS
from bridge.model.issued import LEEWAY_MS, Violation, breaches, grants
from bridge.model.times import parse_rfc3339


class Code(StrEnum):
    """What is found beside the violations of single tokens (model.issued.Violation)."""

    NOT_REPORTED = "not_reported"
    NOT_LISTED = "not_listed"
    LISTED_TWICE = "listed_twice"
    OTHER_KEY = "other_key"
    LOG = "log"
    NEVER_ISSUED = "never_issued"
    NOTE = "note"


TEXTS: dict[str, str] = {
    Violation.UNKNOWN_DECISION: "there is no such decision",
    Violation.AFTER_DENIAL: "the decision was a denial",
    Violation.LATE: "the decision had run out",
    Violation.SECOND_TOKEN: "another token rests on the same decision",
    Violation.MORE_SCOPES: "it has scopes that were not granted",
    Violation.LONGER_LIFE: "it lives longer than was granted",
    Violation.WIDER_AUDIENCE: "it is for an audience that was not granted",
    Violation.JTI_REUSED: "the same jti was reported for another decision",
    Violation.CONTRADICTS_REPORT: "what is told of it differs",
    Code.NOT_REPORTED: "in the list, and never reported",
    Code.NOT_LISTED: "reported, and not in the list",
    Code.LISTED_TWICE: "its jti stands in the list before",
    Code.OTHER_KEY: "reported under another digest.key: it cannot be compared",
    Code.NEVER_ISSUED: "granted, and no token known",
}
_HARMLESS = (Code.NEVER_ISSUED, Code.NOTE)


@dataclass(frozen=True, slots=True)
class Finding:
    """`line` of the list, `index` in the log; None: it is in neither."""

    code: str
    text: str
    line: int | None = None
    decision_id: str | None = None
    index: int | None = None

    @property
    def critical(self) -> bool:
        return self.code not in _HARMLESS


@dataclass(frozen=True, slots=True)
class Span:
    """Which decisions and reports the list should know: of this caller, from `since`, before `until` (ms)."""

    caller: str | None = None
    since: int | None = None
    until: int | None = None

    def covers(self, entry: dict[str, Any]) -> bool:
        time = parse_rfc3339(entry["time"]) or 0
        ours = self.caller is None or entry.get("caller") == self.caller
        return ours and (self.since is None or time >= self.since) and (self.until is None or time < self.until)


class Reconciliation:
    """Walks once over the log. Keeps the list in memory, and of the log what is about its tokens."""

    def __init__(self, reader: LogReader, issued: IssuedList, span: Span, now_ms: int) -> None:
        self._reader, self._issued, self._span, self._now_ms = reader, issued, span, now_ms
        self._decided = {listed.token.decision_id for listed in issued.tokens.values()}
        self.decisions = self.reports = 0
        self.heard_of = span.caller is None
        """Whether the log has any entry of the caller whose list it is."""

    def findings(self) -> Iterator[Finding]:
        """All that is found, in the order of the log and then of the list. EvidenceUnavailable as the reader's."""
        size = self._reader.size()  # the query tables reach as far, or farther
        try:
            with Queries(self._reader).followers() as followed:
                yield from self._walk(size, followed)
                for again in self._issued.twice:
                    yield _finding(Code.LISTED_TWICE, again.line, again.token.decision_id)
                yield from self._tokens(followed)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvidenceUnavailable(
                f"an entry in {self._reader.folder} is none that a bridge writes: see `log verify`"
            ) from error

    def _walk(self, size: int, followed: Callable[[str, str], bool]) -> Iterator[Finding]:
        chronology = Chronology()
        for found in self._reader.walk(0, size):
            entry = decoded(found.data)
            chronology.take(found.index, entry)
            yield from _told(chronology)
            if entry is None:
                raise ValueError(f"entry {found.index} is no object")
            self.heard_of = self.heard_of or entry.get("caller") == self._span.caller
            if entry["kind"] == "issued":
                yield from self._report(found.index, revealed(self._reader, found))
            elif entry["kind"] == "decision":
                self.decisions += 1
                if self._is_open(entry) and not any(followed(entry["id"], kind) for kind in ("issued", "overruled")):
                    yield _finding(Code.NEVER_ISSUED, None, entry["id"], found.index)
        chronology.finish(self._now_ms)
        yield from _told(chronology)

    def _report(self, index: int, entry: dict[str, Any]) -> Iterator[Finding]:
        self.reports += 1
        listed = self._issued.tokens.get(entry["jti_digest"])
        if listed is not None:
            listed.take(index, entry)
        elif self._span.covers(entry):
            known = entry["jti_key"] == self._issued.digest.key_id
            for code in (Code.NOT_LISTED if known else Code.OTHER_KEY, *entry["violations"]):
                yield _finding(code, None, entry["decision_id"], index)

    def _is_open(self, entry: dict[str, Any]) -> bool:
        """Granted, with time enough for a token and its report, and no token of the list is for it."""
        if not grants(entry) or entry["id"] in self._decided or not self._span.covers(entry):
            return False
        return (parse_rfc3339(entry["time"]) or 0) + VALID_FOR_MS + LEEWAY_MS < self._now_ms

    def _tokens(self, followed: Callable[[str, str], bool]) -> Iterator[Finding]:
        used: set[str] = set()
        for listed in self._issued.tokens.values():
            decision_id = listed.token.decision_id or listed.decision_id
            codes = listed.violations | self._breaches(listed, decision_id, followed)
            if decision_id is not None:
                codes |= {Violation.SECOND_TOKEN} if decision_id in used else set()
                used.add(decision_id)
            if listed.index is None:
                codes.add(Code.NOT_REPORTED)
            for code in TEXTS:
                if code in codes:
                    yield _finding(code, listed.line, decision_id, listed.index)

    def _breaches(self, listed: Listed, decision_id: str | None, followed: Callable[[str, str], bool]) -> set[str]:
        decision = None if decision_id is None else self._decision(decision_id)
        overruled = decision_id is not None and followed(decision_id, "overruled")
        return set(breaches(decision, listed.token.minted(), overruled=overruled))

    def _decision(self, decision_id: str) -> dict[str, Any] | None:
        for found in self._reader.named(decision_id):
            entry = found.entry
            ours = self._span.caller in (None, entry.get("caller"))
            if (entry["id"], entry["kind"]) == (decision_id, "decision") and ours:
                return revealed(self._reader, found)
        return None


def _told(chronology: Chronology) -> Iterator[Finding]:
    """What the chronology has to tell since the last time."""
    for code, texts in ((Code.LOG, chronology.problems), (Code.NOTE, chronology.notes)):
        for text in texts:
            yield Finding(code, text)
        texts.clear()


def _finding(code: str, line: int | None, decision_id: str | None, index: int | None = None) -> Finding:
    return Finding(code, TEXTS[code], line, decision_id, index)
