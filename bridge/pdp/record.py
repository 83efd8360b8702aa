"""Writes a decision down: what data, which rule of which owner, and which exception path informed it."""

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.model.decision import Code, Decision, Outcome, deny_all
from bridge.model.entry import MAX_ENTRY_BYTES, canonical, chunks, exact, fit
from bridge.model.limit import NO_LIMIT
from bridge.model.mask import mask_pointers
from bridge.model.personal import Hiding, Personal
from bridge.model.policy import Package
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.model.verdict import Verdict
from bridge.pdp import details
from bridge.pdp.ended import Endings
from bridge.pdp.enrich import UNINFORMED, Informed
from bridge.pdp.evaluate import Verdicts
from bridge.pdp.gather import Asking, Batch
from bridge.pdp.question import Question
from bridge.pdp.terms import terms_json
from bridge.pdp.wire import batch_json, findings_json, limit_json, scope_json
from bridge.ports import EngineStatus, Guard, Record

FAULT_CODES = frozenset({Code.ENGINE_UNAVAILABLE, Code.DEADLINE, Code.OVERLOADED, Code.POLICY_MISMATCH})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one request beside the decision. `fault`: why no decision could be made, for operators.

    `question`: what the policies' verdicts were merged on, where they were. `gate_decision`: the id of the decision
    whose gate counted here, when that is another one of the batch. `asking`: the request as it came.
    """

    document: Mapping[str, Any]
    document_bytes: bytes
    engine: EngineStatus
    request_id: str | None = None
    batch: Batch | None = None
    gate_decision: str | None = None
    verdicts: Verdicts | None = None
    question: Question | None = None
    fault: str | None = None
    informed: Informed = UNINFORMED
    duration_us: int = 0
    engine_us: int = 0
    asking: Asking | None = None


class Recorder:
    """Makes records.

    `mask`: JSON pointers (split into tokens) of values that the entry must not show. `personal`: the same for values
    that it shows as commitments only. `endings`: what ends may be granted nothing.
    """

    def __init__(
        self,
        mask: tuple[tuple[str, ...], ...] = (),
        personal: tuple[tuple[str, ...], ...] = (),
        endings: Endings | None = None,
    ) -> None:
        self._mask, self._endings = mask, endings
        self._personal = Personal(personal) if personal else None

    @property
    def salted(self) -> bool:
        """Whether the input document needs a salt, since what it says must not be guessed by its digest."""
        return self._personal is not None

    def record(self, decision: Decision, facts: Facts) -> tuple[Decision, tuple[Record, ...]]:
        """The decision as it may be answered, and its records: the entry first, then rules that had no room in it.

        A decision that no entry can hold becomes a denial (`policy_error`): what cannot be proven is not granted.
        """
        digest = hashlib.sha256(facts.document_bytes).digest()
        hiding = self._personal.hiding(dict(facts.document), _known(facts)) if self._personal else None
        try:
            entries = _split(self._entry(decision, facts, digest, hiding), hiding)
        except (ValueError, TypeError, RecursionError):  # too big, or nested deeper than JSON can be written
            decision = deny_all(tuple(decision.scopes), Code.POLICY_ERROR)
            entry = self._entry(decision, facts, digest, hiding)
            reason = {"path": "policy_error", "message": "the decision did not fit an entry and was denied"}
            entries = _split({**entry, "exceptions": [reason], "rules": []}, hiding)
        kept = hiding.disclosures(entries) if hiding else [()] * len(entries)
        first = Record(entries[0], facts.document_bytes, digest, kept[0], guard=self._guard(decision, facts.asking))
        return decision, (first, *(Record(rest, disclosures=k) for rest, k in zip(entries[1:], kept[1:], strict=True)))

    def _guard(self, decision: Decision, asking: Asking | None) -> Guard | None:
        """Of what grants something; in a batch the gate says a yes of its own."""
        if self._endings is None or asking is None:
            return None
        if decision.outcome is Outcome.DENY and (asking.batch is None or decision.gate.outcome is Outcome.DENY):
            return None
        return self._endings.guard(asking.request, asking.call.issuer)

    def defect(self, asking: Asking, decision_id: str, at: int, name: str) -> tuple[Decision, tuple[Record, ...]]:
        """The denial for a defect of ours called `name`, and its record, which needs little that could fail as well."""
        request, call = asking.request, asking.call
        decision = deny_all(asking.scopes, Code.ENGINE_UNAVAILABLE)
        client = {"client": {"id": request["client"]["id"]}} if "client" in request else {}
        shown = {"grant_type": request["grant_type"], "token_type": request["token_type"], **client}
        entry: dict[str, Any] = {
            "v": 1,
            "kind": "decision",
            "id": decision_id,
            "time": rfc3339(at),
            "door": call.door,
            "caller": call.caller,
            "request": mask_pointers({**shown, "issuer": call.issuer}, self._mask),
            "outcome": decision.outcome.value,
            "granted_scopes": [],
            "scopes": {scope: scope_json(answer) for scope, answer in decision.scopes.items()},
            "findings": findings_json(decision.findings),
            "limit": {},
            "require": [],
            "claims": {},
            "crit": [],
            "reply": {"outcome": decision.outcome.value, "code": _reply_code(decision)},
            "rules": [],
            "exceptions": [{"path": "fail_closed", "code": _reply_code(decision), "message": f"defect: {name}"}],
            "sources": [],
        }
        if asking.batch is not None:
            entry["batch"] = batch_json(asking.batch)
        if self._personal is None:
            return decision, (Record(entry),)
        hiding = self._personal.hiding({**request, "issuer": call.issuer})
        entry = hiding.mentions(hiding.places(entry))
        return decision, (Record(entry, disclosures=hiding.disclosures([entry])[0]),)

    def _entry(self, decision: Decision, facts: Facts, digest: bytes, hiding: Hiding | None) -> dict[str, Any]:
        document, verdicts = facts.document, facts.verdicts
        entry: dict[str, Any] = {
            "v": 1,
            "kind": "decision",
            "id": document["id"],
            "time": document["time"],
            "door": document["door"],
            "caller": document["caller"],
            "request": exact(mask_pointers(_without_values(document), self._mask)),
            "input_digest": digest.hex(),
            "outcome": decision.outcome.value,
            "granted_scopes": list(decision.granted_scopes),
            "scopes": {scope: exact(scope_json(answer)) for scope, answer in decision.scopes.items()},
            "findings": findings_json(decision.findings),
            "limit": exact(limit_json(decision.limit)),
            "require": list(decision.require),
            "claims": exact(dict(decision.claims)),
            "crit": list(decision.crit),
            "reply": {"outcome": decision.outcome.value, "code": _reply_code(decision, verdicts)},
            "rules": _rules(verdicts) if verdicts else [],
            "exceptions": _exceptions(decision, facts),
            "sources": list(facts.informed.sources),
            "engine": {"kind": facts.engine.kind, "version": facts.engine.version},
            "duration_us": facts.duration_us,
            "engine_us": facts.engine_us,
        }
        if verdicts is not None:
            entry["policy"] = {"revision": verdicts.policy_set.revision, "digest": verdicts.policy_set.digest}
        if facts.question is not None:
            entry["terms"] = terms_json(facts.question, facts.informed.denies, self._mask)
        if facts.request_id is not None:
            entry["request_id"] = facts.request_id
        if facts.batch is not None:
            gate = {} if facts.gate_decision is None else {"gate_decision": facts.gate_decision}
            entry["batch"] = {**batch_json(facts.batch), **gate}
        return hiding.places(entry) if hiding else entry


def _without_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """What sources said is kept in the input document alone, where it can be erased; the entry has its digests."""
    return {name: value for name, value in document.items() if name != "sources"}


def _reply_code(decision: Decision, verdicts: Verdicts | None = None) -> str | None:
    """Why the request as a whole was denied; where only its scopes were, the findings are what the gate allowed by."""
    if verdicts is not None and not verdicts.gate.deny and decision.findings == verdicts.gate.allow:
        return None
    codes = [f.code for f in decision.findings]
    return codes[0] if decision.outcome == "deny" and codes else None


def _rules(verdicts: Verdicts) -> list[dict[str, Any]]:
    """Every rule that spoke, once each: scopes that share a prefix package share its rules."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for verdict in (verdicts.gate, *verdicts.scopes.values()):
        package = verdicts.policy_set.packages.get(verdict.package)
        for effect, code in _spoken(verdict):
            key = (verdict.package, effect, code)
            if key not in rows:
                rows[key] = rule_json(verdict.package, package, effect, code)
    return [rows[key] for key in sorted(rows)]


