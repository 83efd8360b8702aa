"""Whether a dialect can say all of a decision. Pure.

A reply that left a limit out would be a broader yes than the decision is. What a limit or a claim only repeats needs
no words.
"""

from collections.abc import Mapping
from typing import Any

from bridge.model.decision import Decision, Outcome
from bridge.model.dialect import Dialect
from bridge.pdp import details
from bridge.pdp.question import Question


def expressible(decision: Decision, question: Question, dialect: Dialect) -> bool:
    """Whether the dialect's reply says all of it; a denial always can be said."""
    if decision.outcome is Outcome.DENY:
        return True
    granted = set(decision.granted_scopes)
    if decision.outcome is Outcome.CONDITIONAL and not granted:
        return dialect.waiting
    if not (granted == set(question.scopes) or (dialect.scopes and granted)):
        return False
    limit = decision.limit
    return (
        (limit.token_lifetime is None or dialect.carries_lifetime(limit.token_lifetime))
        and (limit.audience is None or dialect.audience or set(limit.audience) == set(question.audience))
        and (limit.authorization_details is None or dialect.details or _as_asked(limit.authorization_details, question))
        and dialect.carries_claims(_to_be_set(decision.claims, question) if dialect.standing else decision.claims)
    )


def _as_asked(granted: tuple[dict[str, object], ...], question: Question) -> bool:
    return sorted(map(details.typed, granted)) == sorted(map(details.typed, question.details))


def _to_be_set(claims: Mapping[str, Any], question: Question) -> Mapping[str, Any]:
    """Those that the token does not have anyway, with that value."""
    context = question.document.get("context")
    has = context.get("claims") if isinstance(context, Mapping) else None
    if not isinstance(has, Mapping):
        return claims
    return {
        name: value
        for name, value in claims.items()
        if name not in has or details.typed(has[name]) != details.typed(value)
    }
