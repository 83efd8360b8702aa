"""The merged answer: what a token service may mint, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.model.limit import NO_LIMIT, Limit
from bridge.model.verdict import Finding, Requirement

VALID_FOR_MS = 30_000
"""A decision is good for one token minted within this time."""


class Outcome(StrEnum):
    """Of a scope or of the whole. `conditional`: at least one scope waits for nothing but a requirement."""

    ALLOW = "allow"
    DENY = "deny"
    CONDITIONAL = "conditional"


class Code(StrEnum):
    """The bridge's own reasons; policies have codes of their own."""

    UNMAPPED_SCOPE = "unmapped_scope"
    NO_ALLOW = "no_allow"
    GATE_DENIED = "gate_denied"
    POLICY_ERROR = "policy_error"
    ZERO_LIFETIME = "zero_lifetime"
    NARROWED = "narrowed"
    NO_AUDIENCE = "no_audience"
    DETAILS_DENIED = "details_denied"
    CLAIMS_CONFLICT = "claims_conflict"
    CRIT_UNDECLARED = "crit_undeclared"
    REQUIREMENT_UNMEETABLE = "requirement_unmeetable"
    EXCEEDS_GRANT = "exceeds_grant"
    INVALID_SCOPE = "invalid_scope"
    GATE_MISSING = "gate_missing"
    INEXPRESSIBLE = "inexpressible"
    NOT_SHOWN = "not_shown"
    UNMAPPED_RESOURCE = "unmapped_resource"
    SOURCE_FAILED = "source_failed"
    POLICY_MISMATCH = "policy_mismatch"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    DEADLINE = "deadline"
    OVERLOADED = "overloaded"
    EVIDENCE_UNAVAILABLE = "evidence_unavailable"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ScopeDecision:
    """The answer for one scope, or for the gate; `limit`, `claims` and `crit` are those of its own package."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    require: tuple[Requirement, ...] = ()
    limit: Limit = NO_LIMIT
    claims: Mapping[str, Any] = field(default_factory=dict)
    crit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one issuance request. `limit`, `claims` and `crit` are merged: the only ones to enforce.

    `gate`: the gate's own answer, for doors where the token service merges.
    """

    outcome: Outcome
    scopes: Mapping[str, ScopeDecision]
    granted_scopes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    require: tuple[Requirement, ...] = ()
    limit: Limit = NO_LIMIT
    claims: Mapping[str, Any] = field(default_factory=dict)
    crit: tuple[str, ...] = ()
    gate: ScopeDecision = ScopeDecision(Outcome.DENY)


def deny_all(scopes: "tuple[str, ...] | list[str]", code: str) -> Decision:
    """The denial of everything asked for, for one reason."""
    denied = ScopeDecision(Outcome.DENY, (Finding(code),))
    return Decision(Outcome.DENY, dict.fromkeys(scopes, denied), findings=denied.findings, gate=denied)
