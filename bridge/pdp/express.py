"""Whether a dialect can say all of a decision. Pure.

A reply that left a limit out would be a broader yes than the decision is. What the limit only repeats needs no words.
"""

from bridge.model.decision import Decision, Outcome
from bridge.model.dialect import Dialect
from bridge.pdp import details
from bridge.pdp.question import Question


def expressible(decision: Decision, question: Question, dialect: Dialect) -> bool:
    """Whether the dialect's reply says all of it; a denial always can be said."""
    if decision.outcome is Outcome.DENY:
        return True
    granted = set(decision.granted_scopes)
    if not (granted == set(question.scopes) or (dialect.scopes and granted)):
        return False
    if decision.outcome is Outcome.CONDITIONAL and not granted:
        return False
    limit = decision.limit
    return (
        (limit.token_lifetime is None or dialect.carries_lifetime(limit.token_lifetime))
        and (limit.audience is None or dialect.audience or set(limit.audience) == set(question.audience))
        and (limit.authorization_details is None or dialect.details or _as_asked(limit.authorization_details, question))
        and dialect.carries_claims(decision.claims)
    )


def _as_asked(granted: tuple[dict[str, object], ...], question: Question) -> bool:
    return sorted(map(details.typed, granted)) == sorted(map(details.typed, question.details))
