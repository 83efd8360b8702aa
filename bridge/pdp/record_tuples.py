"""Writes down what AuthZEN tuples were answered that are not about issuance: one entry of kind `evaluation`.

Its `request.tuples` and `decisions` go side by side. What has no room in 32 KiB goes into further entries of the same
kind, which name the first one as their `decision_id`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.model.decision import Outcome
from bridge.model.entry import MAX_ENTRY_BYTES, canonical, exact
from bridge.model.mask import mask_pointers
from bridge.model.personal import Hiding, Personal
from bridge.model.policy import PolicySet
from bridge.model.times import rfc3339, uuid7
from bridge.pdp.enrich import Informed
from bridge.pdp.gather import Batch, Call
from bridge.pdp.record import rule_json
from bridge.pdp.wire import batch_json
from bridge.ports import EngineStatus, Record

KIND = "evaluation"
ROOM = 1024
_TEXT = 256
_WHOLE = ("personal", "*")
ADDED = ("id", "time", "door", "caller", "issuer", "salt", "sources")


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to item `number` of a request. `code`: why not; `context`: what the policy gave with its answer.

    `entry`: the id of the (first) entry about it, once that stands.
    """

    number: int
    permit: bool
    code: str | None = None
    package: str | None = None
    context: dict[str, Any] | None = None
    error: str | None = None
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class TupleFacts:
    """What is known beside the answers; `documents` and their exact bytes are by item, where there is one.

    `informed`: what sources said about each. `personal`: the personal values of the whole request, which any of its
    entries may repeat.
    """

    call: Call
    batch: Batch
    entry_id: str
    time_ms: int
    documents: Mapping[int, dict[str, Any]]
    raw: Mapping[int, bytes]
    engine: EngineStatus
    policy_set: PolicySet | None = None
    fault: str | None = None
    informed: Mapping[int, Informed] = field(default_factory=dict)
    duration_us: int = 0
    personal: Sequence[Any] = ()


