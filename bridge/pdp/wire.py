"""Decisions in their JSON form: as doors answer with them, and as entries have them."""

from collections.abc import Iterable
from typing import Any

from bridge.model.decision import ScopeDecision
from bridge.model.limit import Limit
from bridge.model.verdict import Finding
from bridge.pdp.gather import Batch


def batch_json(batch: Batch) -> dict[str, Any]:
    """The AuthZEN request that an entry belongs to, and which of its items the entry answers."""
    return {"id": batch.id, "items": list(batch.items)}


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """`[{"code", "title"}]`, in the order of the codes."""
    return [
        {"code": f.code} if f.title is None else {"code": f.code, "title": f.title}
        for f in sorted(findings, key=lambda f: (f.code, f.title or ""))
    ]


def limit_json(limit: Limit) -> dict[str, Any]:
    """The members that are set, in their wire form."""
    result: dict[str, Any] = {}
    if limit.token_lifetime is not None:
        result["token_lifetime"] = limit.token_lifetime
    if limit.granted_scope is not None:
        result["granted_scope"] = " ".join(sorted(limit.granted_scope))
    if limit.audience is not None:
        result["audience"] = list(limit.audience)
    if limit.authorization_details is not None:
        result["authorization_details"] = list(limit.authorization_details)
    return result


def scope_json(answer: ScopeDecision) -> dict[str, Any]:
    """One scope's answer in its wire form; `require` holds what is unmet."""
    result: dict[str, Any] = {"outcome": answer.outcome.value, "findings": findings_json(answer.findings)}
    if answer.require:
        result["require"] = list(answer.require)
    if limit := limit_json(answer.limit):
        result["limit"] = limit
    return result
