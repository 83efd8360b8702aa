"""Merges verdicts into one decision. Pure and total: no input or output, and every verdict has an answer.

The gate must allow. A scope is granted when its package allows, denies nothing, and requires nothing unmet.
Nothing is ever broader than what was asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.model.decision import Code, Decision, Outcome, ScopeDecision, deny_all
from bridge.model.limit import Limit
from bridge.model.scope import is_scope_token
from bridge.model.verdict import Finding, Requirement, Verdict
from bridge.pdp import details, narrow
from bridge.pdp.express import expressible
from bridge.pdp.gather import Bare
from bridge.pdp.question import Question
from bridge.pdp.require import unmet


def combine(question: Question, gate: Verdict, verdicts: Mapping[str, Verdict | None]) -> Decision:
    """The decision on `question`, from the gate's verdict and each scope's (None or missing: no package has it).

    One that the question's dialect cannot say whole is a denial, and so is one that was refused before it was asked.
    """
    if question.terms.refused is not None:
        return deny_all(question.scopes, question.terms.refused)
    decision, dialect = _merged(question, gate, verdicts), question.terms.dialect
    if dialect is None or expressible(decision, question, dialect):
        return decision
    return _denied(Finding(Code.INEXPRESSIBLE), decision.scopes)


def _merged(question: Question, gate: Verdict, verdicts: Mapping[str, Verdict | None]) -> Decision:
    if question.within is not None:
        gate = _narrower(gate, question.within)
    refused = _refusal(gate, question)
    if refused:
        return _gate_denied(question, refused, verdicts)
    judged = {scope: _judge(scope, verdicts.get(scope), gate, question) for scope in question.scopes}
    judged = _narrowed(judged)
    granted = tuple(scope for scope in question.scopes if judged[scope].outcome is Outcome.ALLOW)
    counting = [gate, *(v for scope in granted if (v := verdicts[scope]) is not None)]
    limit = _merge_limits([v.limit for v in counting], question)
    claims, conflict = _merge_claims(v.claims for v in counting)
    if code := _request_denial(limit, question, conflict=conflict):
        return _denied(Finding(code), judged)
    waiting = _merge_requirements(judged.values())
    own = _gate_alone(gate, question)
    outcome = Outcome.ALLOW
    if question.scopes:
        if any(answer.outcome is Outcome.CONDITIONAL for answer in judged.values()):
            outcome = Outcome.CONDITIONAL
        elif not granted:
            outcome = Outcome.DENY
    elif own.outcome is Outcome.DENY:
        return _denied(own.findings[0], judged)
    elif own.outcome is Outcome.CONDITIONAL:
        outcome, waiting = Outcome.CONDITIONAL, own.require
    if outcome is Outcome.DENY or (outcome is Outcome.CONDITIONAL and not granted):
        limit, claims, counting = Limit(), {}, []
    return Decision(
        outcome=outcome,
        scopes=judged,
        granted_scopes=granted,
        findings=gate.allow,
        require=waiting,
        limit=limit,
        claims=claims,
        crit=tuple(sorted({name for verdict in counting for name in verdict.crit})),
        gate=own,
    )


def _narrower(gate: Verdict, within: frozenset[str]) -> Verdict:
    own = gate.limit.granted_scope
    return replace(gate, limit=replace(gate.limit, granted_scope=within if own is None else own & within))


def _gate_alone(gate: Verdict, question: Question) -> ScopeDecision:
    """The answer of a gate that allows, for the request itself: what it requires may still be missing."""
    missing = _unique(unmet(gate.require, question.document, None, question.now_ms)) if gate.require else ()
    if missing and not _is_user(question):
        return ScopeDecision(Outcome.DENY, (Finding(Code.REQUIREMENT_UNMEETABLE),), missing)
    outcome = Outcome.CONDITIONAL if missing else Outcome.ALLOW
    return ScopeDecision(outcome, gate.allow, missing, gate.limit, gate.claims, gate.crit)


def _refusal(verdict: Verdict, question: Question) -> tuple[Finding, ...]:
    """Why this package, taken alone, grants nothing; empty when it allows."""
    if verdict.error is not None or not question.allows(verdict.limit.authorization_details):
        return (*verdict.deny, Finding(verdict.error_code))
    if verdict.deny:
        return verdict.deny
    code = _grants_nothing(verdict, question)
    return () if code is None else (Finding(code),)


def _grants_nothing(verdict: Verdict, question: Question) -> Code | None:
    """Why a package that denies nothing grants nothing all the same."""
    if not verdict.allow:
        return Code.NO_ALLOW
    if verdict.limit.token_lifetime == 0:
        return Code.ZERO_LIFETIME
    if question.terms.bare is not None and not _needs_no_words(verdict, question, question.terms.bare):
        return Code.INEXPRESSIBLE
    if verdict.crit and not question.terms.crit:
        return Code.CRIT_UNDECLARED
    return _leaves_nothing(verdict.limit, question) if question.is_authzen else None


def _leaves_nothing(limit: Limit, question: Question) -> Code | None:
    """Whether the package's own item of an AuthZEN reply would say "nothing", which nobody can be told with a yes."""
    if limit.audience is not None and not set(limit.audience) & set(question.audience):
        return Code.NO_AUDIENCE
    # An empty `granted_scope` is no scope of RFC 6749, section 3.3, and could be read as "no limit".
    return Code.NARROWED if limit.granted_scope == frozenset() and question.terms.gate_alone else None


