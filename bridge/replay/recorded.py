"""From an entry to what it takes to decide it again: the document, the terms, the set, and whose gate counted."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

import orjson

from bridge.audit.disclosed import revealed
from bridge.audit.reader import Found, LogReader
from bridge.errors import EvidenceUnavailable
from bridge.model.decision import Code
from bridge.pdp.enrich import Informed
from bridge.pdp.question import Question
from bridge.pdp.record_search import KIND as SEARCH
from bridge.pdp.record_tuples import KIND as EVALUATION
from bridge.pdp.terms import read_terms

REPLAYED = ("decision", EVALUATION)
KINDS = (*REPLAYED, SEARCH)
"""Entries that answer a question. What other kinds tell of is not decided by policies."""
NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, EvidenceUnavailable)
"""What comes of reading an entry that no bridge has written."""
BY_POLICIES = frozenset([Code.NO_ALLOW, Code.POLICY_ERROR, Code.UNMAPPED_RESOURCE, Code.SOURCE_FAILED, Code.DEADLINE])
"""Codes of tuples that a policy was asked about; with any other one it was not."""


class Reason(StrEnum):
    """Why a decision cannot be decided again."""

    ERASED = "erased"
    NO_POLICY = "no_policy"
    LATE = "late"
    SEARCH = "search"
    NO_TERMS = "no_terms"
    ENDED = "ended"
    DID_NOT_FIT = "did_not_fit"
    GATE = "gate"
    ARCHIVE_MISSING = "archive_missing"
    ARCHIVE_DAMAGED = "archive_damaged"
    UNREADABLE = "unreadable"
    ENGINE = "engine"


MEANING: Mapping[Reason, str] = {
    Reason.ERASED: "the document was erased",
    Reason.NO_POLICY: "no policy decided: a fault, or nothing that a policy is asked about",
    Reason.LATE: "a package did not answer in time then",
    Reason.SEARCH: "a search, which asks thousands of questions that are not kept",
    Reason.NO_TERMS: "the entry does not say what it hung on: it was shortened, or an older version wrote it",
    Reason.ENDED: "what it would have been granted to had ended, whatever policies said",
    Reason.DID_NOT_FIT: "denied because no entry could hold what was decided",
    Reason.GATE: "the decision whose gate counted cannot be replayed",
    Reason.ARCHIVE_MISSING: "the policy set is not kept beside the log",
    Reason.ARCHIVE_DAMAGED: "the policy set that is kept is not the one that decided",
    Reason.UNREADABLE: "no bridge writes such an entry, or what it needs is masked",
    Reason.ENGINE: "the engine gave no answer now",
}


@dataclass(frozen=True, slots=True)
class NotReplayable:
    """`text`: more about it, where there is more."""

    reason: Reason
    text: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision. `entry` is as it was before anything was hidden; `raw` are the bytes that the engine saw.

    `rules` are all that spoke, wherever they stand. `digest`: the policy set. `gate`: the decision whose gate counted.
    """

    index: int
    entry: Mapping[str, Any]
    raw: bytes
    question: Question
    informed: Informed
    digest: str
    rules: tuple[Mapping[str, Any], ...]
    gate: "Recorded | None" = None

    @property
    def size(self) -> int:
        """Of its document, in bytes."""
        return len(self.raw)


@dataclass(frozen=True, slots=True)
class RecordedTuples:
    """The other tuples of an AuthZEN request: for each item its document, None where there was none."""

    index: int
    entry: Mapping[str, Any]
    documents: Mapping[int, dict[str, Any] | None]
    digest: str
    size: int
    """Of the documents, in bytes."""

    @property
    def rules(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.entry["rules"])


Replayable = Recorded | RecordedTuples


def unreadable(error: Exception) -> NotReplayable:
    """What `error`, one of NOT_OURS, means for the entry."""
    return NotReplayable(Reason.UNREADABLE, f"{type(error).__name__}: {error}")


