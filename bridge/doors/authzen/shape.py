"""From decisions to AuthZEN items: `decision`, and the shaping of a permit in `context.issuance`."""

from collections.abc import Sequence
from typing import Any

from bridge.doors.authzen.plan import Place
from bridge.model.authzen import Misfit
from bridge.model.decision import Code, Outcome, ScopeDecision
from bridge.pdp.decide import Answered
from bridge.pdp.gather import Asking
from bridge.pdp.wire import limit_json

Item = dict[str, Any]


def issuance_item(place: Place, asking: Asking, answered: Answered, ceiling_s: int | None, number: int) -> Item:
    """The item `number` of the reply, whose answer is at `place`; the first one of a document tells its decision's id.

    `ceiling_s`: the operator's bound on lifetimes, which goes out with the gate.
    """
    decision = answered.decision
    answer = decision.gate if place.scope is None else decision.scopes[place.scope]
    extension: dict[str, Any] = {}
    if asking.batch is not None and asking.batch.items[0] == number:
        extension["decision_id"] = answered.id
    if answer.outcome is Outcome.CONDITIONAL:
        extension["require"] = list(answer.require)
    context: dict[str, Any] = {"issuance_ext": extension} if extension else {}
    if answer.outcome is Outcome.ALLOW:
        if shaping := _shaping(answer, asking, ceiling_s if place.scope is None else None):
            context["issuance"] = shaping
    elif answer.findings and answer.outcome is Outcome.DENY:
        context["reason_admin"] = {"403": " ".join(dict.fromkeys(finding.code for finding in answer.findings))}
    return _item(permit=answer.outcome is Outcome.ALLOW, context=context)


def refused_item(why: Code | Misfit) -> Item:
    """The item of a tuple that no policy was asked about."""
    if isinstance(why, Misfit):
        return _item(permit=False, context={"error": {"status": 400, "message": why.reason}})
    return _item(permit=False, context={"reason_admin": {"403": why.value}})


def tuple_item(*, permit: bool, context: dict[str, Any] | None, code: str | None) -> Item:
    """The item of a tuple that is not about issuance; `context` is what its policy gave."""
    reason = {"reason_admin": {"403": code}} if code is not None else {}
    return _item(permit=permit, context={**reason, **(context or {})})


def _item(*, permit: bool, context: dict[str, Any]) -> Item:
    return {"decision": permit, **({"context": context} if context else {})}


def _shaping(answer: ScopeDecision, asking: Asking, ceiling_s: int | None) -> dict[str, Any]:
    """What the package itself limits and adds; the token service merges the items' shaping."""
    if asking.terms.bare is not None:  # nothing of it would be read, and the yes needs none of it
        return {}
    limit = limit_json(answer.limit)
    if not asking.terms.gate_alone:
        limit.pop("granted_scope", None)  # the decisions on the scopes have told it already
    if "audience" in limit:
        named = set(limit["audience"])
        limit["audience"] = [target for target in asking.terms.targets or () if target in named]
    lifetimes: Sequence[int] = [s for s in (limit.get("token_lifetime"), ceiling_s) if s is not None]
    if lifetimes:
        limit["token_lifetime"] = min(lifetimes)
    claims = {"claims": dict(answer.claims)} if answer.claims else {}
    crit = {"crit": list(answer.crit)} if answer.crit else {}
    return {**limit, **claims, **crit}