def _needs_no_words(verdict: Verdict, question: Question, bare: Bare) -> bool:
    """Whether a plain yes grants no more than the package does, since what it limits is so anyway."""
    limit, audience = verdict.limit, question.audience
    lifetimes = [s for s in (limit.token_lifetime, question.max_token_lifetime_s) if s is not None]
    lives = bare.token_lifetime_s
    return (
        not verdict.claims
        and limit.authorization_details is None
        and (not lifetimes or (lives is not None and lives <= min(lifetimes)))
        and (limit.audience is None or (bool(audience) and set(audience) <= set(limit.audience)))
    )


def _judge(scope: str, verdict: Verdict | None, gate: Verdict, question: Question) -> ScopeDecision:
    """The answer for one scope before scopes narrow each other."""
    refused: list[Finding] = []
    if not is_scope_token(scope):
        refused.append(Finding(Code.INVALID_SCOPE))
    elif verdict is None:
        refused.append(Finding(Code.UNMAPPED_SCOPE))
    else:
        refused.extend(_refusal(verdict, question))
    if _exceeds_grant(scope, question):
        refused.append(Finding(Code.EXCEEDS_GRANT))
    if not refused and gate.limit.granted_scope is not None and scope not in gate.limit.granted_scope:
        refused.append(Finding(Code.NARROWED))
    if verdict is None or refused:
        return ScopeDecision(Outcome.DENY, tuple(refused))
    required = (*gate.require, *verdict.require)
    missing = _unique(unmet(required, question.document, scope, question.now_ms)) if required else ()
    if missing and not _is_user(question):
        return ScopeDecision(Outcome.DENY, (Finding(Code.REQUIREMENT_UNMEETABLE),), missing)
    if missing and verdict.limit.granted_scope is not None and scope not in verdict.limit.granted_scope:
        return ScopeDecision(Outcome.DENY, (Finding(Code.NARROWED),))  # no step-up would help
    outcome = Outcome.CONDITIONAL if missing else Outcome.ALLOW
    return ScopeDecision(outcome, verdict.allow, missing, verdict.limit, verdict.claims, verdict.crit)


def _narrowed(judged: dict[str, ScopeDecision]) -> dict[str, ScopeDecision]:
    """Denies the scopes that the packages of granted scopes leave out."""
    allowed = {scope: a.limit.granted_scope for scope, a in judged.items() if a.outcome is Outcome.ALLOW}
    if not any(limit is not None for limit in allowed.values()):
        return judged
    granted = narrow.survivors(allowed)
    denied = ScopeDecision(Outcome.DENY, (Finding(Code.NARROWED),))

    def stays(scope: str, answer: ScopeDecision) -> bool:
        if answer.outcome is Outcome.ALLOW:
            return scope in granted
        return answer.outcome is Outcome.DENY or not narrow.excluded(scope, granted, allowed)

    return {scope: answer if stays(scope, answer) else denied for scope, answer in judged.items()}