class Records:
    """Reads them from a log."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._gate: tuple[str, Recorded | NotReplayable] | None = None

    def read(self, found: Found) -> Replayable | NotReplayable:
        """What the entry needs to be decided again. It must be of one of KINDS."""
        try:
            entry = revealed(self._reader, found)
            return self._read(found, entry)
        except NOT_OURS as error:
            return unreadable(error)

    def _read(self, found: Found, entry: Mapping[str, Any]) -> Replayable | NotReplayable:
        if entry["kind"] not in REPLAYED:
            return NotReplayable(Reason.SEARCH)
        if (reason := _undecided(entry)) is not None:
            return NotReplayable(reason)
        raw = self._reader.document(found)
        if raw is None:
            return NotReplayable(Reason.ERASED)
        if hashlib.sha256(raw).hexdigest() != entry["input_digest"]:
            return NotReplayable(Reason.UNREADABLE, "the document is not the one that the entry names")
        if entry["kind"] == EVALUATION:
            return _tuples(found.index, entry, raw)
        return self._decision(found.index, entry, raw)

    def _decision(self, index: int, entry: Mapping[str, Any], raw: bytes) -> Recorded | NotReplayable:
        if not isinstance(entry.get("terms"), dict):
            return NotReplayable(Reason.NO_TERMS)
        gate: Recorded | None = None
        named = entry.get("batch", {}).get("gate_decision")
        if named is not None:
            at_gate = self._at_gate(named)
            if isinstance(at_gate, NotReplayable) or at_gate.digest != _digest(entry):
                return NotReplayable(Reason.GATE)
            if at_gate.entry["batch"]["id"] != entry["batch"]["id"]:
                return NotReplayable(Reason.GATE, "that is a decision of another batch")
            gate = at_gate
        orjson.loads(raw)  # what only Python reads (NaN, UTF-16) would fail the whole query that it stands in
        question, denies = read_terms(entry["terms"], json.loads(raw))
        sources = tuple(e for e in entry["exceptions"] if "source" in e)
        informed = Informed(tuple(entry["sources"]), sources, denies)
        return Recorded(index, entry, raw, question, informed, _digest(entry), self._rules(index, entry), gate)

    def _at_gate(self, named: str) -> Recorded | NotReplayable:
        """Its gate is its own, so this goes no deeper. The documents of a batch come one after the other."""
        if self._gate is None or self._gate[0] != named:
            entries = [one for one in self._reader.named(named) if one.entry["kind"] == "decision"]
            read = self.read(entries[0]) if entries and "gate_decision" not in entries[0].entry["batch"] else None
            self._gate = named, read if isinstance(read, (Recorded, NotReplayable)) else NotReplayable(Reason.GATE)
        return self._gate[1]

    def _rules(self, index: int, entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The entries that hold the rest of them were written together with this one, right after it."""
        rules = list(entry["rules"])
        if entry.get("rules_follow"):
            for place in count(index + 1):  # one by one: a walk would read thousands for each decision
                further = [revealed(self._reader, one) for one in self._reader.named(str(place))]
                if not further or further[0]["kind"] != "rules" or further[0]["decision_id"] != entry["id"]:
                    break
                rules.extend(further[0]["rules"])
        return tuple(rules)


def _undecided(entry: Mapping[str, Any]) -> Reason | None:
    """A fault of engine, policy or time took the place of what the policies would have said."""
    if "policy" not in entry:
        return Reason.NO_POLICY
    if "ended" in entry:
        return Reason.ENDED
    for taken in entry["exceptions"]:
        if taken["path"] == "fail_closed" and "source" not in taken:
            return Reason.LATE if "package" in taken else Reason.NO_POLICY
        if taken["path"] == "policy_error" and "package" not in taken:
            return Reason.DID_NOT_FIT
    return None


def _tuples(index: int, entry: Mapping[str, Any], raw: bytes) -> RecordedTuples:
    shown = {one["item"]: told for one, told in zip(entry["decisions"], entry["request"]["tuples"], strict=True)}
    by: dict[int, dict[str, Any] | None] = dict.fromkeys(shown)
    by.update(zip([number for number, told in shown.items() if told], json.loads(raw), strict=True))
    return RecordedTuples(index, entry, by, _digest(entry), len(raw))


def _digest(entry: Mapping[str, Any]) -> str:
    """It becomes the name of a file."""
    digest: str = entry["policy"]["digest"]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("the policy set's digest is none")
    return digest
