"""All answers become one: what to mint, or why nothing is. Pure; the heart of this library, read it after wish.py.

A closed gate ends it. A scope is granted where every party and every target of the first level permits it; the second
level narrows. What items say about the token is merged by the token-issuance profile. Whatever would make the token
broader than the wish, and whatever this server would have to drop, is a denial.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bridge.pep import refuse
from bridge.pep.batch import Asked, Batch
from bridge.pep.details import Validator, covered, union
from bridge.pep.refuse import Refusal, StepUp
from bridge.pep.reply import Item
from bridge.pep.strict_json import typed
from bridge.pep.wish import Wish

RESERVED_CLAIMS: Final = frozenset(
    [
        "iss",
        "iat",
        "jti",
        "sub",
        "aud",
        "exp",
        "nbf",
        "scope",
        "client_id",
        "cnf",
        "act",
        "may_act",
        "authorization_details",
    ]
)


@dataclass(frozen=True, slots=True)
class Understood:
    """What this server and its resource servers understand beyond the profile.

    `claims`: the ones that a PDP may call critical. `own_claims`: names that the server sets itself, and no PDP may
    (`acr` and `nonce` in an ID token, say). `details`: for a type of authorization details, who compares what only that
    type knows.
    """

    claims: frozenset[str] = frozenset()
    own_claims: frozenset[str] = frozenset()
    details: Mapping[str, Validator] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mint:
    """Exactly what to mint: one token, now.

    `state_scope`: the response must have `scope` (RFC 6749, section 5.1). `resources`: what is left of the second
    level. `lifetime` in seconds; None: neither the server nor the PDP bounds it. `claims` are added to the server's
    own, and those in `crit` must be heeded. `waiting`: what the scopes left out would need, where a sign-in or consent
    would mend it. `decision_ids`: where the PDP keeps its records, for the server's log.
    """

    scopes: tuple[str, ...]
    state_scope: bool
    audience: tuple[str, ...]
    resources: tuple[str, ...] = ()
    lifetime: int | None = None
    authorization_details: tuple[Mapping[str, Any], ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    crit: tuple[str, ...] = ()
    waiting: StepUp | None = None
    decision_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far the permits reach: scopes, and the resources of the second level that are left."""

    scopes: tuple[str, ...]
    resources: tuple[str, ...]


class _Denied(Exception):
    """Nothing is minted."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def merge(wish: Wish, batch: Batch, items: Sequence[Item], understood: Understood) -> Mint | Refusal:
    """What `items`, the answers to `batch`, allow of `wish`."""
    answers = tuple(zip(batch.tuples, items, strict=True))
    try:
        return _mint(wish, answers, understood)
    except _Denied as denied:
        return replace(denied.refusal, decision_ids=_decision_ids(answers))


Answers = Sequence[tuple[Asked, Item]]


def _mint(wish: Wish, answers: Answers, understood: Understood) -> Mint:
    _gates(wish, answers)
    permitted = [(asked, item) for asked, item in answers if item.permitted]
    reach = _reach(wish, answers)
    scopes = _granted(wish, reach.scopes, permitted)
    audience, resources = _audience(wish, reach, permitted)
    # Only what the token is about may add to it; what narrows, narrows wherever it was said.
    adding = [item for asked, item in permitted if asked.scope is None or _counts(asked, scopes, audience, resources)]
    claims, crit = _claims(wish, adding, understood)
    return Mint(
        scopes=scopes,
        state_scope=set(scopes) != set(wish.scopes),
        audience=audience,
        resources=resources,
        lifetime=_lifetime(wish, permitted),
        authorization_details=_details(wish, adding, understood),
        claims=claims,
        crit=crit,
        waiting=_waiting(wish, [(asked, item) for asked, item in answers if asked.scope not in {None, *scopes}]),
        decision_ids=_decision_ids(answers),
    )


def _gates(wish: Wish, answers: Answers) -> None:
    closed = [item for asked, item in answers if asked.scope is None and not item.permitted]
    if not closed:
        return
    step_up = _step_up(wish, closed)
    if step_up is None or wish.grant_type == "token_exchange":
        raise _Denied(refuse.denied(wish, "a gate is closed"))
    raise _Denied(refuse.waits(wish, step_up, "a gate waits for a sign-in or consent"))


def _reach(wish: Wish, answers: Answers) -> _Reach:
    """What is left of scopes and resources. Without scopes nothing was said about resources: they only narrow."""
    asked_scopes = wish.asked_scopes
    if not asked_scopes:
        return _Reach((), wish.resources)
    refused = {(asked.level, asked.target, asked.scope) for asked, item in answers if not item.permitted}
    scopes = tuple(s for s in asked_scopes if not any((1, target, s) in refused for target in wish.targets))
    left = wish.resources
    if scopes and left:
        left = tuple(r for r in left if any((2, r, s) not in refused for s in scopes))
        if not left:
            raise _nothing(wish, answers, Refusal("invalid_target", "no resource of the second level is left"))
        scopes = tuple(s for s in scopes if not any((2, r, s) in refused for r in left))
    if not scopes:
        raise _nothing(wish, answers, Refusal("invalid_scope", "no scope is granted"))
    return _Reach(scopes, left)


def _nothing(wish: Wish, answers: Answers, flat: Refusal) -> _Denied:
    """No scope is left: the step-up that would mend it, else `flat`."""
    waiting = _waiting(wish, answers)
    return _Denied(refuse.waits(wish, waiting, "the scopes wait for a sign-in or consent") if waiting else flat)


def _granted(wish: Wish, scopes: tuple[str, ...], permitted: Answers) -> tuple[str, ...]:
    """The scopes within the union of `granted_scope`; for a gate alone, what of it the server would grant."""
    stated = [i.issuance.granted_scope for _, i in permitted if i.issuance.granted_scope is not None]
    if not stated:
        return scopes
    named = frozenset[str]().union(*stated)
    asked = wish.asked_scopes
    if asked and not named <= set(asked):
        raise _Denied(refuse.denied(wish, "granted_scope goes beyond what was asked for"))
    left = tuple(s for s in (scopes if asked else dict.fromkeys(wish.grantable_scopes)) if s in named)
    if not left and (asked or named):
        raise _Denied(Refusal("invalid_scope", "granted_scope leaves no scope"))
    return left


def _audience(wish: Wish, reach: _Reach, permitted: Answers) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both levels within the intersection of what items state; each stated value must be a target that is permitted."""
    targets, resources = wish.targets, reach.resources
    stated = [item.issuance.audience for _, item in permitted if item.issuance.audience is not None]
    if not stated:
        return targets, resources
    known = {asked.target for asked, _ in permitted}
    if any(value not in known for audience in stated for value in audience):
        raise _Denied(refuse.denied(wish, "audience goes beyond the targets"))
    common = frozenset.intersection(*map(frozenset, stated))
    asked_about = bool(wish.asked_scopes)
    left = tuple(target for target in targets if target in common)
    behind = tuple(r for r in resources if r in common) if asked_about else resources
    if not left or (resources and not behind):
        raise _Denied(Refusal("invalid_target", "audience leaves no target"))
    return left, behind