def _spoken(verdict: Verdict) -> list[tuple[str, str]]:
    spoken = [(effect, f.code) for effect in ("allow", "deny", "warn") for f in getattr(verdict, effect)]
    spoken.extend(("require", "require") for _ in verdict.require[:1])
    if verdict.limit is not NO_LIMIT and verdict.limit != NO_LIMIT:
        spoken.append(("limit", "limit"))
    if verdict.claims:
        spoken.append(("claims", "claims"))
    return spoken


def rule_json(name: str, package: Package | None, effect: str, code: str) -> dict[str, Any]:
    """A rule that spoke, with what the load found out about its package."""
    rule: dict[str, Any] = {"package": name, "code": code, "effect": effect}
    if package is not None:
        rule["file"] = package.file
        rule["row"] = package.rows.get(code, package.row)
        rule["controls"] = list(package.controls)
        if package.owner is not None:
            rule["owner"] = package.owner
        if package.risk is not None:
            rule["risk"] = package.risk
    return rule


def _exceptions(decision: Decision, facts: Facts) -> list[dict[str, Any]]:
    """The exception paths that were taken; an empty list means: looked, there was none."""
    found: list[dict[str, Any]] = list(facts.informed.exceptions)
    if facts.fault is not None:
        code = decision.findings[0].code if decision.findings else Code.ENGINE_UNAVAILABLE
        found.append({"path": "fail_closed", "code": code, "message": facts.fault[:500]})
    if facts.verdicts is None:
        return found
    # Scopes that share a prefix package mostly share its exceptions, but each may take another one.
    verdicts = (facts.verdicts.gate, *facts.verdicts.scopes.values())
    asked = facts.document.get("authorization_details", None if facts.batch is not None else ())
    taken = {canonical(exception): exception for verdict in verdicts for exception in _exceptions_of(verdict, asked)}
    return [*found, *taken.values()]