def _merge_limits(limits: Iterable[Limit], question: Question) -> Limit:
    limits = list(limits)
    lifetimes = [n.token_lifetime for n in limits if n.token_lifetime is not None]
    if question.max_token_lifetime_s is not None:
        lifetimes.append(question.max_token_lifetime_s)
    narrowed = [n.audience for n in limits if n.audience is not None]
    asked = question.audience
    audience: tuple[str, ...] | None = None
    if narrowed:
        common = frozenset.intersection(*map(frozenset, narrowed))
        audience = tuple(dict.fromkeys(a for a in asked if a in common)) if asked else tuple(sorted(common))
    granted = [n.authorization_details for n in limits if n.authorization_details is not None]
    told = question.is_authzen and bool(granted)
    return Limit(
        token_lifetime=min(lifetimes, default=None),
        granted_scope=limits[0].granted_scope if question.terms.gate_alone else None,
        audience=audience,
        authorization_details=details.union(granted) if question.details or told else None,
    )


def _merge_claims(parts: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], bool]:
    """All claims, and whether two packages set one of them to different values."""
    merged: dict[str, Any] = {}
    conflict = False
    for part in parts:
        for name, value in part.items():
            if name in merged and details.typed(merged[name]) != details.typed(value):
                conflict = True
            merged[name] = value
    return merged, conflict


def _request_denial(limit: Limit, question: Question, *, conflict: bool) -> Code | None:
    if conflict:
        return Code.CLAIMS_CONFLICT
    if limit.audience == ():
        return Code.NO_AUDIENCE
    if question.details and not limit.authorization_details and not question.leaves_scopes_to_others:
        return Code.DETAILS_DENIED
    return None


def _gate_denied(question: Question, refused: tuple[Finding, ...], verdicts: Mapping[str, Verdict | None]) -> Decision:
    """The gate denies all; what the scopes' own packages denied is kept beside it."""

    def own(scope: str) -> tuple[Finding, ...]:
        verdict = verdicts.get(scope)
        return verdict.deny if verdict is not None else ()

    scopes = {s: ScopeDecision(Outcome.DENY, (Finding(Code.GATE_DENIED), *own(s))) for s in question.scopes}
    return Decision(Outcome.DENY, scopes, findings=refused, gate=ScopeDecision(Outcome.DENY, refused))


def _denied(why: Finding, judged: Mapping[str, ScopeDecision]) -> Decision:
    """The request is denied as a whole, for a reason that lies in no single scope.

    Where it is for want of authorization details, a scope that would return some still waits for its requirement.
    """

    def answer(now: ScopeDecision) -> ScopeDecision:
        waits = now.outcome is Outcome.CONDITIONAL and now.limit.authorization_details
        if now.outcome is Outcome.DENY or (waits and why.code == Code.DETAILS_DENIED):
            return now
        return ScopeDecision(Outcome.DENY, (why,))

    scopes = {scope: answer(now) for scope, now in judged.items()}
    waiting = _merge_requirements(scopes.values())
    outcome = Outcome.CONDITIONAL if waiting else Outcome.DENY
    return Decision(outcome, scopes, findings=(why,), require=waiting, gate=ScopeDecision(Outcome.DENY, (why,)))


def _exceeds_grant(scope: str, question: Question) -> bool:
    grant = question.document.get("grant")
    if question.document["grant_type"] != "refresh_token" or grant is None:
        return False
    return scope not in grant.get("scopes", ())


def _is_user(question: Question) -> bool:
    return bool(question.document.get("subject", {}).get("type") == "user")


def _merge_requirements(answers: Iterable[ScopeDecision]) -> tuple[Requirement, ...]:
    return _unique([r for a in answers if a.outcome is Outcome.CONDITIONAL for r in a.require])


def _unique(requirements: Sequence[Requirement]) -> tuple[Requirement, ...]:
    if len(requirements) < 2:
        return tuple(requirements)
    by_text = {details.typed(requirement): requirement for requirement in requirements}
    return tuple(by_text[key] for key in sorted(by_text))