def _counts(asked: Asked, scopes: Sequence[str], audience: Sequence[str], resources: Sequence[str]) -> bool:
    return asked.scope in scopes and asked.target in (*audience, *resources)


def _lifetime(wish: Wish, permitted: Answers) -> int | None:
    ceilings = [i.issuance.token_lifetime for _, i in permitted if i.issuance.token_lifetime is not None]
    if 0 in ceilings:
        raise _Denied(refuse.denied(wish, "a lifetime of 0"))
    return min(ceilings if wish.lifetime is None else [wish.lifetime, *ceilings], default=None)


def _details(wish: Wish, adding: Sequence[Item], understood: Understood) -> tuple[Mapping[str, Any], ...]:
    """The entries that the PDP returned. A permit says nothing about them: nothing returned is nothing granted."""
    stated = [i.issuance.authorization_details for i in adding if i.issuance.authorization_details is not None]
    granted = union(stated)
    if not all(covered(entry, wish.authorization_details, understood.details) for entry in granted):
        raise _Denied(Refusal("invalid_authorization_details", "an entry goes beyond what was asked for"))
    if wish.authorization_details and not granted:
        raise _Denied(Refusal("invalid_authorization_details", "no authorization details are granted"))
    return granted


def _claims(wish: Wish, adding: Sequence[Item], understood: Understood) -> tuple[dict[str, Any], tuple[str, ...]]:
    claims: dict[str, Any] = {}
    for item in adding:
        for name, value in item.issuance.claims.items():
            if name in claims and typed(claims[name]) != typed(value):
                raise _Denied(refuse.denied(wish, "two values for one claim"))
            claims[name] = value
    crit = tuple(dict.fromkeys(name for item in adding for name in item.issuance.crit))
    if claims.keys() & (RESERVED_CLAIMS | understood.own_claims):
        raise _Denied(refuse.denied(wish, "a claim of the server's own"))
    if not set(crit) <= (claims.keys() & understood.claims):
        raise _Denied(refuse.denied(wish, "a critical claim that is not understood, or not set"))
    return claims, crit


def _waiting(wish: Wish, answers: Answers) -> StepUp | None:
    """What the scopes need that nothing but a sign-in or consent stands in the way of."""
    refused: dict[str, list[Item]] = {}
    for asked, item in answers:
        if asked.scope is not None and not item.permitted:
            refused.setdefault(asked.scope, []).append(item)
    # A scope that is also flatly denied somewhere would be asked for in vain.
    return _step_up(wish, [item for items in refused.values() if all(i.require for i in items) for item in items])


def _step_up(wish: Wish, items: Iterable[Item]) -> StepUp | None:
    """One step-up for all of `items`; None when one of them is flatly denied, or when there is no user to sign in."""
    items = list(items)
    if wish.subject.type != "user" or not items or not all(item.require for item in items):
        return None
    return refuse.together(requirement for item in items for requirement in item.require)


def _decision_ids(answers: Answers) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.decision_id for _, item in answers if item.decision_id is not None))