class TupleRecorder:
    """Makes records; `mask` and `personal` as of `record.Recorder`: pointers into each tuple."""

    def __init__(self, mask: Sequence[tuple[str, ...]] = (), personal: Sequence[tuple[str, ...]] = ()) -> None:
        self._mask = tuple(mask)
        self._personal = Personal([("tuples", "*", *p) for p in personal] + [_WHOLE]) if personal else None

    @property
    def salted(self) -> bool:
        return self._personal is not None

    def record(self, told: Sequence[Told], facts: TupleFacts) -> tuple[Record, ...]:
        """The records, the first one under `facts.entry_id`. ValueError: not even one answer alone fits an entry."""
        if self._personal is not None and not facts.personal:
            facts = replace(facts, personal=self._personal.values({"tuples": list(facts.documents.values())}))
        try:
            return (self._record(told, facts),)
        except ValueError:
            if len(told) == 1:
                return (self._shortened(told, facts),)
        middle = len(told) // 2
        rest = replace(facts, entry_id=uuid7(facts.time_ms))
        further = [self._about(record, facts.entry_id) for record in self.record(told[middle:], rest)]
        return (*self.record(told[:middle], facts), *further)

    def _shortened(self, told: Sequence[Told], facts: TupleFacts) -> Record:
        """What was asked goes first, then what the policy gave with its answer; the input document has the former."""
        try:
            return self._record(told, facts, without=("request",))
        except ValueError:
            bare = [replace(one, context=None) for one in told]
            return self._record(bare, facts, without=("request", "context"))

    @staticmethod
    def _about(record: Record, first: str) -> Record:
        return replace(record, entry={**record.entry, "decision_id": first})

    def _record(self, told: Sequence[Told], facts: TupleFacts, *, without: tuple[str, ...] = ()) -> Record:
        numbers = [one.number for one in told]
        raw = b"[%b]" % b",".join(facts.raw[n] for n in numbers if n in facts.raw)
        digest = hashlib.sha256(raw).digest()
        entry = {
            "v": 1,
            "kind": KIND,
            "id": facts.entry_id,
            "time": rfc3339(facts.time_ms),
            "door": facts.call.door,
            "caller": facts.call.caller,
            "batch": batch_json(replace(facts.batch, items=tuple(numbers))),
            "request": {"tuples": [self._shown(facts.documents.get(n), short=bool(without)) for n in numbers]},
            "input_digest": digest.hex(),
            "outcome": (Outcome.ALLOW if any(one.permit for one in told) else Outcome.DENY).value,
            "decisions": [_decision_json(one) for one in told],
            "rules": _rules(told, facts.policy_set),
            "exceptions": _exceptions(told, facts),
            "sources": [
                {"item": n, **told} for n in numbers if n in facts.informed for told in facts.informed[n].sources
            ],
            "engine": {"kind": facts.engine.kind, "version": facts.engine.version},
            "duration_us": facts.duration_us,
        }
        if facts.policy_set is not None:
            entry["policy"] = {"revision": facts.policy_set.revision, "digest": facts.policy_set.digest}
        if facts.call.request_id is not None:
            entry["request_id"] = facts.call.request_id
        if without:
            entry["shortened"] = list(without)
        if self._personal is None:
            return Record(_fitting(entry), raw, digest)
        hiding = self._hiding(numbers, facts)
        entry = _fitting(hiding.mentions(hiding.places(_fitting(entry))))
        return Record(entry, raw, digest, hiding.disclosures([entry])[0])

    def _hiding(self, numbers: Sequence[int], facts: TupleFacts) -> Hiding:
        assert self._personal is not None  # noqa: S101 - asked by the caller
        call = {"id": facts.entry_id, "door": facts.call.door, "caller": facts.call.caller, "issuer": facts.call.issuer}
        tuples = [facts.documents.get(n, {}) for n in numbers]
        whole = {**call, "tuples": tuples, "personal": list(facts.personal)}
        known = [] if facts.policy_set is None else [facts.policy_set.packages]
        return self._personal.hiding(whole, known)

    def _shown(self, document: dict[str, Any] | None, *, short: bool) -> dict[str, Any]:
        if document is None:
            return {}
        own: dict[str, Any] = {name: value for name, value in document.items() if name not in ADDED}
        shown = mask_pointers(own, self._mask)
        if short:
            shown = {name: identified(shown[name]) for name in ("subject", "action", "resource")}
        told: dict[str, Any] = exact(shown)
        return told


def _decision_json(told: Told) -> dict[str, Any]:
    code = {} if told.code is None else {"code": told.code}
    context = {} if told.context is None else {"context": exact(told.context)}
    outcome = Outcome.ALLOW if told.permit else Outcome.DENY
    return {"item": told.number, "outcome": outcome.value, **code, **context}


def identified(entity: Any) -> Any:
    """What identifies an entity; a long text is cut, and the whole of it stands in the input document."""
    if not isinstance(entity, dict):
        return entity
    return {name: str(entity[name])[:_TEXT] for name in ("type", "id", "name") if name in entity}


def _rules(told: Sequence[Told], policy_set: PolicySet | None) -> list[dict[str, Any]]:
    spoke = sorted({one.package for one in told if one.permit and one.package is not None})
    return [] if policy_set is None else [rule_json(n, policy_set.packages.get(n), "allow", "allow") for n in spoke]


def _exceptions(told: Sequence[Told], facts: TupleFacts) -> list[dict[str, Any]]:
    asked = [one.number for one in told if one.number in facts.informed]
    found = [{**taken, "item": n} for n in asked for taken in facts.informed[n].exceptions]
    if facts.fault is not None:
        found.append({"path": "fail_closed", "code": told[0].code, "message": facts.fault[:500]})
    failed = {(one.package, one.error): one for one in told if one.error is not None}
    for one in failed.values():
        path = "policy_error" if one.code == "policy_error" else "fail_closed"
        found.append({"path": path, "package": one.package, "message": (one.error or "")[:500]})
    return found


def _fitting(entry: dict[str, Any]) -> dict[str, Any]:
    if len(canonical(entry)) > MAX_ENTRY_BYTES - ROOM:
        raise ValueError("the entry does not fit")
    return entry