def _exceptions_of(verdict: Verdict, asked: Sequence[details.Detail] | None) -> list[dict[str, Any]]:
    """`asked` is None where the request does not show what it is."""
    found: list[dict[str, Any]] = []
    if verdict.error is not None:
        path = "policy_error" if verdict.error_code == Code.POLICY_ERROR else "fail_closed"
        found.append({"path": path, "package": verdict.package, "message": verdict.error})
    elif asked is not None and not details.within(verdict.limit.authorization_details or (), asked):
        message = "limit: authorization_details go beyond what was asked for"
        found.append({"path": "policy_error", "package": verdict.package, "message": message})
    found.extend({"path": "expired_exception", "package": verdict.package, **d} for d in verdict.dropped_exceptions)
    found.extend(
        {
            "path": used.kind,
            "package": verdict.package,
            "code": finding.code,
            "id": used.id,
            "approved_by": list(used.approved_by),
            "expires": used.expires,
        }
        for finding in verdict.allow
        if (used := finding.exception) is not None
    )
    return found


def _known(facts: Facts) -> list[Container[str]]:
    """Texts that stand in the policies themselves: names of packages and of their scopes, and codes of their rules.

    So do the names of sources.
    """
    sources = frozenset(told["name"] for told in facts.informed.sources)
    if facts.verdicts is None:
        return [sources]
    policy_set = facts.verdicts.policy_set
    spoke = {verdict.package for verdict in (facts.verdicts.gate, *facts.verdicts.scopes.values())}
    codes = [policy_set.packages[name].rows for name in spoke if name in policy_set.packages]
    return [policy_set.scopes, policy_set.packages, *codes, sources]


def _split(entry: dict[str, Any], hiding: Hiding | None) -> list[dict[str, Any]]:
    """The entry, and where its rules alone are too many for it, entries of kind `rules` with the rest."""
    rules = entry["rules"]
    try:
        return [_fit(entry, hiding)]
    except ValueError:
        if not rules:
            raise
    head = _fit({**entry, "rules": [], "rules_follow": True}, hiding)  # in entries of kind `rules`, same decision_id
    parts = chunks(rules, MAX_ENTRY_BYTES - 2048)
    common = {"v": 1, "kind": "rules", "time": entry["time"], "decision_id": entry["id"]}
    return [head, *({**common, "id": uuid7(now_ms()), "rules": part} for part in parts)]


def _fit(entry: dict[str, Any], hiding: Hiding | None) -> dict[str, Any]:
    """What is looked through is bounded already; a commitment may be longer than what it hides."""
    entry = fit(entry)
    return fit(hiding.mentions(entry)) if hiding else entry
